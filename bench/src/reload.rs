//! Replaces all workers of a running cluster.
use std::io;
use std::time::{Duration, Instant};

use cluster_core::testing::Process;
use nix::sys::signal::Signal;

/// Replaces all workers; answers with how long it took until all successors were ready. Predecessors may drain on.
pub(crate) fn replace_all(process: &Process) -> io::Result<Duration> {
    let start = Instant::now();
    let before = process.workers();
    let newest = before.iter().map(|worker| worker.id).max().unwrap_or_default();
    process.signal(Signal::SIGHUP as i32)?;
    process
        .wait_for_workers(|now| now.len() == before.len() && now.iter().all(|worker| worker.id > newest))?;
    Ok(start.elapsed())
}
