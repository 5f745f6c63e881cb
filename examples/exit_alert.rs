//! Run with `cargo run --release --example exit_alert -- 127.0.0.1:3000`, then `kill -9` one of its workers.
//!
//! Somebody is told when a worker ends that nobody has asked to; here a file is.
use std::fs::OpenOptions;
use std::io::Write;

use axum::Router;
use axum::routing::get;
use cluster_axum::{Error, Exit, Worker};

fn main() -> Result<(), Error> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    let app = Router::new().route("/", get(hello));
    cluster_axum::serve(app).bind(addr).cluster(|cluster| cluster.on_exit(alert)).run()
}

async fn hello(worker: Worker) -> String {
    format!("hello from worker {} (pid {})\n", worker.id(), worker.pid())
}

/// Runs on the primary's side, in a process of its own: it may be slow, block or fail, and workers serve on.
fn alert(exit: Exit) -> std::io::Result<()> {
    if exit.is_planned() {
        return Ok(());
    }
    let path = std::env::var("ALERTS").unwrap_or_else(|_| "alerts.log".into());
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let signal = exit.signal().map_or("none".into(), |signal| signal.to_string());
    writeln!(
        file,
        "{exit}; signal {signal}, {} KiB at most, {:?} of CPU",
        exit.usage.max_rss / 1024,
        exit.usage.user
    )
}
