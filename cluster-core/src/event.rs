//! What happens in a cluster, as data and as one line each.
use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use nix::errno::Errno;

use crate::id::{Slot, WorkerId};
use crate::sys::voice::Voice;
use crate::tail::CHUNK;

/// Why a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExitReason {
    /// Its program returned, or it exited with code 0, unasked.
    Finished,
    /// It was told to stop, by the primary or by a signal of its own, and did.
    Stopped,
    /// It ended before it was ready: what it said, or how it ended.
    BootFailed(String),
    /// A signal, an abort, an error of its program, a code other than 0.
    Crashed,
    /// It was not ready within the boot timeout.
    BootTimeout,
    /// It did not finish within the drain timeout.
    DrainTimeout,
    /// It said what is no message.
    Garbled,
}

/// What happens next in a slot whose worker has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    RestartIn(Duration),
    AlreadyReplaced,
    NotReplaced,
    GiveUp,
}

/// The end of a worker.
#[derive(Debug, Clone)]
pub(crate) struct Exit {
    pub(crate) worker: WorkerId,
    pub(crate) slot: Slot,
    pub(crate) pid: u32,
    pub(crate) reason: ExitReason,
    /// None where it never came to be a process.
    pub(crate) status: Option<ExitStatus>,
    pub(crate) uptime: Duration,
    pub(crate) last_stderr: Vec<String>,
    pub(crate) next: Next,
}

impl Exit {
    /// Whether somebody asked for it.
    pub(crate) fn is_planned(&self) -> bool {
        matches!(self.reason, ExitReason::Stopped)
    }
}

/// Anything worth a line.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Starting {
        workers: u16,
        source: &'static str,
    },
    OomGroup,
    Listening {
        at: Vec<String>,
    },
    WorkerReady {
        worker: WorkerId,
        slot: Slot,
        pid: u32,
        took: Duration,
    },
    AllReady {
        workers: u16,
    },
    WorkerDraining {
        worker: WorkerId,
        slot: Slot,
        pid: u32,
    },
    WorkerExited(Exit),
    ForkServerReady {
        pid: u32,
    },
    ForkServerLost {
        why: String,
        again_in: Duration,
    },
    /// `asked`: by somebody who may ask again.
    Stopping {
        connections: u64,
        asked: bool,
    },
    StoppingNow,
    GivingUp {
        why: String,
    },
    Stopped,
}

impl Event {
    fn is_trouble(&self) -> bool {
        match self {
            Event::WorkerExited(exit) => !exit.is_planned(),
            Event::OomGroup | Event::ForkServerLost { .. } | Event::GivingUp { .. } => true,
            _ => false,
        }
    }

    /// Writes it to the tracing subscriber, or where there is none to standard error.
    pub(crate) fn log(&self) {
        if self.is_trouble() { warn(&self.to_string()) } else { inform(&self.to_string()) }
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
            Event::Listening { at } => write!(f, "listening on {}", at.join(", ")),
            Event::WorkerReady { worker, slot, pid, took } => {
                write!(f, "worker {worker} (slot {slot}, pid {pid}) is ready after {took:.1?}")
            }
            Event::AllReady { workers: 1 } => f.write_str("the worker is ready"),
            Event::AllReady { workers } => write!(f, "all {workers} workers are ready"),
            Event::WorkerDraining { worker, slot, pid } => {
                write!(
                    f,
                    "worker {worker} (slot {slot}, pid {pid}) drains of its own accord; a successor starts"
                )
            }
            Event::WorkerExited(exit) => exit.fmt(f),
            Event::ForkServerReady { pid } => write!(f, "the fork server (pid {pid}) is ready"),
            Event::ForkServerLost { why, again_in } => {
                write!(
                    f,
                    "lost the fork server ({why}); workers serve on; starting another {}",
                    When(*again_in)
                )
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

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worker, slot, pid, reason, status, uptime, last_stderr, next } = self;
        write!(f, "worker {worker} (slot {slot}, pid {pid}) ")?;
        match reason {
            ExitReason::Finished => write!(f, "finished")?,
            ExitReason::Stopped => write!(f, "stopped")?,
            ExitReason::BootFailed(why) => write!(f, "failed to boot: {why}")?,
            ExitReason::Crashed => write!(f, "crashed")?,
            ExitReason::BootTimeout => write!(f, "was not ready in time and was killed")?,
            ExitReason::DrainTimeout => write!(f, "did not finish draining in time and was killed")?,
            ExitReason::Garbled => write!(f, "broke the control protocol and was killed")?,
        }
        if let Some(status) = status {
            write!(f, " ({})", Status(*status))?;
        }
        write!(f, " after {uptime:.1?}")?;
        match next {
            Next::RestartIn(delay) => write!(f, "; restarting {}", When(*delay))?,
            Next::AlreadyReplaced => {}
            Next::NotReplaced => {
                if !self.is_planned() {
                    write!(f, "; it is not replaced")?;
                }
            }
            Next::GiveUp => write!(f, "; giving up")?,
        }
        match last_words(last_stderr) {
            Some(line) if !self.is_planned() => write!(f, "; last words: {line}"),
            _ => Ok(()),
        }
    }
}

