//! Run with `cargo run --release --example crash_restart -- 127.0.0.1:3000`, then `curl http://127.0.0.1:3000/segv`.
//!
//! Whatever ends a worker, the others serve on, and a new one is there some milliseconds later.
use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use cluster_axum::Worker;

fn main() -> ExitCode {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    let app = Router::new()
        .route("/", get(hello))
        .route("/crash", get(crash))
        .route("/segv", get(segv))
        .route("/slow", get(slow));
    match cluster_axum::serve(app).bind(addr).run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => err.report(),
    }
}

async fn hello(worker: Worker) -> String {
    format!("hello from worker {} (pid {})\n", worker.id(), worker.pid())
}

async fn crash() -> String {
    std::process::abort()
}

/// A bug in C, as a library might have it.
async fn segv() -> String {
    let nowhere = std::hint::black_box(std::ptr::null());
    // SAFETY: none, on purpose: `strlen` reads at address 0, which is never mapped, and the kernel ends this
    // process for it.
    let length = unsafe { nix::libc::strlen(nowhere) };
    format!("{length}\n")
}

/// `GET /slow?ms=2000` answers after 2 s: stop the program meanwhile, and it is answered all the same.
async fn slow(worker: Worker, Query(query): Query<HashMap<String, u64>>) -> String {
    let ms = query.get("ms").copied().unwrap_or(1000);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    format!("{ms} ms later, from worker {} (pid {})\n", worker.id(), worker.pid())
}
