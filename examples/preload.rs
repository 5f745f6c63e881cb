//! Run with `cargo run --release --example preload -- 127.0.0.1:3000`, then `curl http://127.0.0.1:3000/mem`.
//!
//! A table of 256 MiB is built once, in `main`. The workers are forked after that, so they share its pages:
//! each one's private memory is small, and its PSS (its own plus its part of what is shared) falls with
//! their number.
use std::collections::HashMap;
use std::sync::Arc;
use std::{fs, io};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use cluster_axum::{Error, Worker};

/// 256 MiB of `u64`.
const ENTRIES: u64 = (256 << 20) / 8;

type Table = Arc<Vec<u64>>;
type Asked = HashMap<String, usize>;

fn main() -> Result<(), Error> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    // Squares, every one written: only a page that has been touched is memory.
    let table: Table = Arc::new((0..ENTRIES).map(|n| n * n).collect());
    let app = Router::new().route("/", get(square)).route("/mem", get(memory)).with_state(table);
    cluster_axum::serve(app).bind(addr).run()
}

/// `GET /?n=12` looks the square of 12 up.
async fn square(worker: Worker, State(table): State<Table>, Query(asked): Query<Asked>) -> String {
    let n = asked.get("n").copied().unwrap_or(12);
    let square = table.get(n).map_or("not in the table".to_owned(), u64::to_string);
    format!("{n} squared is {square}, says worker {} (pid {})\n", worker.id(), worker.pid())
}

/// The memory of each worker: they are the primary's children, and named so.
async fn memory() -> Result<String, (StatusCode, String)> {
    list_workers().map_err(|err| (StatusCode::INTERNAL_SERVER_ERROR, format!("/proc: {err}\n")))
}

fn list_workers() -> io::Result<String> {
    let primary = std::os::unix::process::parent_id();
    let mut list = String::new();
    for pid in fs::read_to_string(format!("/proc/{primary}/task/{primary}/children"))?.split_whitespace() {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"))?;
        if name.starts_with("worker ") {
            // Figures that the kernel keeps of a process, in KiB (proc_pid_smaps(5)).
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let kib = |name: &str| -> u64 {
                let line = rollup.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
            };
            let private = kib("Private_Clean:") + kib("Private_Dirty:");
            list += &format!("{} (pid {pid}): PSS {} KiB, private {private} KiB\n", name.trim(), kib("Pss:"));
        }
    }
    Ok(list)
}
