//! What the kernel says that a process does: `/proc/PID/status` (proc_pid_status(5)).
use std::fs;

use nix::unistd::{Pid, Uid};

use crate::supervise::input::Condition;

/// Of a process that was not reaped. One of which nothing can be read runs, as far as we know.
pub(super) fn of(pid: Pid) -> Condition {
    fs::read_to_string(format!("/proc/{pid}/status")).map_or(Condition::Runs, |status| parse(&status))
}

/// The real user of a process that was not reaped.
pub(super) fn owner_of(pid: Pid) -> Option<Uid> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&status, "Uid").split_whitespace().next()?.parse().ok().map(Uid::from_raw)
}

fn field<'s>(status: &'s str, name: &str) -> &'s str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map_or("", str::trim)
}

fn parse(status: &str) -> Condition {
    let field = |name: &str| field(status, name);
    let is_set = |name: &str| field(name).parse::<u64>().is_ok_and(|value| value != 0);
    if is_set("CoreDumping") {
        Condition::DumpsCore
    } else if is_set("TracerPid") {
        Condition::Traced
    } else if field("State").starts_with('T') {
        Condition::Stopped
    } else {
        Condition::Runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_runs_unless_it_is_held() {
        for (state, tracer, dumps, expected) in [
            ("R (running)", 0, 0, Condition::Runs),
            ("S (sleeping)", 0, 0, Condition::Runs),
            ("D (disk sleep)", 0, 0, Condition::Runs),
            ("T (stopped)", 0, 0, Condition::Stopped),
            ("t (tracing stop)", 4711, 0, Condition::Traced),
            ("S (sleeping)", 4711, 0, Condition::Traced),
            ("D (disk sleep)", 0, 1, Condition::DumpsCore),
        ] {
            let status = format!(
                "Name:\tT (stopped)\nState:\t{state}\nPid:\t7\nTracerPid:\t{tracer}\nCoreDumping:\t{dumps}\n"
            );
            assert_eq!(parse(&status), expected, "{status}");
        }
        assert_eq!(parse(""), Condition::Runs);
    }

    #[test]
    fn this_process_runs() {
        assert_eq!(of(nix::unistd::getpid()), Condition::Runs);
        assert_eq!(owner_of(nix::unistd::getpid()), Some(nix::unistd::getuid()));
    }
}
