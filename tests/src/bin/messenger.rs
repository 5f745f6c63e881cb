//! What the adapters lend to handlers of requests: `messenger axum|actix fork|await FILE [BACKLOG]`.
//!
//! `main` registers with the free `on_message`, handlers use the free `send` and `broadcast` and let errors answer;
//! who hears something, and what `send` says too early, is a line in the file. `MESSENGER_HANG` is a limit for hangs in
//! milliseconds; `/loop` has its worker hang.
use std::fs;
use std::future::IntoFuture;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use actix_web::web;
use axum::routing::get;
use cluster_axum::{
    Ask, AskError, BoxError, Builder, Error, Exit, Peer, SendError, To, Worker, WorkerId, WorkerRef,
};
use futures::FutureExt;
use serde::{Deserialize, Serialize};

/// A question that has no answer in time.
#[derive(Serialize, Deserialize)]
struct Slow;
impl Ask for Slow {
    type Answer = ();
}

/// A question that nobody answers.
#[derive(Serialize, Deserialize)]
struct Unknown;
impl Ask for Unknown {
    type Answer = ();
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, framework, method, file, backlog @ ..] = &arguments[..] else {
        eprintln!("usage: messenger axum|actix fork|await FILE [BACKLOG]");
        return ExitCode::from(2);
    };
    let ended = match framework.as_str() {
        "axum" => run_axum(method, file).map_err(Into::into),
        _ => run_actix(method, file, backlog.first().map(|backlog| backlog.parse().expect("a number"))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{err}");
            ExitCode::FAILURE
        }
    }
}

fn note(file: &str, line: &str) {
    let mut file = fs::File::options().append(true).create(true).open(file).expect("the folder is there");
    file.write_all(format!("{line}\n").as_bytes()).expect("there is room on the disk");
}

fn primary_side(builder: Builder, file: &str) -> Builder {
    let (file, exits) = (file.to_owned(), file.to_owned());
    let builder = match std::env::var("MESSENGER_HANG") {
        Ok(millis) => builder.hang_timeout(Duration::from_millis(millis.parse().expect("a number"))),
        Err(_) => builder,
    };
    builder
        .workers(3)
        .on_exit(move |exit: Exit| note(&exits, &format!("exit: {} {:?}", exit.worker, exit.reason)))
        .on_message(move |from: WorkerRef, text: String| {
            note(&file, &format!("director: {} {text}", from.id()))
        })
        .on_ask(|_: WorkerRef, _: Slow| std::future::pending::<Result<(), BoxError>>())
}

fn run_axum(method: &str, file: &str) -> Result<(), Error> {
    let early = cluster_axum::send(&"too early".to_string()).now_or_never();
    note(file, &format!("early: {early:?}"));
    let early = cluster_axum::broadcast(&"too early".to_string()).now_or_never();
    note(file, &format!("early: {early:?}"));
    let (texts, senders) = (file.to_owned(), file.to_owned());
    cluster_axum::on_message(move |text: String| {
        note(&texts, &format!("worker {}: {text}", cluster_axum::worker().id()));
    });
    cluster_axum::on_message(move |from: Peer, _: String| {
        let file = senders.clone();
        async move { note(&file, &format!("worker {}: from {:?}", cluster_axum::worker().id(), from.worker)) }
    });
    let app = axum::Router::new()
        .route("/tell", get(|| async { cluster_axum::send(&"told".to_string()).await }))
        .route("/say", get(|| async { say(cluster_axum::broadcast(&"said".to_string()).await) }))
        .route("/gone", get(gone))
        .route("/loop", get(loop_for_ever))
        .route("/slow", get(slow))
        .route("/unknown", get(unknown));
    let file = file.to_owned();
    let serve =
        cluster_axum::serve(app).bind("127.0.0.1:0").cluster(move |builder| primary_side(builder, &file));
    if method == "fork" {
        return serve.run();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(serve.into_future())
}

fn run_actix(method: &str, file: &str, backlog: Option<u32>) -> Result<(), BoxError> {
    let early = cluster_actix::send(&"too early".to_string()).now_or_never();
    note(file, &format!("early: {early:?}"));
    let early = cluster_actix::broadcast(&"too early".to_string()).now_or_never();
    note(file, &format!("early: {early:?}"));
    let (texts, senders) = (file.to_owned(), file.to_owned());
    cluster_actix::on_message(move |text: String| {
        note(&texts, &format!("worker {}: {text}", cluster_actix::worker().id()));
    });
    cluster_actix::on_message(move |from: Peer, _: String| {
        let file = senders.clone();
        async move { note(&file, &format!("worker {}: from {:?}", cluster_actix::worker().id(), from.worker)) }
    });
    let file = file.to_owned();
    let run = move || {
        let server = cluster_actix::HttpServer::new(|| {
            let tell = || async { cluster_actix::send(&"told".to_string()).await.map(|()| "") };
            let say = || async { say(cluster_actix::broadcast(&"said".to_string()).await) };
            actix_web::App::new()
                .route("/tell", web::get().to(tell))
                .route("/say", web::get().to(say))
                .route("/gone", web::get().to(gone))
                .route("/loop", web::get().to(loop_for_ever))
                .route("/slow", web::get().to(|worker: Worker| async { slow(worker).await.map(|()| "") }))
                .route(
                    "/unknown",
                    web::get().to(|worker: Worker| async { unknown(worker).await.map(|()| "") }),
                )
        });
        let server = match backlog {
            Some(backlog) => server.backlog(backlog),
            None => server,
        };
        server
            .cluster(move |builder| primary_side(builder, &file))
            .bind("127.0.0.1:0")
            .map(|server| server.run())
    };
    if method == "fork" {
        run()?.join()?;
    } else {
        actix_web::rt::System::new().block_on(async { run()?.await })?;
    }
    Ok(())
}

fn say(delivery: Result<cluster_axum::Delivery, SendError>) -> Result<String, SendError> {
    delivery.map(|delivery| format!("worker {}: {}", cluster_axum::worker().id(), delivery.reached))
}

/// The worker is an argument of the handler, and the error an answer.
async fn gone(worker: Worker) -> Result<&'static str, SendError> {
    worker.send_to(WorkerId(4711), &"is anybody there?".to_string()).await.map(|()| "")
}

async fn loop_for_ever() -> &'static str {
    loop {
        std::hint::spin_loop();
    }
}

async fn slow(worker: Worker) -> Result<(), AskError> {
    worker.ask(To::Primary, &Slow).timeout(Duration::from_millis(50)).await
}

async fn unknown(worker: Worker) -> Result<(), AskError> {
    worker.ask(To::Primary, &Unknown).await
}
