//! Run with `cargo run --release --example primary_timer -- 127.0.0.1:3000`, then `curl 127.0.0.1:3000`.
//!
//! A task that must run once, and not once per worker: it runs on the primary's side, and tells all workers.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use cluster_axum::{ClusterHandle, Error, SendError};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Tick(u64);

fn main() -> Result<(), Error> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    cluster_axum::serve_with(|worker| async move {
        let last = Arc::new(AtomicU64::new(0));
        let (heard, id) = (last.clone(), worker.id());
        worker.on_message(move |Tick(number)| heard.store(number, Ordering::Relaxed));
        let answer =
            move || async move { format!("worker {id} has heard tick {}\n", last.load(Ordering::Relaxed)) };
        Ok(Router::new().route("/", get(answer)))
    })
    .bind(addr)
    .cluster(|cluster| cluster.primary(tick))
    .run()
}

async fn tick(cluster: ClusterHandle) -> Result<(), SendError> {
    let mut interval = tokio::time::interval(Duration::from_millis(100));
    for number in 1.. {
        interval.tick().await;
        cluster.broadcast(&Tick(number)).await?;
    }
    Ok(())
}
