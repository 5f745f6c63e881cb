//! The time in which it counts, after warming up.
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::cpu;

/// When it counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

impl Window {
    /// From now on, warming up first.
    pub(crate) fn after(warm_up: Duration, length: Duration) -> Self {
        let start = Instant::now() + warm_up;
        Self { start, end: start + length }
    }

    pub(crate) fn has(&self, at: Instant) -> bool {
        (self.start..self.end).contains(&at)
    }

    pub(crate) fn length(&self) -> Duration {
        self.end - self.start
    }

    /// How many processors these processes keep busy in it; waits for its end.
    pub(crate) fn kept_busy_by(&self, processes: &[u32]) -> io::Result<f64> {
        let look = |at: Instant| {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            // Told to sleep until a time, one wakes later where all are busy: by rates, that does not matter.
            used_by(processes).map(|used| (Instant::now(), used))
        };
        let (from, before) = look(self.start)?;
        let (to, after) = look(self.end)?;
        Ok(after.saturating_sub(before).as_secs_f64() / (to - from).as_secs_f64())
    }
}

fn used_by(processes: &[u32]) -> io::Result<Duration> {
    cpu::used_by(processes).map_err(|err| {
        io::Error::other(format!("the processor time of its processes {processes:?} is not to be had: {err}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_its_start_and_not_its_end() {
        let window = Window::after(Duration::from_millis(5), Duration::from_millis(20));
        assert!(window.has(window.start) && !window.has(window.end));
        assert!(!window.has(window.start - Duration::from_nanos(1)));
        assert_eq!(window.length(), Duration::from_millis(20));
    }

    #[test]
    fn who_works_without_a_pause_keeps_a_processor_busy() {
        let window = Window::after(Duration::ZERO, Duration::from_millis(100));
        let busy = thread::scope(|scope| {
            scope.spawn(|| while Instant::now() < window.end {});
            window.kept_busy_by(&[std::process::id()]).expect("us")
        });
        // Others may have the processors too.
        assert!(busy > 0.01, "{busy}");
    }
}
