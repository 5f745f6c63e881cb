//! Run with `cargo run --release --example preload -- 127.0.0.1:3000`, then `curl http://127.0.0.1:3000/mem` several times.
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

fn main() -> Result<(), Error> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    // Squares, every one written: only a page that has been touched is memory.
    let table: Table = Arc::new((0..ENTRIES).map(|n| n * n).collect());
    let app = Router::new().route("/", get(square)).route("/mem", get(memory)).with_state(table);
    cluster_axum::serve(app).bind(addr).run()
}

/// `GET /?n=12` looks the square of 12 up.
async fn square(State(table): State<Table>, Query(query): Query<HashMap<String, usize>>) -> String {
    let n = query.get("n").copied().unwrap_or(12);
    match table.get(n) {
        Some(square) => format!("{n} squared is {square}\n"),
        None => format!("{n} is not in the table: its {ENTRIES} entries begin with 0\n"),
    }
}

/// The memory of the worker that answers.
async fn memory(worker: Worker) -> Result<String, (StatusCode, String)> {
    let [pss, clean, dirty] = measure(["Pss:", "Private_Clean:", "Private_Dirty:"])
        .map_err(|err| (StatusCode::INTERNAL_SERVER_ERROR, format!("/proc/self/smaps_rollup: {err}\n")))?;
    let private = clean + dirty;
    Ok(format!("worker {} (pid {}): PSS {pss} KiB, private {private} KiB\n", worker.id(), worker.pid()))
}

/// Figures that the kernel keeps of this process, in KiB (proc_pid_smaps(5)).
fn measure<const N: usize>(names: [&str; N]) -> io::Result<[u64; N]> {
    let text = fs::read_to_string("/proc/self/smaps_rollup")?;
    let figure =
        |name| text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    Ok(names.map(|name| figure(name).unwrap_or(0)))
}
