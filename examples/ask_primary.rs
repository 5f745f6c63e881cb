//! Run with `cargo run --release --example ask_primary -- 127.0.0.1:3000`, then `curl 127.0.0.1:3000` a few times.
//!
//! A counter that all workers share: it lives on the primary's side, and they ask it.
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::routing::get;
use cluster_axum::{Ask, AskError, Error, SendError, To, Worker, WorkerRef};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct NextNumber;
impl Ask for NextNumber {
    type Answer = u64;
}

fn main() -> Result<(), Error> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    let app = Router::new().route("/", get(visit));
    let visits = AtomicU64::new(0);
    cluster_axum::serve(app)
        .bind(addr)
        .cluster(|cluster| {
            cluster.on_ask(move |_: WorkerRef, _: NextNumber| {
                let number = visits.fetch_add(1, Ordering::Relaxed) + 1;
                async move { Ok::<_, SendError>(number) }
            })
        })
        .run()
}

async fn visit(worker: Worker) -> Result<String, AskError> {
    let number = worker.ask(To::Primary, &NextNumber).await?;
    Ok(format!("visit {number}, served by worker {}\n", worker.id()))
}
