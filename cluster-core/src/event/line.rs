//! Events as lines for a log.
use std::fmt;
use std::time::Duration;

use crate::event::exit::{Obituary, When, last_words};
use crate::event::print::{inform, warn};
use crate::event::{Event, Leave};

impl Event {
    fn is_trouble(&self) -> bool {
        match self {
            Event::WorkerExited(exit) => !exit.is_planned(),
            Event::DirectorExited { reason, .. } => !reason.is_planned(),
            Event::OomGroup
            | Event::WorkerStalled { .. }
            | Event::DirectorStalled { .. }
            | Event::BacklogCut { .. }
            | Event::ForkServerLost { .. }
            | Event::GivingUp { .. }
            | Event::RollingBack { .. }
            | Event::ReloadFailed { .. }
            | Event::Undelivered { .. }
            | Event::EventsLost { .. } => true,
            _ => false,
        }
    }

    /// Whether it is worth a line to whoever runs the cluster: what comes once per worker and is followed by
    /// more, or is one of many of a stop, is not.
    fn is_printed(&self) -> bool {
        !matches!(
            self,
            Event::WorkerStarted { .. }
                | Event::WorkerOnline { .. }
                | Event::WorkerDraining { why: Leave::Stop, .. }
        )
    }

    /// Writes it to the tracing subscriber, or where there is none to standard error.
    pub(crate) fn log(&self) {
        if !self.is_printed() {
            return;
        }
        let mut text = self.to_string();
        for line in self.trace() {
            // One message, so that it stays together.
            text.push_str("\n  ");
            text.push_str(line);
        }
        if self.is_trouble() { warn(&text) } else { inform(&text) }
    }

    fn trace(&self) -> &[String] {
        match self {
            Event::WorkerExited(exit) => &exit.trace,
            Event::DirectorExited { trace, .. } => trace,
            _ => &[],
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Starting { workers: 1, source } => write!(f, "starting 1 worker (from {source})"),
            Event::Starting { workers, source } => write!(f, "starting {workers} workers (from {source})"),
            Event::OomGroup => f.write_str(
                "memory.oom.group is 1: a worker that runs out of memory takes the whole cluster with it \
                 (systemd: OOMPolicy=continue; Kubernetes: singleProcessOOMKill)",
            ),
            Event::BacklogCut { asked, limit } => write!(
                f,
                "an accept queue of {asked} connections was asked for, and the kernel cuts it to {limit}: \
                 raise it (sysctl -w net.core.somaxconn={asked}), or ask for less with backlog(..)"
            ),
            Event::Listening { at } => write!(f, "listening on {}", at.join(", ")),
            Event::WorkerStarted { worker, slot, pid, .. } => {
                write!(f, "worker {worker} (slot {slot}, pid {pid}) has started")
            }
            Event::WorkerOnline { worker, slot, pid } => {
                write!(f, "worker {worker} (slot {slot}, pid {pid}) is online")
            }
            Event::WorkerReady { worker, slot, pid, took } => {
                write!(f, "worker {worker} (slot {slot}, pid {pid}) is ready after {took:.1?}")
            }
            Event::AllReady { workers: 1 } => f.write_str("the worker is ready"),
            Event::AllReady { workers } => write!(f, "all {workers} workers are ready"),
            Event::WorkerStalled { worker, slot, pid, silent, limit } => {
                let stall = Stall { silent: *silent, limit: *limit };
                write!(f, "worker {worker} (slot {slot}, pid {pid}) {stall}")
            }
            Event::WorkerDraining { worker, slot, pid, why, connections } => {
                write!(f, "worker {worker} (slot {slot}, pid {pid}) drains {why}{}", Open(*connections))
            }
            Event::WorkerExited(exit) => exit.fmt(f),
            Event::DirectorReady { pid } => write!(f, "the director (pid {pid}) is ready"),
            Event::DirectorStalled { pid, silent, limit } => {
                let stall = Stall { silent: *silent, limit: *limit };
                write!(f, "the director (pid {pid}) {stall}")
            }
            Event::DirectorExited { pid, reason, status, uptime, last_stderr, trace, next } => {
                let (status, uptime, next) = (*status, *uptime, *next);
                let obituary = Obituary { reason, status, uptime, last_stderr, trace, next, cut: 0 };
                write!(f, "the director (pid {pid}) {obituary}")
            }
            Event::ForkServerReady { pid } => write!(f, "the fork server (pid {pid}) is ready"),
            Event::ForkServerLost { why, again_in } => {
                let when = When(*again_in);
                write!(f, "lost the fork server ({why}); workers serve on; starting another {when}")
            }
            Event::Scaled { from, to } => write!(f, "scaling from {from} to {to} workers"),
            Event::Reloading { .. }
            | Event::RollingOut { .. }
            | Event::RollingBack { .. }
            | Event::Reloaded { .. }
            | Event::ReloadFailed { .. } => Reload(self).fmt(f),
            Event::ReopenLogs => f.write_str("log files are to be opened anew (SIGUSR1)"),
            Event::Undelivered { from, type_name, size, count, reason } => {
                let sender = from.map_or_else(|| "the director".to_owned(), |id| format!("worker {id}"));
                let plural = if *count == 1 { "" } else { "s" };
                write!(
                    f,
                    "{count} message{plural} of type `{type_name}` from {sender} did not arrive \
                     (the last had {size} bytes): {reason}"
                )
            }
            Event::EventsLost { count } => {
                write!(f, "{count} events are lost: the director did not take them in time")
            }
            Event::Stopping { connections, asked } => {
                let plural = if *connections == 1 { "" } else { "s" };
                let hint = if *asked { "; Ctrl-C again to stop now" } else { "" };
                write!(f, "draining {connections} connection{plural}{hint}")
            }
            Event::StoppingNow => f.write_str("stopping now"),
            Event::GivingUp { why } => write!(f, "giving up: {why}"),
            Event::Stopped => f.write_str("stopped"),
        }
    }
}

/// What is said of a reload.
struct Reload<'e>(&'e Event);

impl fmt::Display for Reload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::Reloading { generation } => {
                write!(f, "reloading: opening the program anew, as generation {generation}")
            }
            Event::RollingOut { generation } => {
                write!(f, "generation {generation} is sound: replacing the workers, one slot after another")
            }
            Event::RollingBack { generation, why } => {
                write!(f, "rolling back to generation {generation}: {why}")
            }
            Event::Reloaded { generation, took } => {
                write!(f, "reloaded: all workers are of generation {generation}, after {took:.1?}")
            }
            Event::ReloadFailed { generation, why, last_stderr } => {
                write!(f, "reload failed: generation {generation} is given up: {why}")?;
                // An exit that is the reason has said them.
                let unsaid = last_words(last_stderr).filter(|line| !why.ends_with(line.as_str()));
                unsaid.map_or(Ok(()), |line| write!(f, "; last words: {line}"))
            }
            // No other is about one.
            _ => Ok(()),
        }
    }
}

/// How many connections are open, to end a sentence with; nothing where none is.
struct Open(u64);

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str("; 1 connection is open"),
            open => write!(f, "; {open} connections are open"),
        }
    }
}

/// What is said of a process whose runtime stands still, after its name.
struct Stall {
    silent: Duration,
    limit: Duration,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { silent, limit } = self;
        write!(
            f,
            "has stood still for {silent:.1?}: something on its runtime loops or blocks; \
             it is killed after {limit:?} (hang_timeout)"
        )
    }
}
