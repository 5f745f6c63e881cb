//! Where an acceptor has its connections from.
use std::io;
use std::task::{Context, Poll};

use crate::conn::appetite::Appetite;
use crate::conn::connection::Connection;
use crate::conn::doorbell::Answer;
use crate::conn::handed::Handed;
use crate::conn::queue::{Look, Queue};

/// By scheduling: the worker helps itself, or is handed them.
pub(crate) enum Source {
    Queue(Queue),
    Handed(Handed),
}

impl Source {
    /// Waits for a connection; several may come at once where they are handed out.
    ///
    /// # Errors
    /// The wait set takes no more, or there may be no descriptors for what would be handed over.
    pub(crate) fn wait(&mut self, appetite: &Appetite, cx: &mut Context<'_>) -> io::Result<Answer> {
        match self {
            Source::Queue(queue) => queue.wait(appetite.is_saturated(), cx),
            Source::Handed(handed) => handed.wait(appetite.mouthful(), cx),
        }
    }

    /// Leaves the connections to others until it waits again.
    pub(crate) fn rest(&mut self) {
        match self {
            Source::Queue(queue) => queue.rest(),
            Source::Handed(_) => {}
        }
    }

    /// Takes the first connection that there is.
    pub(crate) fn look(&mut self) -> Look {
        match self {
            Source::Queue(queue) => queue.look(),
            Source::Handed(handed) => handed.look(),
        }
    }

    /// Whether a further connection waits.
    pub(crate) fn somebody_waits(&self) -> bool {
        match self {
            Source::Queue(queue) => queue.somebody_waits(),
            Source::Handed(handed) => handed.somebody_waits(),
        }
    }

    /// Leaves the connections to others; `None` once that is done. Where there will soon be no others, it takes them.
    pub(crate) fn leave(&mut self, closes_queue: bool, cx: &mut Context<'_>) -> Poll<Option<Connection>> {
        match self {
            Source::Queue(queue) => Poll::Ready(queue.leave(closes_queue)),
            Source::Handed(handed) => handed.leave(closes_queue, cx),
        }
    }
}
