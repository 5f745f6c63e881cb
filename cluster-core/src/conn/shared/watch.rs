//! The watch: the primary looks whether somebody waits while workers are idle, and rings.
//!
//! A wake-up is spent on one worker. If that one is killed or stopped before it accepts, nobody else knows of the
//! connection. So the primary rings whenever a worker ends or stops, and looks at all queues now and then: from the first
//! connection on, until none has come for a while. In between it sleeps.
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use tokio::io::unix::AsyncFd;

use crate::conn::admission::AdmissionPolicy;
use crate::conn::admission::limits;
use crate::conn::exhaustion;
use crate::conn::shared::bell::Bell;
use crate::conn::shared::rota::Rota;
use crate::conn::socket::{ListeningSocket, PERSISTENT, Trouble};
use crate::scoreboard::Page;
use crate::sys::page::Mapped;
use crate::sys::readiness::{self, Steady};

/// Between two looks. Two of them are the longest that a connection waits while a worker is idle.
pub(crate) const EVERY: Duration = Duration::from_millis(20);
/// While clients are refused.
const REFUSING: Duration = Duration::from_millis(5);
/// Clients refused in a row, before others have a turn; and in one look.
const MOUTHFUL: usize = 64;
const MOST_REFUSED: usize = 16 * MOUTHFUL;
/// So many looks in a row without anything new, and it sleeps until the next connection.
const QUIET: u32 = 50;

/// Looks after the queues of which workers help themselves. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Watch {
    bell: Arc<Bell>,
    rota: Arc<OwnedFd>,
    queues: Arc<Vec<ListeningSocket>>,
    pages: Arc<Mutex<Vec<Arc<Mapped<Page>>>>>,
    policy: Arc<AdmissionPolicy>,
}

/// Tells of the next connection, in whatever queue, while it listens. A connection that it is told of costs this
/// process a switch of context.
struct Next(Epoll);

impl Next {
    fn listen_to(&self, queues: &[ListeningSocket]) -> nix::Result<()> {
        queues.iter().try_for_each(|queue| self.0.add(queue.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0)))
    }

    fn turn_away_from(&self, queues: &[ListeningSocket]) {
        for queue in queues {
            // It fails for one that is not in the set.
            let _ = self.0.delete(queue.as_fd());
        }
    }
}

impl AsRawFd for Next {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0.as_raw_fd()
    }
}

impl Steady for Next {}

/// What the looks so far have shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Looks {
    /// Somebody waited when it looked last.
    waited: bool,
    /// Connections that had been accepted then.
    accepted: u64,
    /// Looks in a row that have shown nothing new.
    quiet: u32,
}

/// What follows from a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Look again soon.
    Look,
    /// Who waits may wait for nobody: ring, and look again soon.
    Ring,
    /// Nothing happens.
    Sleep,
}

impl Looks {
    /// One look: whether somebody waits, and how many have been accepted so far. Who waits at two looks running may
    /// wait for nobody.
    pub(crate) fn look(&mut self, waits: bool, accepted: u64) -> Verdict {
        let moves = std::mem::replace(&mut self.accepted, accepted) != accepted;
        let ring = std::mem::replace(&mut self.waited, waits) && waits;
        self.quiet = if moves || waits { 0 } else { self.quiet + 1 };
        match (ring, self.quiet >= QUIET) {
            (true, _) => Verdict::Ring,
            (false, false) => Verdict::Look,
            (false, true) => {
                self.quiet = 0;
                Verdict::Sleep
            }
        }
    }
}

impl Watch {
    /// For these queues; none of them, nothing to do.
    pub(crate) fn new(
        bell: Arc<Bell>,
        queues: Vec<ListeningSocket>,
        policy: AdmissionPolicy,
    ) -> nix::Result<Self> {
        let (_, rota) = Mapped::<Rota>::create(c"cluster-rota")?;
        Ok(Self {
            bell,
            rota: Arc::new(rota),
            queues: Arc::new(queues),
            pages: Arc::default(),
            policy: Arc::new(policy),
        })
    }

