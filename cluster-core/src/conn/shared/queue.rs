//! The shared accept queue as one acceptor of a worker sees it: it waits at the door, and helps itself.
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::conn::admission::gate::{Entry, Gate};
use crate::conn::connection::Connection;
use crate::conn::shared::direct::{Direct, Passage};
use crate::conn::shared::doorbell::{Answer, Awaited, Chair, Door};
use crate::conn::shared::turns::Turns;
use crate::conn::socket::{ListeningSocket, PERSISTENT, Trouble};
use crate::ipc::control::Queue as Lending;
use crate::scoreboard::Page;
use crate::sys::page::Mapped;

/// The queues of one listener's sockets.
pub(crate) struct Queue {
    page: Arc<Mapped<Page>>,
    turns: Turns,
    gate: Gate,
    /// The place at the door; none once the worker drains.
    chair: Option<Chair>,
    direct: Direct,
    /// Empty once the worker drains.
    listeners: Vec<Arc<ListeningSocket>>,
    /// The socket to ask first, so that none starves.
    first: usize,
}

/// What has become of a connection that was left to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// It is gone.
    Taken,
    /// It is to be taken.
    Ours,
}

/// What came of a look for a connection.
pub(crate) enum Look {
    Taken(Connection),
    Empty,
    /// This worker is to take no more for now.
    Full,
    /// Out of descriptors or memory.
    Exhausted(io::Error),
}

impl Drop for Queue {
    /// An acceptor may be dropped at any time, also when it was just woken.
    fn drop(&mut self) {
        self.step_out();
    }
}

impl Queue {
    pub(crate) fn new(
        page: Arc<Mapped<Page>>,
        turns: Turns,
        gate: Gate,
        door: &Arc<Door>,
        listeners: Vec<Arc<ListeningSocket>>,
    ) -> Self {
        let chair = Some(Door::sit(door, listeners.clone()));
        Self { page, turns, gate, chair, direct: Direct::new(), listeners, first: 0 }
    }

    /// Waits to be woken, unless somebody has rung.
    ///
    /// # Errors
    /// The wait set takes no more.
    pub(crate) fn wait(&mut self, saturated: bool, cx: &mut Context<'_>) -> io::Result<Answer> {
        loop {
            match self.gate.ask(1, cx) {
                Entry::Open(_) => break,
                Entry::Closed => {
                    self.step_aside();
                    return Ok(Answer::Wait);
                }
                Entry::ClusterFull => {
                    self.step_out();
                    // Rung, it asks again. A look at the queue would be one at what nobody may take.
                    if self.sit_down(Awaited::Room, cx)? == Answer::Wait {
                        return Ok(Answer::Wait);
                    }
                }
            }
        }
        match self.direct.wait(&self.listeners, saturated, || self.turns.fast_for_all(), cx) {
            Passage::Rung => {
                self.page.rung();
                Ok(Answer::Rung)
            }
            Passage::Wait => Ok(Answer::Wait),
            Passage::Door => {
                self.turns.wants();
                self.sit_down(Awaited::Connections, cx)
            }
        }
    }

    /// Whether its worker may have one more.
    pub(crate) fn may_take(&mut self, cx: &mut Context<'_>) -> bool {
        matches!(self.gate.ask(1, cx), Entry::Open(_))
    }

    /// Whether connections come fast: then there are no turns.
    pub(crate) fn is_fast(&self) -> bool {
        self.direct.is_fast()
    }

    /// Whether they come fast to all workers together.
    pub(crate) fn is_fast_for_all(&self) -> bool {
        self.turns.fast_for_all()
    }

    /// Whether to take the next one, and not to leave it to those who have had fewer.
    pub(crate) fn is_turn(&mut self) -> bool {
        if self.is_fast() {
            return true;
        }
        self.turns.wants();
        self.turns.is_mine()
    }

    /// Leaves one to others, for a moment. Who was woken for it wakes another.
    pub(crate) fn leave_one(&mut self, was_woken: bool) -> io::Result<()> {
        if was_woken && let Some(chair) = &self.chair {
            chair.ring_neighbour();
        }
        self.turns.leave()
    }

    /// Resolves when others have taken what was left to them (nobody waits any more), or when it is ours.
    pub(crate) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<Left> {
        loop {
            if ready!(self.turns.poll_left(cx)) {
                return Poll::Ready(Left::Ours);
            }
            if !self.somebody_waits() {
                return Poll::Ready(Left::Taken);
            }
        }
    }

