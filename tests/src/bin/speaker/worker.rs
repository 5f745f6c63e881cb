//! A worker that speaks and hears.
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use cluster_core::testing::lines::Lines;
use cluster_core::{BoxError, Json, Peer, Worker};
use futures::StreamExt;
use tokio::sync::mpsc;

use crate::types::{Flat, Late, NewOrder, Question, Said, Tagged, Work};
use crate::words::{self, Mouth};
use crate::{Ear, Stage, converse};

pub(crate) async fn run(worker: Worker, stage: Stage) -> Result<(), BoxError> {
    let name = format!("slot-{}", worker.slot());
    if stage.folder.join(format!("{name}.trap")).exists() {
        std::process::abort();
    }
    let (socket, ear) = (stage.socket(&name)?, stage.ear(&name)?);
    listen(&worker, &stage, &ear);
    let _conversations = stage.has("spawned-reader").then(|| read_stream(&worker, &ear));
    if let Some(how) = stage.value("boot") {
        // What a program does that has begun its work in the background before it fails.
        worker.spawn(worker.draining());
        return end(&worker, how, 100).await;
    }
    worker.ready();
    let mut draining = worker.draining();
    let (ends, mut end_asked) = mpsc::channel::<End>(1);
    loop {
        tokio::select! {
            () = &mut draining => break,
            Some((how, count)) = end_asked.recv() => return end(&worker, &how, count).await,
            stream = socket.accept() => {
                let (worker, ear, ends) = (worker.clone(), ear.clone(), ends.clone());
                // Not `worker.spawn`: a drain must not wait for the test.
                tokio::spawn(converse(stream?.0, move |line| {
                    answer(worker.clone(), ear.clone(), ends.clone(), line)
                }));
            }
        }
    }
    drop(socket);
    for number in 1..=stage.number("last-words").unwrap_or(0) {
        worker.send(&Said::new(number, 100)).await?;
    }
    Ok(())
}

/// How the program shall end unasked, and after how many messages.
type End = (String, u64);

/// Ends the program unasked, right after so many messages.
async fn end(worker: &Worker, how: &str, count: u64) -> Result<(), BoxError> {
    for number in 1..=count {
        worker.send(&Said::new(number, 100)).await?;
    }
    match how {
        "well" => Ok(()),
        "panic" => panic!("the program panics, as it should"),
        error => Err(error.into()),
    }
}

/// Everything that a worker hears from its birth on.
fn listen(worker: &Worker, stage: &Stage, ear: &Ear) {
    match stage.value("worker-bad") {
        Some("flatten") => worker.on_message(|_: Flat| ()),
        Some("tag") => worker.on_message(|_: Tagged| ()),
        Some(_) => worker.on_message(|_: serde_json::Value| ()),
        None => {}
    }
    let [said, worked, answers, orders, json] = std::array::from_fn(|_| ear.clone());
    if !stage.has("spawned-reader") && !stage.has("takes") {
        worker.on_message(move |from: Peer, message: Said| said.hears(&describe(&from, &message)));
    }
    worker.on_message(move |from: Peer, Work(words)| {
        let ear = worked.clone();
        async move {
            match words.as_str() {
                "say-back" => from.send(&Said::new(1, 100)).await.map_err(|err| err.to_string()),
                _ => words::work(&ear, words).await,
            }
        }
    });
    worker.on_ask(move |_: Peer, Question(words)| words::reply(answers.clone(), words));
    worker.on_message(move |order: NewOrder| {
        orders.hears(&format!("order {} {} {}", order.id, order.quota, order.name));
    });
    worker.on_message(move |Json(flat): Json<Flat>| json.hears(&format!("json {flat:?}")));
}

fn describe(from: &Peer, message: &Said) -> String {
    let sender = from.worker.map_or_else(|| "primary".to_owned(), |id| id.to_string());
    format!("said {sender} {}", message.describe())
}

/// A task of the program's, which a drain waits for, that reads until its stream ends.
fn read_stream(worker: &Worker, ear: &Ear) -> tokio::task::JoinHandle<()> {
    let (mut messages, ear) = (worker.messages::<Said>().with_sender(), ear.clone());
    worker.spawn(async move {
        while let Some((from, message)) = messages.next().await {
            ear.hears(&describe(&from, &message));
        }
        ear.hears("the stream has ended");
    })
}

/// Takes so many messages from a stream that was not there before and is not there afterwards.
async fn take(worker: &Worker, ear: &Ear, count: u64) {
    let mut messages = worker.messages::<Said>().with_sender();
    for _ in 0..count {
        let (from, message) = messages.next().await.expect("no drain begins");
        ear.hears(&describe(&from, &message));
    }
}

/// Takes messages between other things: what loses the race is dropped, with its stream.
async fn take_between(worker: &Worker, ear: &Ear, count: u64) {
    let mut taken = 0;
    while taken < count {
        tokio::select! {
            () = take(worker, ear, 1) => taken += 1,
            () = tokio::task::yield_now() => {}
        }
    }
}

/// Uses up all descriptors of this process until there is a file.
async fn burn_until(path: &str, ear: &Ear) {
    let mut burnt = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        burnt.push(file);
    }
    ear.hears("no descriptors");
    crate::appears(path).await;
}

/// Starts a child that says nothing and has this process's end of its message socket. Answers with its pid.
fn leave_child() -> std::io::Result<u32> {
    let socket = Lines::of_this_process()?.messages;
    let mut command = Command::new("sleep");
    command.arg("600").stdin(socket).stdout(Stdio::null()).stderr(Stdio::null());
    // A group of its own: with the worker's it would end.
    Ok(command.process_group(0).spawn()?.id())
}

async fn answer(worker: Worker, ear: Ear, ends: mpsc::Sender<End>, line: String) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["listen-late"] => worker.on_message(move |late: Late| {
            ear.hears(&format!("late {} {}", late.number, late.padding.len()));
        }),
        ["listen-again", path] => {
            let path = path.to_owned();
            worker.on_message(move |message: Said| {
                let (ear, path) = (ear.clone(), path.clone());
                async move {
                    crate::appears(&path).await;
                    ear.hears(&format!("again {}", message.describe()));
                }
            });
        }
        ["leave-child"] => return leave_child().map_or_else(|err| err.to_string(), |pid| pid.to_string()),
        ["slots"] => return worker.slots().to_string(),
        ["spawn-until", path] => {
            let path = path.to_owned();
            worker.spawn(async move {
                crate::appears(path).await;
                ear.hears("the spawned task has ended");
            });
        }
        ["take-each", count] => {
            for _ in 0..words::parse(count) {
                take(&worker, &ear, 1).await;
            }
        }
        ["take-between", count] => take_between(&worker, &ear, words::parse(count)).await,
        ["end", how, count] => {
            ends.send((how.to_owned(), words::parse(count))).await.expect("the program runs");
        }
        ["take", count] => take(&worker, &ear, words::parse(count)).await,
        ["burn-until", path] => burn_until(path, &ear).await,
        _ => return words::answer(&Mouth::Worker(worker), &ear, &line).await,
    }
    "done".to_owned()
}
