//! Run with `cargo run --release --example hello_actix -- 127.0.0.1:3000`, then `curl 127.0.0.1:3000`.
//!
//! actix-web's own hello with one `use` changed: each worker is this program executed again.
use actix_web::{App, Responder, get};
use cluster_actix::{HttpServer, Worker};

#[get("/")]
async fn hello(worker: Worker) -> impl Responder {
    format!("hello from worker {} (pid {})\n", worker.id(), worker.pid())
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    HttpServer::new(|| App::new().service(hello)).bind(addr)?.run().await
}