    /// Leaves the queue alone until it waits again. What it was woken for is another's.
    pub(crate) fn rest(&mut self) {
        self.step_out();
        if let Some(chair) = &self.chair {
            chair.step_aside();
            chair.ring_neighbour();
        }
    }

    fn sit_down(&self, awaited: Awaited, cx: &mut Context<'_>) -> io::Result<Answer> {
        self.chair.as_ref().map_or(Ok(Answer::Wait), |chair| chair.answer(awaited, cx.waker()))
    }

    /// Waits for no connection, because this worker has its fill.
    fn step_aside(&mut self) {
        self.step_out();
        if let Some(chair) = &self.chair {
            chair.step_aside();
        }
    }

    /// Whoever leaves without accepting rings a neighbour.
    fn step_out(&mut self) {
        self.turns.wants_no_more();
        if self.direct.step_out()
            && let Some(chair) = &self.chair
        {
            chair.ring_neighbour();
        }
    }

    /// Takes the first connection that there is.
    pub(crate) fn look(&mut self) -> Look {
        let (mut asked, mut failed) = (0, 0);
        while asked < self.listeners.len() {
            let at = (self.first + asked) % self.listeners.len();
            match self.gate.accept(&self.listeners[at]) {
                Ok(connection) => {
                    self.first = at + 1;
                    self.direct.took();
                    self.turns.took();
                    if self.turns.fast_for_all() {
                        self.direct.quicken();
                    }
                    return Look::Taken(connection);
                }
                Err(Trouble::Empty) => asked += 1,
                Err(Trouble::Full) => {
                    // Whoever it was woken for waits for another worker, one that is not full.
                    if self.gate.has_its_fill()
                        && let Some(chair) = &self.chair
                    {
                        chair.ring_neighbour();
                    }
                    return Look::Full;
                }
                Err(Trouble::OneConnection(_)) if failed < PERSISTENT => failed += 1,
                Err(Trouble::OneConnection(err)) => return Look::Exhausted(err),
                Err(Trouble::Exhausted(err)) => return Look::Exhausted(err),
                Err(Trouble::Closed) => {
                    let closed = self.listeners.remove(at);
                    if let Some(chair) = &self.chair {
                        chair.forget(&closed);
                    }
                }
            }
        }
        Look::Empty
    }

    /// Whether a connection waits in one of the queues.
    pub(crate) fn somebody_waits(&self) -> bool {
        let mut fds: Vec<PollFd<'_>> =
            self.listeners.iter().map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)).collect();
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Leaves the queue to the others. Where the cluster ends, or its primary is gone, there will soon be no
    /// others: then what is queued is served first, and the queue is closed, so that new clients are refused
    /// at once and a successor can bind.
    pub(crate) fn leave(&mut self, closes_queue: bool) -> Option<Connection> {
        self.step_out();
        self.gate.leave();
        self.chair = None;
        let mut failed = 0;
        while closes_queue && !self.listeners.is_empty() {
            let last = self.listeners.len() - 1;
            // What waits for a socket that is lent is its next user's.
            if self.listeners[last].queue() == Lending::Lent {
                self.listeners.pop();
                continue;
            }
            match self.gate.accept(&self.listeners[last]) {
                Ok(connection) => return Some(connection),
                Err(Trouble::OneConnection(_)) if failed < PERSISTENT => failed += 1,
                Err(
                    Trouble::OneConnection(_)
                    | Trouble::Empty
                    | Trouble::Full
                    | Trouble::Exhausted(_)
                    | Trouble::Closed,
                ) => {
                    if let Some(listener) = self.listeners.pop() {
                        listener.shut_down();
                    }
                }
            }
        }
        self.listeners.clear();
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::conn::admission::{Admission, Limits};
    use crate::conn::shared::{Bell, Rota};
    use crate::id::Slot;

    #[test]
    fn a_queue_that_fails_again_and_again_is_left_alone_for_a_while() {
        let page = Arc::new(Mapped::<Page>::create(c"test").unwrap().0);
        let door = Door::open(Arc::new(Bell::new().unwrap()), page.clone()).unwrap();
        let rota = Arc::new(Mapped::<Rota>::create(c"test").unwrap().0);
        let gate = Gate::new(Arc::new(Admission::new(page.clone(), &Limits::default(), None, None)));
        // Nothing is accepted there, ever: EOPNOTSUPP.
        let socket = OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap()).into();
        let mut queue =
            Queue::new(page.clone(), Turns::new(rota, Slot(0)), gate, &door, vec![Arc::new(socket)]);
        assert!(matches!(queue.look(), Look::Exhausted(_)));
        assert_eq!(page.connections_open(), 0);
    }
}
