//! Connections that the primary hands out, as one acceptor of a worker sees them.
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::conn::admission::gate::{Entry, Gate};
use crate::conn::connection::Connection;
use crate::conn::handoff::intake::Intake;
use crate::conn::pace::Pace;
use crate::conn::shared::doorbell::Answer;
use crate::conn::shared::queue::Look;
use crate::conn::socket::{Incoming, ListeningSocket, PERSISTENT, Trouble};
use crate::ipc::control::Queue;

/// So many are claimed at once while connections come fast.
const SEVERAL: usize = 8;

/// What comes to one acceptor.
pub(crate) struct Handed {
    intake: Arc<Intake>,
    desk: usize,
    gate: Gate,
    pace: Pace,
    /// Where its connections come from: at the end, when the primary accepts no more, the worker does.
    listeners: Vec<Arc<ListeningSocket>>,
}

impl Handed {
    /// `numbers` are those of the listeners in the primary's list.
    pub(crate) fn new(
        intake: Arc<Intake>,
        gate: Gate,
        listeners: Vec<Arc<ListeningSocket>>,
        numbers: Vec<u16>,
    ) -> Self {
        let desk = intake.sit(numbers);
        Self { intake, desk, gate, pace: Pace::of_worker(), listeners }
    }

    /// Claims an offer, as far as there is room, unless a connection has arrived; while they come fast, several. One that
    /// is claimed is nobody else's, should this loop be blocked in the next moment.
    ///
    /// # Errors
    /// There may be no descriptors for them.
    pub(crate) fn wait(&mut self, cx: &mut Context<'_>) -> io::Result<Answer> {
        // What has arrived is counted already, and is not held up by a limit.
        if self.intake.has_arrived(self.desk) {
            return Ok(Answer::Rung);
        }
        let most = if self.pace.look(Instant::now()) { SEVERAL } else { 1 };
        let most = match self.gate.ask(most, cx) {
            Entry::Open(most) => most,
            // The primary has counted in the cluster what it offers.
            Entry::ClusterFull => most,
            Entry::Closed => 0,
        };
        let has_arrived = self.intake.wait(self.desk, most, cx.waker())?;
        Ok(if has_arrived { Answer::Rung } else { Answer::Wait })
    }

    pub(crate) fn look(&mut self) -> Look {
        while let Some(fd) = self.intake.take(self.desk) {
            // Fails where its client has reset it meanwhile.
            if let Ok(connection) = self.connection(fd) {
                self.pace.took(Instant::now());
                return Look::Taken(connection);
            }
        }
        Look::Empty
    }

    fn connection(&self, fd: OwnedFd) -> io::Result<Connection> {
        let open = self.gate.arrived();
        Connection::new(Incoming::received(fd)?, open)
    }

    pub(crate) fn somebody_waits(&self) -> bool {
        self.intake.somebody_waits(self.desk)
    }

    /// Takes what is claimed. Where the cluster ends, or its primary is gone, it takes all that was offered and all that
    /// is queued, and closes the queue.
    pub(crate) fn leave(&mut self, closes_queue: bool, cx: &mut Context<'_>) -> Poll<Option<Connection>> {
        if closes_queue {
            // At its limit it is woken when one of its connections ends: what it was offered nobody else may take.
            let _ = self.gate.ask(1, cx);
        } else {
            self.gate.leave();
        }
        // Claimed BEFORE the queue is emptied, so that it is on its way meanwhile.
        let is_done = self.intake.leave(self.desk, closes_queue, cx.waker());
        // And the queue BEFORE what arrives: the sentinel closes it in a moment, what is claimed has time.
        if closes_queue && let Some(connection) = self.take_queued() {
            return Poll::Ready(Some(connection));
        }
        self.listeners.clear();
        match self.look() {
            Look::Taken(connection) => Poll::Ready(Some(connection)),
            Look::Empty | Look::Full | Look::Exhausted(_) if is_done => Poll::Ready(None),
            Look::Empty | Look::Full | Look::Exhausted(_) => Poll::Pending,
        }
    }

    /// Takes the next connection of the queues, and closes those that are empty.
    fn take_queued(&mut self) -> Option<Connection> {
        let mut failed = 0;
        while let Some(listener) = self.listeners.last() {
            // What waits for a socket that is lent is its next user's.
            if listener.queue() == Queue::Lent {
                self.listeners.pop();
                continue;
            }
            match self.gate.accept(listener) {
                Ok(connection) => return Some(connection),
                Err(Trouble::OneConnection(_)) if failed < PERSISTENT => failed += 1,
                Err(
                    Trouble::OneConnection(_)
                    | Trouble::Empty
                    | Trouble::Full
                    | Trouble::Exhausted(_)
                    | Trouble::Closed,
                ) => {
                    listener.shut_down();
                    self.listeners.pop();
                }
            }
        }
        None
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        self.intake.rise(self.desk);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::conn::admission::{Admission, Limits};
    use crate::conn::handoff::offer::Offer;
    use crate::conn::handoff::passing::{self, Heard, ToPrimary};
    use crate::scoreboard::Page;
    use crate::sys::page::Mapped;

    const LISTENER: u16 = 3;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_full_worker_that_leaves_with_the_cluster_claims_its_offers_as_places_become_free() {
        let (primary, worker) = passing::pair().unwrap();
        let page = Arc::new(Mapped::<Page>::create(c"test").unwrap().0);
        let limits = Limits { worker: Some(1), ..Limits::default() };
        let admission = Arc::new(Admission::new(page.clone(), &limits, None, None));
        let intake = Intake::open(Arc::new(worker), page.clone(), admission.clone()).unwrap();
        let open = Admission::admit(&admission).unwrap();
        let mut handed = Handed::new(intake, Gate::new(admission), Vec::new(), vec![LISTENER]);
        page.offers.put(0, Offer::new(1, LISTENER));
        let woken = Arc::new(Woken::default());
        let waker = woken.clone().into();
        let cx = &mut Context::from_waker(&waker);
        assert!(handed.leave(true, cx).is_pending());
        assert!(page.offers.waits(&[LISTENER]), "it has its fill");
        drop(open);
        assert!(woken.0.load(Ordering::Relaxed), "nobody else may take it: it comes back for it");
        assert!(handed.leave(true, cx).is_pending(), "until what it claims has come");
        assert!(!page.offers.waits(&[LISTENER]));
        let said: Vec<_> = std::iter::from_fn(|| match ToPrimary::receive(primary.as_fd()) {
            Heard::Said(said) => Some(said),
            Heard::Nothing | Heard::End => None,
        })
        .collect();
        assert!(said.contains(&ToPrimary::Claims), "{said:?}");
    }
}
