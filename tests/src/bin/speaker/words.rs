//! The line protocol that all processes speak, and what they do when they are told or asked something.
//!
//! `TO` is `primary`, `slot:N`, `worker:N`, `others` or `everyone`.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cluster_core::{
    Ask, AskError, Asking, Broadcasting, ClusterHandle, Json, Message, SendError, Sending, Slot, To, Worker,
    WorkerId,
};

use crate::types::{Flat, Late, Lean, OldOrder, Question, Said, Tagged, Unanswered, Work};
use crate::{Ear, appears};

/// Who speaks.
#[derive(Clone)]
pub(crate) enum Mouth {
    Worker(Worker),
    Director(ClusterHandle),
}

impl Mouth {
    fn send<T: Message>(&self, to: To, message: &T) -> Sending {
        match self {
            Mouth::Worker(worker) => worker.send_to(to, message),
            Mouth::Director(cluster) => cluster.send_to(to, message),
        }
    }

    fn broadcast<T: Message>(&self, message: &T) -> Broadcasting {
        match self {
            Mouth::Worker(worker) => worker.broadcast(message),
            Mouth::Director(cluster) => cluster.broadcast(message),
        }
    }

    fn ask<Q: Ask>(&self, to: To, question: &Q) -> Asking<Q::Answer> {
        match self {
            Mouth::Worker(worker) => worker.ask(to, question),
            Mouth::Director(cluster) => cluster.ask(to, question),
        }
    }
}

/// Messages that `flood` has sent.
static FLOODED: AtomicU64 = AtomicU64::new(0);

/// What to answer to a line.
pub(crate) async fn answer(mouth: &Mouth, ear: &Ear, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let said = match words[..] {
        ["pid"] => return std::process::id().to_string(),
        ["abort"] => std::process::abort(),
        ["exit", code, ..] => {
            eprintln!("{}", words[2..].join(" "));
            std::process::exit(parse(code) as i32)
        }
        ["flooded"] => return FLOODED.load(Ordering::Relaxed).to_string(),
        ["send", to, first, count, size] => send(mouth, to, (first, count, size)).await,
        ["send-and-abort", to, first, count, size] => {
            let sent = send(mouth, to, (first, count, size)).await;
            sent.expect("there is room");
            std::process::abort()
        }
        ["post", to, first, count, size] => {
            for number in numbers(first, count) {
                // As many programs do: whoever drops the future has sent the message where there was room.
                drop(mouth.send(whom(to), &Said::new(number, parse(size) as usize)));
            }
            Ok(())
        }
        ["late", to, first, count, size] => late(mouth, to, (first, count, size)).await,
        ["broadcast", first, count, size] => return broadcast(mouth, (first, count, size)).await,
        ["flood", to, size] => {
            tokio::spawn(flood(mouth.clone(), ear.clone(), whom(to), parse(size) as usize));
            Ok(())
        }
        ["flood-work", to, size] => {
            let work = Work(format!("never {}", "x".repeat(parse(size) as usize)));
            let (mouth, to) = (mouth.clone(), whom(to));
            tokio::spawn(async move {
                while mouth.send(to, &work).await.is_ok() {
                    FLOODED.fetch_add(1, Ordering::Relaxed);
                }
            });
            Ok(())
        }
        ["try", first, size] => return try_until_full(mouth, parse(first), parse(size) as usize),
        ["ask", to, millis, ..] => return ask(mouth, whom(to), parse(millis), &words[3..].join(" ")).await,
        ["ask-thousands", to, count] => return ask_thousands(mouth, whom(to), parse(count)).await,
        ["ask-unanswered", to] => return format!("{:?}", mouth.ask(whom(to), &Unanswered).await),
        ["work", to, ..] => mouth.send(whom(to), &Work(words[2..].join(" "))).await,
        ["odd", kind, to] => odd(mouth, kind, whom(to)).await,
        _ => return format!("what is {line:?}?"),
    };
    said.map_or_else(|err| format!("{err:?}"), |()| "done".to_owned())
}

/// One after the other, each when there is room.
async fn send(mouth: &Mouth, to: &str, what: (&str, &str, &str)) -> Result<(), SendError> {
    for number in numbers(what.0, what.1) {
        mouth.send(whom(to), &Said::new(number, parse(what.2) as usize)).await?;
    }
    Ok(())
}

async fn late(mouth: &Mouth, to: &str, what: (&str, &str, &str)) -> Result<(), SendError> {
    let padding = "x".repeat(parse(what.2) as usize);
    for number in numbers(what.0, what.1) {
        mouth.send(whom(to), &Late { number, padding: padding.clone() }).await?;
    }
    Ok(())
}

/// Answers with what became of the last one, and how many have missed any.
async fn broadcast(mouth: &Mouth, what: (&str, &str, &str)) -> String {
    let (mut last, mut missed) = (0, 0);
    for number in numbers(what.0, what.1) {
        match mouth.broadcast(&Said::new(number, parse(what.2) as usize)).await {
            Ok(delivery) => (last, missed) = (delivery.reached, missed + delivery.missed),
            Err(err) => return format!("{err:?}"),
        }
    }
    format!("reached {last}, missed {missed}")
}

