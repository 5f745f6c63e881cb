//! Run with `cargo run --release --example hello_actix_fork -- 127.0.0.1:3000`, then `curl 127.0.0.1:3000`.
//!
//! A plain `main` and `.join()`: workers are forked, and share what `main` has loaded.
use actix_web::{App, Responder, get};
use cluster_actix::{HttpServer, Worker};

#[get("/")]
async fn hello(worker: Worker) -> impl Responder {
    format!("hello from worker {} (pid {})\n", worker.id(), worker.pid())
}

fn main() -> std::io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    HttpServer::new(|| App::new().service(hello)).bind(addr)?.run().join()
}