/// An exit status in the words of a shell user.
pub(crate) struct Status(pub(crate) ExitStatus);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => {
                match nix::sys::signal::Signal::try_from(signal) {
                    Ok(signal) => f.write_str(signal.as_str())?,
                    Err(_) => write!(f, "signal {signal}")?,
                }
                if self.0.core_dumped() { f.write_str(", core dumped") } else { Ok(()) }
            }
            (None, None) => write!(f, "{}", self.0),
        }
    }
}

/// A delay in words.
struct When(Duration);

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() { f.write_str("at once") } else { write!(f, "in {:.1?}", self.0) }
    }
}

/// The last lines of what a worker wrote to standard error.
pub(crate) fn last_lines(tail: &[u8]) -> Vec<String> {
    const LINES: usize = 100;
    let text = String::from_utf8_lossy(tail);
    let mut lines: Vec<_> =
        text.lines().rev().filter(|line| !line.trim().is_empty()).take(LINES).map(str::to_owned).collect();
    lines.reverse();
    lines
}

/// The last line that says something: not the frames and notes that follow a panic's message.
fn last_words(lines: &[String]) -> Option<&String> {
    let is_frame = |line: &str| {
        let start = line.trim_start();
        let number = start.split_once(": ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
        number || start.starts_with("at ") || start.starts_with("note: ") || start == "stack backtrace:"
    };
    lines.iter().rev().find(|line| !is_frame(line))
}

/// Something that is as it should be.
pub(crate) fn inform(line: &str) {
    if has_subscriber() { tracing::info!(target: "cluster", "{line}") } else { print(line) }
}

/// Something that somebody should know.
pub(crate) fn warn(line: &str) {
    if has_subscriber() { tracing::warn!(target: "cluster", "{line}") } else { print(line) }
}

fn has_subscriber() -> bool {
    tracing::dispatcher::has_been_set()
}

/// The name before each line.
static NAME: OnceLock<String> = OnceLock::new();

/// Gives the lines of this process, and of those it forks, a name of the user's.
pub(crate) fn speak_as(name: Option<&str>) {
    if let Some(name) = name {
        let _ = NAME.set(name.to_owned());
    }
}

/// Lines that standard error has not taken yet. It is never waited for: supervision goes on whether or not
/// somebody reads.
static UNREAD: Mutex<Unread> = Mutex::new(Unread { bytes: Vec::new(), lost: 0 });
/// More than this is not kept.
const MOST_UNREAD: usize = 64 * 1024;

struct Unread {
    bytes: Vec<u8>,
    /// Lines that did not fit.
    lost: u64,
}

/// One line on standard error.
fn print(line: &str) {
    let name = NAME.get().map_or("cluster", String::as_str);
    let mut unread = UNREAD.lock().unwrap_or_else(PoisonError::into_inner);
    unread.add(name, line);
    let Some(voice) = voice() else { return };
    while !unread.bytes.is_empty() {
        // A pipe takes so much whole or not at all, so that lines of several processes do not mix (pipe(7)).
        let chunk = unread.bytes.len().min(CHUNK);
        match voice.write(&unread.bytes[..chunk]) {
            Ok(written) => drop(unread.bytes.drain(..written)),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return,
            // Nobody will ever read it.
            Err(_) => unread.bytes.clear(),
        }
    }
}

/// This process's standard error, never waited for.
pub(crate) fn voice() -> Option<&'static Voice> {
    static VOICE: OnceLock<Option<Voice>> = OnceLock::new();
    VOICE.get_or_init(|| std::io::stderr().as_fd().try_clone_to_owned().ok().map(Voice::of)).as_ref()
}

impl Unread {
    fn add(&mut self, name: &str, line: &str) {
        if self.bytes.len() + line.len() > MOST_UNREAD {
            self.lost += 1;
            return;
        }
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            self.bytes.extend(format!("{name}: {lost} lines are lost: nobody read them\n").bytes());
        }
        self.bytes.extend(format!("{name}: {line}\n").bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_says_who_why_and_what_next() {
        let exit = Exit {
            worker: WorkerId(7),
            slot: Slot(2),
            pid: 4711,
            reason: ExitReason::Crashed,
            status: Some(ExitStatus::from_raw(11)),
            uptime: Duration::from_millis(2100),
            last_stderr: vec!["oh no".into()],
            next: Next::RestartIn(Duration::ZERO),
        };
        assert_eq!(
            Event::WorkerExited(exit).to_string(),
            "worker 7 (slot 2, pid 4711) crashed (SIGSEGV) after 2.1s; restarting at once; last words: oh no"
        );
    }

    #[test]
    fn the_last_words_of_a_panic_are_its_message() {
        let lines = "thread 'worker' panicked at src/main.rs:1:2:\nno luck\nnote: run with `RUST_BACKTRACE=1`\nstack backtrace:\n   0: begin\n             at ./x.rs:1:2";
        assert_eq!(last_words(&last_lines(lines.as_bytes())).map(String::as_str), Some("no luck"));
        assert_eq!(last_words(&[]), None);
    }

    #[test]
    fn last_lines_are_the_last_and_not_the_blank() {
        assert_eq!(
            last_lines(b"cut off\nthread panicked:\nboom\n\n"),
            ["cut off", "thread panicked:", "boom"]
        );
    }
}
