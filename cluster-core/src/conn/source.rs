//! Where an acceptor has its connections from.
use std::io;
use std::task::{Context, Poll};

use crate::conn::appetite::Appetite;
use crate::conn::connection::Connection;
use crate::conn::handoff::handed::Handed;
use crate::conn::shared::doorbell::Answer;
use crate::conn::shared::queue::{Left, Look, Queue};

/// By scheduling: the worker helps itself, or is handed them.
pub(crate) enum Source {
    Queue(Queue),
    Handed(Handed),
}

impl Source {
    /// Waits for a connection; several may come at once where they are handed out.
    ///
    /// # Errors
    /// The wait set takes no more, or a connection finds no descriptor.
    pub(crate) fn wait(&mut self, appetite: &Appetite, cx: &mut Context<'_>) -> io::Result<Answer> {
        match self {
            Source::Queue(queue) => queue.wait(appetite.is_saturated(), cx),
            Source::Handed(handed) => handed.wait(cx),
        }
    }

    /// Whether its worker may have one more. Where not, it is to wait, which tells it when it may again.
    pub(crate) fn may_take(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Source::Queue(queue) => queue.may_take(cx),
            // What has arrived was counted when it was claimed.
            Source::Handed(_) => true,
        }
    }

    /// Whether to take the next one, and not to leave it to another worker.
    pub(crate) fn is_turn(&mut self) -> bool {
        match self {
            Source::Queue(queue) => queue.is_turn(),
            Source::Handed(_) => true,
        }
    }

    /// Whether connections come so fast that it takes what there is, and does not look first whose turn it is.
    pub(crate) fn is_fast(&self) -> bool {
        match self {
            Source::Queue(queue) => queue.is_fast(),
            Source::Handed(_) => false,
        }
    }

    /// Whether they come fast to all workers together.
    pub(crate) fn is_fast_for_all(&self) -> bool {
        match self {
            Source::Queue(queue) => queue.is_fast_for_all(),
            Source::Handed(_) => false,
        }
    }

    /// Leaves one to others, for a moment.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(crate) fn leave_one(&mut self, was_woken: bool) -> io::Result<()> {
        match self {
            Source::Queue(queue) => queue.leave_one(was_woken),
            Source::Handed(_) => Ok(()),
        }
    }

    /// Resolves when others have taken what was left to them, or when it is ours.
    pub(crate) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<Left> {
        match self {
            Source::Queue(queue) => queue.poll_left(cx),
            Source::Handed(_) => Poll::Ready(Left::Ours),
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
