//! Connections that the primary hands out, as one acceptor of a worker sees them.
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::conn::connection::Connection;
use crate::conn::handoff::intake::Intake;
use crate::conn::pace::Pace;
use crate::conn::shared::doorbell::Answer;
use crate::conn::shared::queue::Look;
use crate::conn::socket::{self, Incoming, ListeningSocket, Trouble};
use crate::ipc::control::Queue;
use crate::scoreboard::Page;
use crate::sys::page::Mapped;

/// So many are claimed at once while connections come fast.
const SEVERAL: usize = 8;

/// What comes to one acceptor.
pub(crate) struct Handed {
    intake: Arc<Intake>,
    desk: usize,
    page: Arc<Mapped<Page>>,
    pace: Pace,
    /// Where its connections come from: at the end, when the primary accepts no more, the worker does.
    listeners: Vec<Arc<ListeningSocket>>,
}

impl Handed {
    /// `numbers` are those of the listeners in the primary's list.
    pub(crate) fn new(
        intake: Arc<Intake>,
        page: Arc<Mapped<Page>>,
        listeners: Vec<Arc<ListeningSocket>>,
        numbers: Vec<u16>,
    ) -> Self {
        let desk = intake.sit(numbers);
        Self { intake, desk, page, pace: Pace::of_worker(), listeners }
    }

    /// Claims an offer, unless a connection has arrived; while they come fast, several. One that is claimed is nobody
    /// else's, should this loop be blocked in the next moment.
    pub(crate) fn wait(&mut self, waker: &Waker) -> Answer {
        let most = if self.pace.look(Instant::now()) { SEVERAL } else { 1 };
        if self.intake.wait(self.desk, most, waker) { Answer::Rung } else { Answer::Wait }
    }

    pub(crate) fn look(&mut self) -> Look {
        while let Some(fd) = self.intake.take(self.desk) {
            match self.connection(fd) {
                Ok(connection) => {
                    self.pace.took(Instant::now());
                    return Look::Taken(connection);
                }
                // Its client has reset it meanwhile.
                Err(_) => self.page.connection_closed(),
            }
        }
        Look::Empty
    }

    fn connection(&self, fd: OwnedFd) -> io::Result<Connection> {
        Connection::claimed(Incoming::received(fd)?, self.page.clone())
    }

    pub(crate) fn somebody_waits(&self) -> bool {
        self.intake.somebody_waits(self.desk)
    }

    /// Takes what is claimed. Where the cluster ends, or its primary is gone, it takes all that was offered and all that
    /// is queued, and closes the queue.
    pub(crate) fn leave(&mut self, closes_queue: bool, cx: &mut Context<'_>) -> Poll<Option<Connection>> {
        // Claimed BEFORE the queue is emptied, so that it is on its way meanwhile.
        let is_done = self.intake.leave(self.desk, closes_queue, cx.waker());
        // And the queue BEFORE what arrives: the sentinel closes it in a moment, what is claimed has time.
        if closes_queue && let Some(connection) = self.take_queued() {
            return Poll::Ready(Some(connection));
        }
        self.listeners.clear();
        match self.look() {
            Look::Taken(connection) => Poll::Ready(Some(connection)),
            Look::Empty | Look::Exhausted(_) if is_done => Poll::Ready(None),
            Look::Empty | Look::Exhausted(_) => Poll::Pending,
        }
    }

    /// Takes the next connection of the queues, and closes those that are empty.
    fn take_queued(&mut self) -> Option<Connection> {
        while let Some(listener) = self.listeners.last() {
            // What waits for a socket that is lent is its next user's.
            if listener.queue() == Queue::Lent {
                self.listeners.pop();
                continue;
            }
            let taken = socket::accept(listener.as_fd())
                .and_then(|incoming| Connection::new(incoming, Some(self.page.clone())));
            match taken.map_err(Trouble::from) {
                Ok(connection) => return Some(connection),
                Err(Trouble::OneConnection) => {}
                Err(Trouble::Empty | Trouble::Exhausted(_) | Trouble::Closed) => {
                    listener.shut_down();
                    self.listeners.pop();
                }
            }
        }
        None
    }
}
