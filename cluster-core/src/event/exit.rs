//! The end of a worker: why, how, and what happens next.
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::culprit::culprit;
use crate::id::{Slot, WorkerId};

/// Why a worker, or the director, ended.
///
/// # Example
/// ```
/// use cluster_core::ExitReason;
/// fn is_alarming(reason: &ExitReason) -> bool {
///     !matches!(reason, ExitReason::Stopped | ExitReason::Finished)
/// }
/// assert!(is_alarming(&ExitReason::Crashed));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExitReason {
    /// Its program returned, or it exited with code 0, unasked.
    Finished,
    /// It was told to stop, by the primary or by a signal of its own, and did.
    Stopped,
    /// It had served for long enough, by the limits that are set, and left when its successor served.
    Recycled,
    /// It ended before it was ready: what it said, or how it ended.
    BootFailed(String),
    /// A signal, an abort, an error of its program, a code other than 0.
    Crashed,
    /// Its runtime stood still for the [hang timeout](crate::Builder::hang_timeout), and it was killed.
    Hung,
    /// It was not ready within the boot timeout, and was killed.
    BootTimeout,
    /// It did not finish within the drain timeout, and was killed.
    DrainTimeout,
    /// It still drained when three younger generations did too, and was killed to make room.
    Superseded,
    /// It wrote what is no message of its protocol, and was killed: what was wrong.
    Garbled(String),
}

/// What happens next where a worker, or the director, has ended.
///
/// # Example
/// ```
/// use cluster_core::Next;
/// use std::time::Duration;
/// let next = Next::RestartIn(Duration::ZERO);
/// assert!(matches!(next, Next::RestartIn(delay) if delay.is_zero()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Next {
    /// A successor starts after this delay; zero is at once.
    RestartIn(Duration),
    /// It has a successor, made when it began to leave.
    AlreadyReplaced,
    /// Nobody takes its place: the cluster stops, its slot is gone, or the restart policy says so.
    NotReplaced,
    /// The cluster is beyond hope and stops.
    GiveUp,
}

/// What a process has used in its life, with the children that it waited for (getrusage(2)).
///
/// # Example
/// ```
/// let none = cluster_core::Usage::default();
/// assert_eq!((none.user + none.system).as_secs(), 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// Processor time in its own code.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// The most memory it had resident at once, in bytes.
    pub max_rss: u64,
}

/// The end of a worker.
///
/// # Example
/// ```
/// fn alert(exit: &cluster_core::Exit) -> Option<String> {
///     // "worker 7 (slot 2, pid 4711) crashed (SIGSEGV) after 2.1s; restarting at once; last words: .."
///     (!exit.is_planned()).then(|| exit.to_string())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Exit {
    /// Its number.
    pub worker: WorkerId,
    /// Its place.
    pub slot: Slot,
    /// Its process id; 0 where it never came to be a process.
    pub pid: u32,
    /// Which run of `main` it was from.
    pub generation: u64,
    /// Why it ended.
    pub reason: ExitReason,
    /// How the process ended. None where it never came to be one, or where somebody else reaped it (code of
    /// the program's that waits for any child).
    #[serde(with = "raw_status")]
    pub status: Option<ExitStatus>,
    /// How long it lived, from the moment it was asked for.
    pub uptime: Duration,
    /// The last lines that it wrote to standard error, and the error that its program ended with: 100 lines
    /// and 8 KiB at the most.
    pub last_stderr: Vec<String>,
    /// Where its threads stood when it hung, a line each: `thread 4711 (worker)`, and below it the functions that had not
    /// returned, the innermost first, with file and line where the program has debug information. Or why that is not
    /// known. 16 threads, 64 functions of each and 12 KiB at the most. Empty where `reason` is not
    /// [`Hung`](ExitReason::Hung).
    pub trace: Vec<String>,
    /// What happens next in its slot.
    pub next: Next,
    /// Connections that it had open when it ended: they were cut.
    pub connections: u64,
    /// What it used. All zero where `status` is none.
    pub usage: Usage,
}

impl Exit {
    /// The code that it exited with; none where a signal ended it.
    ///
    /// # Example
    /// ```
    /// fn is_misconfigured(exit: &cluster_core::Exit) -> bool {
    ///     exit.code() == Some(78) // EX_CONFIG, sysexits.h
    /// }
    /// ```
    pub fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// The signal that ended it; none where it exited.
    ///
    /// # Example
    /// ```
    /// fn was_killed(exit: &cluster_core::Exit) -> bool {
    ///     exit.signal() == Some(9) // SIGKILL
    /// }
    /// ```
    pub fn signal(&self) -> Option<i32> {
        self.status.and_then(|status| status.signal())
    }

    /// Whether somebody asked for it; Node's `exitedAfterDisconnect`.
    ///
    /// # Example
    /// ```
    /// fn is_worth_a_call(exit: &cluster_core::Exit) -> bool {
    ///     !exit.is_planned()
    /// }
    /// ```
    pub fn is_planned(&self) -> bool {
        self.reason.is_planned()
    }
}

