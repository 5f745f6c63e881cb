//! A worker that speaks and hears.
use cluster_core::{BoxError, Json, Peer, Worker};
use futures::StreamExt;

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
    worker.ready();
    let mut draining = worker.draining();
    loop {
        tokio::select! {
            () = &mut draining => break,
            stream = socket.accept() => {
                let (worker, ear) = (worker.clone(), ear.clone());
                // Not `worker.spawn`: a drain must not wait for the test.
                tokio::spawn(converse(stream?.0, move |line| answer(worker.clone(), ear.clone(), line)));
            }
        }
    }
    drop(socket);
    for number in 1..=stage.number("last-words").unwrap_or(0) {
        worker.send(&Said::new(number, 100)).await?;
    }
    Ok(())
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
    if !stage.has("spawned-reader") {
        worker.on_message(move |from: Peer, message: Said| said.hears(&describe(&from, &message)));
    }
    worker.on_message(move |Work(words)| {
        let ear = worked.clone();
        async move { words::work(&ear, words).await }
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

async fn answer(worker: Worker, ear: Ear, line: String) -> String {
    match line.as_str() {
        "listen-late" => {
            worker.on_message(move |late: Late| {
                ear.hears(&format!("late {} {}", late.number, late.padding.len()))
            });
            "done".to_owned()
        }
        "slots" => worker.slots().to_string(),
        _ => match line.strip_prefix("spawn-until ") {
            Some(path) => {
                let path = path.to_owned();
                worker.spawn(async move {
                    crate::appears(path).await;
                    ear.hears("the spawned task has ended");
                });
                "done".to_owned()
            }
            None => words::answer(&Mouth::Worker(worker), &ear, &line).await,
        },
    }
}
