//! Run with `cargo run --release --example admin_beside -- 127.0.0.1:3000 admin.sock`, then `curl http://127.0.0.1:3000/`
//! and `curl --unix-socket admin.sock http://admin/health`. Under `systemd-socket-activate -l 8080` it serves on 8080.
//!
//! Two applications in the same workers: one for everybody, one on a unix socket that only its owner may use.
use axum::extract::ConnectInfo;
use axum::{Router, routing::get};
use cluster_axum::{Error, Uds, UnixPeer, Worker};

fn main() -> Result<(), Error> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    let path = std::env::args().nth(2).unwrap_or_else(|| "admin.sock".into());
    let app = Router::new().route("/", get(hello));
    let admin = Router::new().route("/health", get(health));
    cluster_axum::serve(app).inherit_or_bind(0, addr).also_uds(admin, Uds::new(path).mode(0o600)).run()
}

async fn hello(worker: Worker) -> String {
    format!("hello from worker {} (pid {})\n", worker.id(), worker.pid())
}

async fn health(ConnectInfo(peer): ConnectInfo<UnixPeer>, worker: Worker) -> String {
    format!("worker {} of {} is fine, user {}\n", worker.id(), worker.slots(), peer.uid)
}
