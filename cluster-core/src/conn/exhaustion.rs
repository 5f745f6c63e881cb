//! Out of descriptors or memory: connections wait in the queue for a moment, and the log hears of it now and then.
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the queue is left alone.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);
/// In milliseconds, how often it is said.
const WARN_EVERY: u64 = 1000;

/// At most once per second in this process: there is one message in it, however many connections wait.
pub(crate) fn warn(err: &io::Error) {
    static LAST: AtomicU64 = AtomicU64::new(0);
    static START: OnceLock<Instant> = OnceLock::new();
    let now = START.get_or_init(Instant::now).elapsed().as_millis() as u64 + WARN_EVERY;
    let last = LAST.load(Ordering::Relaxed);
    if now.saturating_sub(last) >= WARN_EVERY
        && LAST.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    {
        crate::event::warn(&format!("cannot accept connections for now: {err}; they wait in the queue"));
    }
}