    /// What every worker gets, too: the rota. Nobody here looks into it.
    pub(crate) fn rota(&self) -> BorrowedFd<'_> {
        self.rota.as_fd()
    }

    /// What every worker gets: the bell.
    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Looks after the queues for as long as the runtime lives.
    pub(crate) fn begin(&self) -> io::Result<()> {
        if self.queues.is_empty() {
            return Ok(());
        }
        let next = Next(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        next.listen_to(&self.queues)?;
        tokio::spawn(self.clone().run(readiness::watch_reading(next)?));
        Ok(())
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

    async fn run(self, next: AsyncFd<Next>) {
        let mut looks = Looks::default();
        while let Ok(mut ready) = next.readable().await {
            ready.clear_ready();
            // BEFORE the looks: while the set is told of connections, each of them wakes this process.
            next.get_ref().turn_away_from(&self.queues);
            loop {
                let refuses = self.policy.refuses && self.is_full();
                tokio::time::sleep(if refuses { REFUSING } else { EVERY }).await;
                let accepted = self.accepted();
                let (waits, full) = (self.somebody_waits(), self.is_full());
                if full && self.policy.refuses {
                    self.refuse().await;
                }
                // Who waits for room waits for nobody who was woken: nobody is to be rung for them.
                match looks.look(waits && !full, accepted) {
                    Verdict::Look => {}
                    Verdict::Ring => self.bell.ring(),
                    // A connection that came since this look is told at once.
                    Verdict::Sleep if next.get_ref().listen_to(&self.queues).is_ok() => break,
                    // No memory for it: it goes on looking.
                    Verdict::Sleep => next.get_ref().turn_away_from(&self.queues),
                }
            }
        }
    }

    /// Connections that all workers have accepted so far.
    fn accepted(&self) -> u64 {
        self.pages().iter().fold(0, |sum, page| sum.wrapping_add(page.connections_total()))
    }

    /// Whether no worker has room.
    fn is_full(&self) -> bool {
        self.policy.book.as_ref().is_some_and(|book| book.is_full())
            || limits::all_full(self.pages().iter().map(|page| &***page))
    }

    /// Resets those who wait, for as long as there is no room for them.
    async fn refuse(&self) {
        for queue in &*self.queues {
            let mut failed = 0;
            for nth in 1..=MOST_REFUSED {
                match queue.refuse().map_err(Trouble::from) {
                    Ok(()) => {}
                    Err(Trouble::OneConnection(_)) if failed < PERSISTENT => failed += 1,
                    Err(Trouble::OneConnection(err) | Trouble::Exhausted(err)) => {
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
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn who_waits_at_two_looks_running_is_rung_for() {
        let mut looks = Looks::default();
        let rings: Vec<bool> = [false, true, false, true, true, true, false]
            .into_iter()
            .map(|waits| looks.look(waits, 0) == Verdict::Ring)
            .collect();
        assert_eq!(rings, [false, false, false, false, true, true, false]);
    }

    #[test]
    fn it_sleeps_when_nothing_has_come_for_a_while() {
        let mut looks = Looks::default();
        assert_eq!(looks.look(false, 1), Verdict::Look);
        let quiet: Vec<Verdict> = (0..QUIET).map(|_| looks.look(false, 1)).collect();
        assert_eq!(quiet.iter().position(|verdict| *verdict == Verdict::Sleep), Some(QUIET as usize - 1));
        assert_eq!(looks.look(false, 1), Verdict::Look, "and begins anew");
    }

    #[test]
    fn while_it_looks_by_itself_connections_wake_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let queues = [OwnedFd::from(listener).into()];
        let next = Next(Epoll::new(EpollCreateFlags::empty()).unwrap());
        let tells = || {
            let mut fds = [PollFd::new(next.0.0.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO) == Ok(1)
        };
        next.listen_to(&queues).unwrap();
        assert!(!tells());
        let _first = TcpStream::connect(addr).unwrap();
        assert!(tells());
        next.turn_away_from(&queues);
        let _second = TcpStream::connect(addr).unwrap();
        assert!(!tells());
        next.listen_to(&queues).unwrap();
        assert!(tells(), "who came meanwhile is told of");
    }

    #[tokio::test]
    async fn a_connection_that_nobody_takes_is_rung_for_also_after_a_long_silence() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let queue = OwnedFd::from(listener.try_clone().unwrap()).into();
        let policy = AdmissionPolicy { book: None, refuses: false };
        let watch = Watch::new(Arc::new(Bell::new().unwrap()), vec![queue], policy).unwrap();
        watch.begin().unwrap();
        for _ in 0..2 {
            tokio::time::sleep(EVERY * (QUIET + 10)).await;
            let _client = TcpStream::connect(addr).unwrap();
            while !watch.bell.is_rung() {
                tokio::time::sleep(EVERY).await;
            }
            watch.bell.answer();
            listener.accept().unwrap();
        }
    }
}
