//! Connections that the primary hands out, as one acceptor of a worker sees them.
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::conn::connection::Connection;
use crate::conn::doorbell::Answer;
use crate::conn::gate::{Entry, Gate};
use crate::conn::intake::Intake;
use crate::conn::queue::Look;
use crate::conn::socket::{Incoming, ListeningSocket, Trouble};
use crate::ipc::control::Queue;

/// What comes to one acceptor.
pub(crate) struct Handed {
    intake: Arc<Intake>,
    desk: usize,
    gate: Gate,
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
        Self { intake, desk, gate, listeners }
    }

    /// Claims up to `most` offers, as far as there is room, unless a connection has arrived.
    ///
    /// # Errors
    /// There may be no descriptors for them.
    pub(crate) fn wait(&mut self, most: usize, cx: &mut Context<'_>) -> io::Result<Answer> {
        // What has arrived is counted already, and is not held up by a limit.
        if self.intake.has_arrived(self.desk) {
            return Ok(Answer::Rung);
        }
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

    /// Takes what is claimed. Where the cluster ends, or its primary is gone, it takes all that was offered, and then
    /// what is still queued, and closes the queue.
    pub(crate) fn leave(&mut self, closes_queue: bool, cx: &mut Context<'_>) -> Poll<Option<Connection>> {
        self.gate.leave();
        let is_done = self.intake.leave(self.desk, closes_queue, cx.waker());
        if let Look::Taken(connection) = self.look() {
            return Poll::Ready(Some(connection));
        }
        if !is_done {
            return Poll::Pending;
        }
        while closes_queue && let Some(listener) = self.listeners.last() {
            // What waits for a socket that is lent is its next user's.
            if listener.queue() == Queue::Lent {
                self.listeners.pop();
                continue;
            }
            match self.gate.accept(listener) {
                Ok(connection) => return Poll::Ready(Some(connection)),
                Err(Trouble::OneConnection) => {}
                Err(Trouble::Empty | Trouble::Full | Trouble::Exhausted(_) | Trouble::Closed) => {
                    listener.shut_down();
                    self.listeners.pop();
                }
            }
        }
        self.listeners.clear();
        Poll::Ready(None)
    }
}
