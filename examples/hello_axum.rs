//! Run with `cargo run --release --example hello_axum -- 127.0.0.1:3000`, then `curl http://127.0.0.1:3000/`.
//!
//! A plain `main`: the workers are forked, one per core.
use axum::Router;
use axum::routing::get;
use cluster_axum::{Error, Worker};

fn main() -> Result<(), Error> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    let app = Router::new().route("/", get(hello));
    cluster_axum::serve(app).bind(addr).run()
}

async fn hello(worker: Worker) -> String {
    format!("hello from worker {} (pid {})\n", worker.id(), worker.pid())
}
