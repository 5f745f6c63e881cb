//! A web application that drains: `drainer ADDR axum|actix fork|await KNOB..`.
//!
//! Knobs: `workers=N`, `drain=MS`, `scheduling=shared|round-robin|least`. `/` is answered with the worker's number,
//! `/events` is a stream of events that ends when the worker drains, `/stubborn` one that never ends. With actix-web there is
//! a second address, for both versions of HTTP.
use std::convert::Infallible;
use std::env;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use cluster_core::{Builder, Draining, Scheduling, worker};
use futures::Stream;
use tokio::time::{Interval, interval};

/// Between two events.
const TICK: Duration = Duration::from_millis(20);
const EVENTS: &str = "text/event-stream";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let [_, addr, framework, method, knobs @ ..] = &arguments[..] else {
        eprintln!("usage: drainer ADDR axum|actix fork|await KNOB..");
        return ExitCode::from(2);
    };
    let ended = match framework.as_str() {
        "axum" => serve(addr, method, knobs).map_err(std::io::Error::from),
        _ => serve_actix(addr, method, knobs),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{err}");
            ExitCode::FAILURE
        }
    }
}

/// What the knobs say.
fn configure(mut builder: Builder, knobs: &[String]) -> Builder {
    for knob in knobs {
        let (name, value) = knob.split_once('=').expect("NAME=VALUE");
        let number = || value.parse::<u64>().expect("a number");
        builder = match name {
            "workers" => builder.workers(number() as usize),
            "drain" => builder.drain_timeout(Duration::from_millis(number())),
            "scheduling" => builder.scheduling(match value {
                "round-robin" => Scheduling::RoundRobin,
                "least" => Scheduling::LeastConnections,
                _ => Scheduling::Shared,
            }),
            _ => panic!("`{knob}` is no knob"),
        };
    }
    builder
}

/// What a stream of events goes by.
struct Events {
    ticks: Interval,
    draining: Option<Draining>,
    is_over: bool,
}

/// Events, one by one; `bye` is the last where the drain is watched.
fn events(draining: Option<Draining>) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let begin = Events { ticks: interval(TICK), draining, is_over: false };
    futures::stream::unfold(begin, |mut events| async {
        if events.is_over {
            return None;
        }
        let told = async {
            match &mut events.draining {
                Some(draining) => draining.await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            biased;
            () = told => {
                events.is_over = true;
                "data: bye\n\n"
            }
            _ = events.ticks.tick() => "data: tick\n\n",
        };
        Some((Ok(Bytes::from(event)), events))
    })
}

fn serve(addr: &str, method: &str, knobs: &[String]) -> Result<(), cluster_axum::Error> {
    let answer = |draining| ([(CONTENT_TYPE, EVENTS)], Body::from_stream(events(draining)));
    let app = Router::new()
        .route("/", get(|| async { worker().id().to_string() }))
        .route("/events", get(move || async move { answer(Some(worker().draining())) }))
        .route("/stubborn", get(move || async move { answer(None) }));
    let serve = cluster_axum::serve(app).bind(addr).cluster(|builder| configure(builder, knobs));
    if method == "fork" {
        return serve.run();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(serve.into_future())
}

fn serve_actix(addr: &str, method: &str, knobs: &[String]) -> std::io::Result<()> {
    use actix_web::{App, HttpResponse, web};
    let answer = |draining| HttpResponse::Ok().content_type(EVENTS).streaming(events(draining));
    let server = || {
        let server = cluster_actix::HttpServer::new(move || {
            App::new()
                .route("/", web::get().to(|| async { worker().id().to_string() }))
                .route("/events", web::get().to(move || async move { answer(Some(worker().draining())) }))
                .route("/stubborn", web::get().to(move || async move { answer(None) }))
        });
        server.cluster(|builder| configure(builder, knobs)).bind(addr)?.bind_auto_h2c(addr)
    };
    if method == "fork" {
        return server()?.run().join();
    }
    actix_web::rt::System::new().block_on(async { server()?.run().await })
}
