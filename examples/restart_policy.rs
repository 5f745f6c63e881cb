//! Run with `cargo run --release --example restart_policy -- 127.0.0.1:3000`, then `curl http://127.0.0.1:3000/exit?code=1`.
//!
//! How soon and how often workers are replaced: here nearly at once and nearly without end, so that it takes
//! a thousand `kill -9` in its stride. A worker that exits with code 64 is not replaced.
use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use cluster_axum::{Restart, Worker};

fn main() -> ExitCode {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    let app = Router::new().route("/", get(hello)).route("/exit", get(exit));
    let policy = Restart::default()
        .delay(Duration::from_millis(1), Duration::from_millis(10))
        .limit(100_000, Duration::from_secs(60))
        .unless_code([64]);
    match cluster_axum::serve(app).bind(addr).cluster(|cluster| cluster.restart(policy)).run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => err.report(),
    }
}

async fn hello(worker: Worker) -> String {
    format!("hello from worker {} (pid {})\n", worker.id(), worker.pid())
}

/// `GET /exit?code=3` exits with code 3, and has no answer.
async fn exit(Query(query): Query<HashMap<String, i32>>) -> String {
    std::process::exit(query.get("code").copied().unwrap_or(0))
}