/// Sends until that is an error.
async fn flood(mouth: Mouth, ear: Ear, to: To, size: usize) {
    for number in 1.. {
        if let Err(err) = mouth.send(to, &Said::new(number, size)).await {
            return ear.hears(&format!("flood ended: {err:?}"));
        }
        FLOODED.fetch_add(1, Ordering::Relaxed);
    }
}

fn try_until_full(mouth: &Mouth, first: u64, size: usize) -> String {
    let Mouth::Worker(worker) = mouth else { return "only a worker tries".to_owned() };
    for number in first.. {
        if let Err(err) = worker.try_send(&Said::new(number, size)) {
            return format!("{} {err:?}", number - first);
        }
    }
    unreachable!("there are as many numbers as one likes")
}

async fn ask(mouth: &Mouth, to: To, millis: u64, question: &str) -> String {
    let asking = mouth.ask(to, &Question(question.to_owned())).timeout(Duration::from_millis(millis));
    format!("{:?}", asking.await)
}

/// Asks a thousand at a time; answers with how many were answered, and how many of the asked were gone.
async fn ask_thousands(mouth: &Mouth, to: To, count: u64) -> String {
    let question = Question("echo x".to_owned());
    let (mut answered, mut gone) = (0, 0);
    for _ in 0..count {
        let all = (0..1000).map(|_| mouth.ask(to, &question).timeout(Duration::MAX));
        for said in futures::future::join_all(all).await {
            match said {
                Ok(_) => answered += 1,
                Err(AskError::PeerGone { .. }) => gone += 1,
                Err(err) => return format!("{err:?}"),
            }
        }
    }
    format!("answered {answered}, gone {gone}")
}

/// Sends what cannot be carried, or what is known by another layout, or as JSON.
async fn odd(mouth: &Mouth, kind: &str, to: To) -> Result<(), SendError> {
    let flat = || Flat { id: 1, rest: [("more".to_owned(), 2)].into() };
    match kind {
        "flatten" => mouth.send(to, &flat()).await,
        "tag" => mouth.send(to, &Tagged::Circle { radius: 1.5 }).await,
        "value" => mouth.send(to, &serde_json::json!({ "a": 1 })).await,
        "skip" => mouth.send(to, &Lean { id: 1, note: None }).await,
        "json" => mouth.send(to, &Json(flat())).await,
        "order" => mouth.send(to, &OldOrder { id: 7, admin: true, name: "eve".into() }).await,
        "huge" => mouth.send(to, &Said::new(1, (64 << 20) + 1)).await,
        other => panic!("there is no kind {other:?}"),
    }
}

/// A message to do something.
pub(crate) async fn work(ear: &Ear, words: String) -> Result<(), String> {
    match words.split_once(' ').unwrap_or((&words, "")) {
        ("until", path) => {
            ear.hears("works");
            appears(path).await;
        }
        ("panic", _) => panic!("a handler panics, as it should"),
        ("fail", why) => return Err(why.to_owned()),
        ("loop", _) => {
            ear.hears("works");
            loop {
                std::hint::spin_loop();
            }
        }
        ("busy-until", path) => {
            ear.hears("works");
            while !std::path::Path::new(path).exists() {
                let until = std::time::Instant::now() + Duration::from_millis(20);
                while std::time::Instant::now() < until {
                    std::hint::spin_loop();
                }
                tokio::task::yield_now().await;
            }
        }
        ("block", _) => {
            ear.hears("works");
            loop {
                std::thread::park();
            }
        }
        ("never", _) => {
            ear.hears("works");
            std::future::pending::<()>().await;
        }
        _ => return Err(format!("what is {words:?}?")),
    }
    ear.hears("worked");
    Ok(())
}

/// A question.
pub(crate) async fn reply(ear: Ear, question: String) -> Result<String, String> {
    match question.split_once(' ').unwrap_or((&question, "")) {
        ("echo", words) => Ok(words.to_owned()),
        ("pid", _) => Ok(std::process::id().to_string()),
        ("until", path) => {
            ear.hears("asked");
            appears(path).await;
            ear.hears("answers");
            Ok(path.to_owned())
        }
        ("big-until", path) => {
            ear.hears("asked");
            appears(path).await;
            ear.hears("answers");
            Ok("b".repeat(100_000))
        }
        ("refuse", why) => Err(why.to_owned()),
        ("panic", _) => panic!("an answerer panics, as it should"),
        ("never", _) => {
            ear.hears("asked");
            std::future::pending().await
        }
        ("big", size) => Ok("b".repeat(parse(size) as usize)),
        _ => Err(format!("what is {question:?}?")),
    }
}

fn numbers(first: &str, count: &str) -> std::ops::Range<u64> {
    let first = parse(first);
    first..first + parse(count)
}

pub(crate) fn parse(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{word:?} is no number"))
}

fn whom(to: &str) -> To {
    match to.split_once(':') {
        Some(("slot", slot)) => To::Slot(Slot(parse(slot) as u16)),
        Some(("worker", id)) => To::Worker(WorkerId(parse(id))),
        _ => match to {
            "primary" => To::Primary,
            "others" => To::Others,
            "everyone" => To::Everyone,
            _ => panic!("who is {to:?}?"),
        },
    }
}
