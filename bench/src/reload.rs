//! Replaces all workers of a running cluster, in the way that it has.
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use cluster_core::testing::Process;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Replaces all workers; answers with how long it took until all successors were ready. Predecessors may drain on.
pub(crate) fn replace_all(process: &Process) -> io::Result<Duration> {
    let start = Instant::now();
    let before = process.workers();
    let newest = before.iter().map(|worker| worker.id).max().unwrap_or_default();
    if catches_hangup(process.pid()) {
        process.signal(Signal::SIGHUP as i32)?;
    } else {
        for worker in &before {
            kill(Pid::from_raw(worker.pid as i32), Signal::SIGTERM)?;
            process.wait_for_workers(|now| {
                now.iter().any(|new| new.slot == worker.slot && new.id > worker.id)
            })?;
        }
    }
    process
        .wait_for_workers(|now| now.len() == before.len() && now.iter().all(|worker| worker.id > newest))?;
    Ok(start.elapsed())
}

/// Whether SIGHUP means something to a process. To one that does not catch it, it would be the end.
fn catches_hangup(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    caught(&status).is_some_and(|mask| mask & (1 << (Signal::SIGHUP as i32 - 1)) != 0)
}

/// The signals that are caught, as a mask (proc_pid_status(5)).
fn caught(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_catches_is_read_from_its_status() {
        assert_eq!(caught("SigIgn:\t0000000000000000\nSigCgt:\t0000000000000001\n"), Some(1));
        assert_eq!(caught("Name: x\n"), None);
        assert!(!catches_hangup(0));
    }
}
