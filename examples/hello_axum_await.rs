//! Run with `cargo run --release --example hello_axum_await -- 127.0.0.1:3000`.
//!
//! An async `main`: each worker is this program executed again, so what is made before `.await` (here a pool
//! that needs the runtime) is made in each of them, and is each one's own.
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use cluster_axum::{Error, Worker};
use tokio::sync::Semaphore;

/// Stands for a pool of database connections: a few requests use it at a time.
type Pool = Arc<Semaphore>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    let pool = connect(16).await;
    let app = Router::new().route("/", get(hello)).with_state(pool);
    cluster_axum::serve(app).bind(addr).await
}

async fn connect(connections: usize) -> Pool {
    tokio::task::yield_now().await;
    Arc::new(Semaphore::new(connections))
}

async fn hello(State(pool): State<Pool>, worker: Worker) -> String {
    let _connection = pool.acquire().await;
    format!("hello from worker {} (pid {})\n", worker.id(), worker.pid())
}
