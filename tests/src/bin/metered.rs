//! A web application that is looked at: `metered axum|actix fork|await PLACE [KNOB..]`. A place is one of TCP, or
//! `unix:PATH`. Beside what the adapters have for operators it counts:
//! - `/hit/NAME` adds 1 to that counter and says by which worker, `/sum/NAME` reads it;
//! - `/hold` answers when the worker drains;
//! - `/ready` says that the worker is ready, where it has to (knob `waits`).
//!
//! With the knob `director` the primary's side adds 7 to the counter `by_director` each time it begins.
use std::env;
use std::process::ExitCode;
use std::time::Duration;

use actix_web::{App, web};
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use cluster_axum::{Builder, ClusterHandle, CounterError, Worker};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let [_, framework, method, place, knobs @ ..] = &arguments[..] else {
        eprintln!("usage: metered axum|actix fork|await PLACE [KNOB..]");
        return ExitCode::from(2);
    };
    let ended = match framework.as_str() {
        "axum" => serve(place, method, knobs.to_vec()).map_err(std::io::Error::from),
        _ => serve_actix(place, method, knobs),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{err}");
            ExitCode::FAILURE
        }
    }
}

fn apply(knobs: &[String], builder: Builder) -> Builder {
    let has = |name: &str| knobs.iter().any(|knob| knob == name);
    // Long enough for a client that is slow to ask, and nobody waits for it where all have left.
    let builder = builder.lame_duck(Duration::from_secs(10));
    let builder = if has("waits") { builder.wait_for_ready() } else { builder };
    if !has("director") {
        return builder;
    }
    builder.primary(|cluster: ClusterHandle| async move {
        cluster.counter("by_director")?.add(7);
        Ok::<_, CounterError>(())
    })
}

fn hit(worker: &Worker, name: &str) -> Result<String, CounterError> {
    worker.counter(name)?.add(1);
    Ok(format!("worker {}", worker.id()))
}

fn sum(worker: &Worker, name: &str) -> Result<String, CounterError> {
    Ok(worker.counter(name)?.get().to_string())
}

fn serve(place: &str, method: &str, knobs: Vec<String>) -> Result<(), cluster_axum::Error> {
    let app = Router::new()
        .route(
            "/hit/{name}",
            get(|worker: Worker, Path(name): Path<String>| async move { hit(&worker, &name) }),
        )
        .route(
            "/sum/{name}",
            get(|worker: Worker, Path(name): Path<String>| async move { sum(&worker, &name) }),
        )
        .route("/hold", get(|worker: Worker| async move { worker.draining().await }))
        .route("/ready", get(|worker: Worker| async move { worker.ready() }))
        .route("/metrics", cluster_axum::metrics())
        .merge(cluster_axum::health());
    let serve = cluster_axum::serve(app);
    let serve = match place.strip_prefix("unix:") {
        Some(path) => serve.bind_uds(path),
        None => serve.bind(place),
    };
    let serve = serve.cluster(|builder| apply(&knobs, builder));
    if method == "fork" {
        return serve.run();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(serve.into_future())
}

fn serve_actix(place: &str, method: &str, knobs: &[String]) -> std::io::Result<()> {
    let server = || {
        let server = cluster_actix::HttpServer::new(|| {
            App::new()
                .route(
                    "/hit/{name}",
                    web::get().to(async |worker: Worker, name: web::Path<String>| hit(&worker, &name)),
                )
                .route(
                    "/sum/{name}",
                    web::get().to(async |worker: Worker, name: web::Path<String>| sum(&worker, &name)),
                )
                .route(
                    "/hold",
                    web::get().to(async |worker: Worker| {
                        worker.draining().await;
                        ""
                    }),
                )
                .route(
                    "/ready",
                    web::get().to(async |worker: Worker| {
                        worker.ready();
                        ""
                    }),
                )
                .route("/metrics", cluster_actix::metrics())
                .service(cluster_actix::health())
        });
        let server = match place.strip_prefix("unix:") {
            Some(path) => server.bind_uds(path),
            None => server.bind(place),
        }?;
        std::io::Result::Ok(server.cluster(|builder| apply(knobs, builder)))
    };
    if method == "fork" {
        return server()?.run().join();
    }
    actix_web::rt::System::new().block_on(async { server()?.run().await })
}