impl ExitReason {
    /// Whether somebody, or a limit that is set, wanted it to end, and it did.
    ///
    /// # Example
    /// ```
    /// assert!(cluster_core::ExitReason::Recycled.is_planned());
    /// ```
    pub fn is_planned(&self) -> bool {
        match self {
            ExitReason::Stopped | ExitReason::Recycled => true,
            ExitReason::Finished
            | ExitReason::BootFailed(_)
            | ExitReason::Crashed
            | ExitReason::Hung
            | ExitReason::BootTimeout
            | ExitReason::DrainTimeout
            | ExitReason::Superseded
            | ExitReason::Garbled(_) => false,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worker, slot, pid, reason, status, uptime, last_stderr, trace, next, .. } = self;
        write!(f, "worker {worker} (slot {slot}, pid {pid}) ")?;
        let (status, uptime, next, cut) = (*status, *uptime, *next, self.connections);
        let obituary = Obituary { reason, status, uptime, last_stderr, trace, next, cut };
        obituary.fmt(f)
    }
}

/// What is said of any process that has ended, after its name.
pub(super) struct Obituary<'e> {
    pub(super) reason: &'e ExitReason,
    pub(super) status: Option<ExitStatus>,
    pub(super) uptime: Duration,
    pub(super) last_stderr: &'e [String],
    pub(super) trace: &'e [String],
    pub(super) next: Next,
    /// Connections that it had open.
    pub(super) cut: u64,
}

impl fmt::Display for Obituary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_planned = self.reason.is_planned();
        self.reason.fmt(f)?;
        if let Some(status) = self.status {
            write!(f, " ({})", Ending(status))?;
        }
        write!(f, " after {:.1?}", self.uptime)?;
        match self.next {
            Next::RestartIn(delay) => write!(f, "; restarting {}", When(delay))?,
            Next::AlreadyReplaced => {}
            Next::NotReplaced if is_planned => {}
            Next::NotReplaced => write!(f, "; it is not replaced")?,
            Next::GiveUp => write!(f, "; giving up")?,
        }
        match self.cut {
            0 => {}
            1 => f.write_str("; 1 connection was cut")?,
            cut => write!(f, "; {cut} connections were cut")?,
        }
        if let Some(function) = culprit(self.trace) {
            write!(f, "; it was in {function}")?;
        }
        match last_words(self.last_stderr) {
            // One without a status is perhaps still there.
            Some(line) if !is_planned || self.status.is_none() => write!(f, "; last words: {line}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitReason::Finished => f.write_str("finished"),
            ExitReason::Stopped => f.write_str("stopped"),
            ExitReason::Recycled => f.write_str("was recycled"),
            ExitReason::BootFailed(why) => write!(f, "failed to boot: {why}"),
            ExitReason::Crashed => f.write_str("crashed"),
            ExitReason::Hung => f.write_str("hung and was killed"),
            ExitReason::BootTimeout => f.write_str("was not ready in time and was killed"),
            ExitReason::DrainTimeout => f.write_str("did not finish draining in time and was killed"),
            ExitReason::Superseded => f.write_str("still drained after three more reloads and was killed"),
            ExitReason::Garbled(why) => write!(f, "{why} and was killed"),
        }
    }
}

/// An exit status in the words of a shell user.
pub(crate) struct Ending(pub(crate) ExitStatus);

impl fmt::Display for Ending {
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
pub(super) struct When(pub(super) Duration);

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() { f.write_str("at once") } else { write!(f, "in {:.1?}", self.0) }
    }
}

/// The last lines of what a process wrote to standard error.
pub(crate) fn last_lines(tail: &[u8]) -> Vec<String> {
    const LINES: usize = 100;
    const BYTES: usize = 8 * 1024;
    let text = String::from_utf8_lossy(tail);
    let mut left = BYTES;
    let mut lines: Vec<_> = text
        .lines()
        .rev()
        .filter(|line| !line.trim().is_empty())
        .take(LINES)
        .map_while(|line| {
            left = left.checked_sub(line.len())?;
            Some(line.to_owned())
        })
        .collect();
    lines.reverse();
    lines
}

/// The last line that says something: not the frames and notes that follow a panic's message.
pub(super) fn last_words(lines: &[String]) -> Option<&String> {
    let is_frame = |line: &str| {
        let start = line.trim_start();
        let number = start.split_once(": ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
        number || start.starts_with("at ") || start.starts_with("note: ") || start == "stack backtrace:"
    };
    lines.iter().rev().find(|line| !is_frame(line))
}

/// An exit status on its way to the director: as wait(2) has it.
pub(super) mod raw_status {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(status: &Option<ExitStatus>, to: S) -> Result<S::Ok, S::Error> {
        status.map(ExitStatusExt::into_raw).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ExitStatus>, D::Error> {
        Ok(Option::<i32>::deserialize(from)?.map(ExitStatus::from_raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn last_lines_are_bounded_also_where_they_are_no_text() {
        // A byte that is no text becomes a character of three.
        let noise = [&[0xff; 1000][..], b"\n"].concat().repeat(8);
        let lines = last_lines(&noise);
        assert_eq!(lines.len(), 2);
    }
}
