//! Signals to the primary.
use std::io;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::supervise::input::Input;

/// The signals that mean something to a primary.
pub(super) struct Signals {
    pub(super) terminate: Signal,
    pub(super) interrupt: Signal,
    pub(super) quit: Signal,
    pub(super) hangup: Signal,
    pub(super) child: Signal,
}

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        use nix::sys::signal::{
            SigSet,
            Signal::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM},
        };
        // Whoever started us may have blocked them, and the mask is inherited (sigprocmask(2)).
        [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGCHLD].into_iter().collect::<SigSet>().thread_unblock()?;
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            child: signal(SignalKind::child())?,
        })
    }
}

/// Signals that ask for an end: the first asks, the second insists.
#[derive(Default)]
pub(super) struct Stops {
    first: Option<Instant>,
}

impl Stops {
    /// What comes with the first is the first once more: a terminal and a supervisor may both pass it on.
    const ONE: Duration = Duration::from_millis(100);

    pub(super) fn asked(&mut self, now: Instant) -> Option<Input> {
        match self.first {
            None => {
                self.first = Some(now);
                Some(Input::Stop)
            }
            Some(first) if now - first < Self::ONE => None,
            Some(_) => Some(Input::StopNow),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubled_signal_is_one_and_a_later_one_insists() {
        let (mut stops, start) = (Stops::default(), Instant::now());
        assert!(matches!(stops.asked(start), Some(Input::Stop)));
        assert!(stops.asked(start + Duration::from_millis(99)).is_none());
        assert!(matches!(stops.asked(start + Duration::from_millis(100)), Some(Input::StopNow)));
    }
}
