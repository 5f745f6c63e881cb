//! Out of descriptors or memory: connections wait in the queue for a moment, and the log hears of it now and then.
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;

/// How long the queue is left alone.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);
/// In milliseconds, how often a thing is said.
const WARN_EVERY: u64 = 1000;

/// Says that connections wait. At most once per second in this process: there is one message in it, however many wait.
pub(crate) fn warn(err: &io::Error) {
    static SAID: Seldom = Seldom::new();
    if SAID.may_say(now()) {
        crate::event::warn(&waiting(err));
    }
}

/// Says that so many connections are lost, because this worker has claimed them and has had no descriptor for them when
/// they came. At most once per second.
pub(crate) fn warn_of_lost(count: usize) {
    static SAID: Seldom = Seldom::new();
    if SAID.may_say(now()) {
        crate::event::warn(&lost(count));
    }
}

fn waiting(err: &io::Error) -> String {
    let what = match err.raw_os_error().map(Errno::from_raw) {
        // As if a disk were full, it would be.
        Some(Errno::ENOSPC) => " of epoll watches (sysctl fs.epoll.max_user_watches)",
        _ => "",
    };
    format!("cannot accept connections for now: {err}{what}; they wait in the queue")
}

fn lost(count: usize) -> String {
    let connections = if count == 1 { "a connection is" } else { &format!("{count} connections are") };
    format!(
        "{connections} lost: handed to this worker, which has no descriptor left: {}",
        Errno::EMFILE.desc()
    )
}

fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// What is said now and then.
struct Seldom(
    /// When it was said last, in milliseconds, or `NEVER`.
    AtomicU64,
);

const NEVER: u64 = u64::MAX;

impl Seldom {
    const fn new() -> Self {
        Self(AtomicU64::new(NEVER))
    }

    /// Whether to say it at this time; one of several threads is told so.
    fn may_say(&self, now: u64) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        (last == NEVER || now.saturating_sub(last) >= WARN_EVERY)
            && self.0.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_per_second() {
        let said = Seldom::new();
        let times = [0, 1, 999, 1000, 1001, 1999, 2000, 9000];
        assert_eq!(times.map(|now| said.may_say(now)), [true, false, false, true, false, false, true, true]);
    }

    #[test]
    fn what_waits_and_what_is_lost_are_told_apart() {
        let errs = [Errno::EMFILE, Errno::ENFILE, Errno::ENOSPC].map(|err| waiting(&err.into()));
        assert!(errs.iter().all(|text| text.ends_with("they wait in the queue")), "{errs:?}");
        assert!(errs[2].contains("fs.epoll.max_user_watches") && !errs[0].contains("epoll"), "{errs:?}");
        assert!(lost(1).starts_with("a connection is lost"), "{}", lost(1));
        assert!(lost(7).starts_with("7 connections are lost"), "{}", lost(7));
    }
}
