//! Signals to the primary: which are heard, and what those mean that mean different things at different times.
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal as Number};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Ends;
use crate::supervise::input::Input;
use crate::sys::readiness;
use crate::sys::signals::{Disposition, count_sent, disposition};

/// All that a primary hears.
const HEARD: [Number; 9] = [
    Number::SIGTERM,
    Number::SIGINT,
    Number::SIGQUIT,
    Number::SIGCHLD,
    Number::SIGHUP,
    Number::SIGUSR1,
    Number::SIGUSR2,
    Number::SIGTTIN,
    Number::SIGTTOU,
];

/// What a signal says to the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// TERM or INT: stop; again, stop at once.
    Stop,
    /// QUIT.
    StopNow,
    /// CHLD: a child has ended, or was stopped.
    Child,
    /// HUP: reload, or the terminal is gone.
    HangUp,
    /// USR1: log files were moved away.
    ReopenLogs,
    /// TTIN and TTOU: so many workers more, or fewer.
    ScaleBy(i32),
    /// USR2: kept for replacing the primary itself.
    Reserved,
}

/// The signals that mean something to a primary. None: it was ignored when the cluster started, and stays so; or the
/// program handles those that ask for an end itself.
pub(super) struct Signals {
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
    quit: Option<Signal>,
    pub(super) child: Signal,
    hang_up: Option<Signal>,
    reopen_logs: Option<Signal>,
    reserved: Option<Signal>,
    /// How often TTIN and TTOU were sent since the last look, and what rings then.
    more: Arc<AtomicU32>,
    fewer: Arc<AtomicU32>,
    bell: AsyncFd<Arc<EventFd>>,
}

impl Signals {
    pub(super) fn catch(ends: Ends) -> io::Result<Self> {
        // Whoever started us may have blocked them, and the mask is inherited (sigprocmask(2)).
        HEARD.into_iter().collect::<SigSet>().thread_unblock()?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = Arc::new(EventFd::from_flags(flags)?);
        let counted = |number| -> io::Result<Arc<AtomicU32>> {
            let sent = Arc::new(AtomicU32::new(0));
            if !is_ignored(number)? {
                count_sent(number, bell.clone(), sent.clone())?;
            }
            Ok(sent)
        };
        let end = |number| if ends == Ends::Heard { unless_ignored(number) } else { Ok(None) };
        Ok(Self {
            terminate: match ends {
                // Also where it was ignored: who cannot be asked to end is killed.
                Ends::Heard => Some(signal(SignalKind::terminate())?),
                Ends::LeftAlone => None,
            },
            interrupt: end(Number::SIGINT)?,
            quit: end(Number::SIGQUIT)?,
            // Also where it was ignored: the kernel would then reap our children itself (wait(2)).
            child: signal(SignalKind::child())?,
            hang_up: unless_ignored(Number::SIGHUP)?,
            reopen_logs: unless_ignored(Number::SIGUSR1)?,
            reserved: unless_ignored(Number::SIGUSR2)?,
            more: counted(Number::SIGTTIN)?,
            fewer: counted(Number::SIGTTOU)?,
            bell: readiness::watch(bell)?,
        })
    }

    /// The next one. What waits longest is not lost by whoever stops waiting for this.
    pub(super) async fn next(&mut self) -> Heard {
        tokio::select! {
            biased;
            () = came(&mut self.terminate) => Heard::Stop,
            () = came(&mut self.interrupt) => Heard::Stop,
            () = came(&mut self.quit) => Heard::StopNow,
            _ = self.child.recv() => Heard::Child,
            () = came(&mut self.hang_up) => Heard::HangUp,
            () = came(&mut self.reopen_logs) => Heard::ReopenLogs,
            by = balance(&self.bell, &self.more, &self.fewer) => Heard::ScaleBy(by),
            () = came(&mut self.reserved) => Heard::Reserved,
        }
    }
}

fn is_ignored(number: Number) -> io::Result<bool> {
    Ok(disposition(number)? == Disposition::Ignored)
}

fn unless_ignored(number: Number) -> io::Result<Option<Signal>> {
    Ok(if is_ignored(number)? { None } else { Some(signal(SignalKind::from_raw(number as i32))?) })
}

async fn came(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Waits for TTIN or TTOU: how many of the one came beyond the other.
async fn balance(bell: &AsyncFd<Arc<EventFd>>, more: &AtomicU32, fewer: &AtomicU32) -> i32 {
    loop {
        let Ok(mut rung) = bell.readable().await else { return std::future::pending().await };
        let _ = bell.get_ref().read();
        rung.clear_ready();
        // AFTER the bell is read: what is counted from here on rings it again.
        let count = |of: &AtomicU32| i32::try_from(of.swap(0, Ordering::AcqRel)).unwrap_or(i32::MAX);
        let (more, fewer) = (count(more), count(fewer));
        if more != fewer {
            return more - fewer;
        }
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

/// What HUP means: somebody asks for a reload, or the terminal that the program was started from is gone.
pub(super) struct HangUps {
    /// There was a controlling terminal at the start.
    had_terminal: bool,
    /// One has come; look for the terminal then.
    look_at: Option<Instant>,
}

/// What one HUP meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Reload,
    TerminalGone,
}

impl HangUps {
    /// A shell that leaves sends HUP a moment BEFORE its session loses the terminal (the kernel's
    /// `disassociate_ctty`). Who asks for a reload at a terminal has the patience.
    const MOMENT: Duration = Duration::from_millis(100);

    pub(super) fn new(had_terminal: bool) -> Self {
        Self { had_terminal, look_at: None }
    }

    /// One has come. Where there never was a terminal it can mean one thing only.
    pub(super) fn heard(&mut self, now: Instant) -> Option<Meaning> {
        if !self.had_terminal {
            return Some(Meaning::Reload);
        }
        self.look_at.get_or_insert(now + Self::MOMENT);
        None
    }

    /// When to look for the terminal.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    pub(super) fn looked(&mut self, has_terminal: bool) -> Meaning {
        self.look_at = None;
        if has_terminal { Meaning::Reload } else { Meaning::TerminalGone }
    }
}

/// Whether this process has a controlling terminal (tty(4)).
pub(super) fn has_terminal() -> bool {
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    OpenOptions::new().read(true).custom_flags(flags).open("/dev/tty").is_ok()
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

    #[test]
    fn a_hang_up_without_a_terminal_reloads_at_once() {
        let mut hang_ups = HangUps::new(false);
        assert_eq!(hang_ups.heard(Instant::now()), Some(Meaning::Reload));
        assert_eq!(hang_ups.look_at(), None);
    }

    #[test]
    fn a_hang_up_at_a_terminal_is_judged_by_what_is_left_of_it_a_moment_later() {
        let (mut hang_ups, now) = (HangUps::new(true), Instant::now());
        for (has_terminal, meaning) in [(true, Meaning::Reload), (false, Meaning::TerminalGone)] {
            assert_eq!(hang_ups.heard(now), None);
            // Another of the same moment is the same.
            assert_eq!(hang_ups.heard(now + Duration::from_millis(50)), None);
            assert_eq!(hang_ups.look_at(), Some(now + Duration::from_millis(100)));
            assert_eq!(hang_ups.looked(has_terminal), meaning);
            assert_eq!(hang_ups.look_at(), None);
        }
    }
}
