//! Run with `cargo run --release --example actix_state -- 127.0.0.1:3000`, then ask 127.0.0.1:3000 several times.
//!
//! What is in memory is per process: `web::Data` counts the requests of one worker. The number that all share is kept on the
//! primary's side, and asked for.
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use actix_web::{App, get, web};
use cluster_actix::{Ask, AskError, HttpServer, To, Worker, WorkerRef};
use serde::{Deserialize, Serialize};

/// "I was asked: how often were we all?"
#[derive(Serialize, Deserialize)]
struct Hit;

impl Ask for Hit {
    type Answer = u64;
}

#[get("/")]
async fn count(worker: Worker, own: web::Data<AtomicU64>) -> Result<String, AskError> {
    let own = own.fetch_add(1, Relaxed) + 1;
    let all = worker.ask(To::Primary, &Hit).await?;
    Ok(format!("worker {}: {own} of {all} requests\n", worker.slot()))
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    // With actix-web's own server this would be one number for all workers.
    let own = web::Data::new(AtomicU64::new(0));
    let all = AtomicU64::new(0);
    HttpServer::new(move || App::new().app_data(own.clone()).service(count))
        .cluster(move |cluster| {
            cluster.on_ask(move |_: WorkerRef, Hit| {
                let number = all.fetch_add(1, Relaxed) + 1;
                async move { Ok::<_, Infallible>(number) }
            })
        })
        .bind(addr)?
        .run()
        .await
}
