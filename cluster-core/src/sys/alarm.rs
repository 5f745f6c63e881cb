//! A timer for moments that are shorter than Tokio's millisecond (timerfd_create(2)).
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;

use crate::sys::readiness::{self, Steady};

/// Rings once each time that it is set, in the runtime in which it was made.
pub(crate) struct Alarm(AsyncFd<Timer>);

struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Steady for Timer {}

impl Alarm {
    /// # Panics
    /// Outside a Tokio runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        readiness::watch_reading(Timer(timer)).map(Self)
    }

    /// It rings that much later, and not at the time that was set before.
    pub(crate) fn set(&self, after: Duration) -> io::Result<()> {
        let once = Expiration::OneShot(after.into());
        self.0.get_ref().0.set(once, TimerSetTimeFlags::empty()).map_err(io::Error::from)
    }

    /// Resolves when it has rung.
    pub(crate) fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Ok(mut ready) = ready!(self.0.poll_read_ready(cx)) else { return Poll::Pending };
            // It says how often it has rung; a number that is not there yet belongs to the time that was set last.
            match nix::unistd::read(&self.0.get_ref().0, &mut [0; 8]) {
                Ok(_) => return Poll::Ready(()),
                Err(_) => ready.clear_ready(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn it_rings_after_the_time_that_was_set_last() {
        let alarm = Alarm::new().unwrap();
        for after in [Duration::from_micros(50), Duration::from_millis(5)] {
            let start = Instant::now();
            alarm.set(Duration::from_secs(1000)).unwrap();
            alarm.set(after).unwrap();
            poll_fn(|cx| alarm.poll_rung(cx)).await;
            assert!(start.elapsed() >= after, "{after:?}");
        }
    }
}
