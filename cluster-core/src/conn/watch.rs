//! The watch: the primary looks whether somebody waits while workers are idle, and rings.
//!
//! A wake-up is spent on one worker. If that one is killed or stopped before it accepts, nobody else knows of the
//! connection. So the primary rings whenever a worker ends or stops, and looks at all queues now and then.
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::conn::bell::Bell;
use crate::conn::exhaustion;
use crate::conn::limits::{self, AdmissionPolicy};
use crate::conn::socket::{ListeningSocket, Trouble};
use crate::scoreboard::Page;
use crate::sys::page::Mapped;

/// Between two looks while connections come.
const BUSY: Duration = Duration::from_millis(20);
/// And while none do. Two of them are the longest that a connection waits while a worker is idle.
const IDLE: Duration = Duration::from_millis(50);

/// While clients are refused.
const REFUSING: Duration = Duration::from_millis(5);
/// Clients refused in a row, before others have a turn; and in one look.
const MOUTHFUL: usize = 64;
const MOST_REFUSED: usize = 16 * MOUTHFUL;

/// Looks after the queues of which workers help themselves. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Watch {
    bell: Arc<Bell>,
    queues: Arc<Vec<ListeningSocket>>,
    pages: Arc<Mutex<Vec<Arc<Mapped<Page>>>>>,
    policy: Arc<AdmissionPolicy>,
}

/// What the looks so far have shown.
#[derive(Debug, Default, PartialEq, Eq)]
struct Looks {
    /// Somebody waited when it looked last.
    waited: bool,
    /// Connections that had been accepted then.
    accepted: u64,
}

/// What follows from a look.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    ring: bool,
    next: Duration,
}

impl Looks {
    /// One look: whether somebody waits, and how many have been accepted so far. Who waits at two looks running may
    /// wait for nobody.
    fn look(&mut self, waits: bool, accepted: u64) -> Verdict {
        let moves = std::mem::replace(&mut self.accepted, accepted) != accepted;
        let ring = std::mem::replace(&mut self.waited, waits) && waits;
        Verdict { ring, next: if moves || waits { BUSY } else { IDLE } }
    }
}

impl Watch {
    /// For these queues; none of them, nothing to do.
    pub(crate) fn new(bell: Arc<Bell>, queues: Vec<ListeningSocket>, policy: AdmissionPolicy) -> Self {
        Self { bell, queues: Arc::new(queues), pages: Arc::default(), policy: Arc::new(policy) }
    }

    /// What every worker gets: the bell.
    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Looks after the queues for as long as the runtime lives.
    pub(crate) fn begin(&self) {
        if !self.queues.is_empty() {
            tokio::spawn(self.clone().run());
        }
    }

    /// A worker counts its connections in this page.
    pub(crate) fn join(&self, page: Arc<Mapped<Page>>) {
        self.pages().push(page);
    }

    /// A worker has ended, whose page this was: what it was woken for, another takes.
    pub(crate) fn leave(&self, page: &Arc<Mapped<Page>>) {
        self.pages().retain(|known| !Arc::ptr_eq(known, page));
        self.ring_if_waited_for();
    }

    /// A worker may have been stopped: if somebody waits, another is woken.
    pub(crate) fn ring_if_waited_for(&self) {
        if self.somebody_waits() {
            self.bell.ring();
        }
    }

    async fn run(self) {
        let mut looks = Looks::default();
        loop {
            let accepted =
                self.pages().iter().fold(0, |sum: u64, page| sum.wrapping_add(page.connections_total()));
            let (waits, full) = (self.somebody_waits(), self.is_full());
            if full && self.policy.refuses {
                self.refuse().await;
            }
            // Who waits for room waits for nobody who was woken: nobody is to be rung for them.
            let Verdict { ring, next } = looks.look(waits && !full, accepted);
            if ring {
                self.bell.ring();
            }
            tokio::time::sleep(if full && self.policy.refuses { REFUSING } else { next }).await;
        }
    }

    /// Whether no worker has room.
    fn is_full(&self) -> bool {
        self.policy.book.as_ref().is_some_and(|book| book.is_full())
            || limits::all_full(self.pages().iter().map(|page| &***page))
    }

    /// Resets those who wait, for as long as there is no room for them.
    async fn refuse(&self) {
        for queue in &*self.queues {
            for nth in 1..=MOST_REFUSED {
                match queue.refuse().map_err(Trouble::from) {
                    Ok(()) | Err(Trouble::OneConnection) => {}
                    Err(Trouble::Exhausted(err)) => {
                        exhaustion::warn(&err);
                        break;
                    }
                    Err(Trouble::Empty | Trouble::Full | Trouble::Closed) => break,
                }
                if nth % MOUTHFUL == 0 {
                    // Supervision is not to wait for a flood of clients.
                    tokio::task::yield_now().await;
                }
                if !self.is_full() {
                    return;
                }
            }
        }
    }

    fn somebody_waits(&self) -> bool {
        let mut fds: Vec<PollFd<'_>> =
            self.queues.iter().map(|queue| PollFd::new(queue.as_fd(), PollFlags::POLLIN)).collect();
        !fds.is_empty() && poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Mapped<Page>>>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_at_two_looks_running_is_rung_for() {
        let mut looks = Looks::default();
        let rings: Vec<bool> = [false, true, false, true, true, true, false]
            .into_iter()
            .map(|waits| looks.look(waits, 0).ring)
            .collect();
        assert_eq!(rings, [false, false, false, false, true, true, false]);
    }

    #[test]
    fn nobody_waits_for_more_than_100_ms() {
        let mut looks = Looks::default();
        let idle = looks.look(false, 0).next;
        // It comes right after that look, and nobody hears it.
        let first = looks.look(true, 0);
        assert!(idle + first.next <= Duration::from_millis(100), "{idle:?} {first:?}");
        assert!(looks.look(true, 0).ring);
    }

    #[test]
    fn it_looks_more_often_while_connections_come() {
        let mut looks = Looks::default();
        assert_eq!(looks.look(false, 1).next, BUSY);
        assert_eq!(looks.look(false, 1).next, IDLE);
    }
}
