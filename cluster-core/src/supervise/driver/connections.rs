//! What becomes of connections when workers come and go.
use std::io;
use std::sync::Arc;

use crate::conn::listen::ClusterSocket;
use crate::conn::{AdmissionPolicy, Bell, Book, Limits, Watch};
use crate::id::PeerId;
use crate::scheduling::Scheduling;
use crate::supervise::driver::Driver;
use crate::supervise::peer::Peer;

/// Looks after the queues of which workers help themselves, and after what all have open.
pub(super) fn watch_over(
    sockets: &[ClusterSocket],
    limits: &Limits,
) -> io::Result<(Watch, Option<Arc<Book>>)> {
    let bell = Arc::new(Bell::new()?);
    let book = limits.cluster.map(|limit| Book::begin(limit, bell.clone())).transpose()?;
    let shared = sockets.iter().filter(|socket| socket.name.scheduling == Scheduling::Shared);
    let queues = shared.map(|socket| socket.listener.try_clone()).collect::<io::Result<_>>()?;
    let policy = AdmissionPolicy { book: book.clone(), refuses: limits.refuse() };
    Ok((Watch::new(bell, queues, policy)?, book))
}

impl Driver {
    /// A worker that drains is offered no connection; where all drain, nobody is.
    pub(super) fn hand_out_no_more(&mut self, peer: PeerId, close_queue: bool) {
        match (&self.handoff, close_queue) {
            (Some(handoff), true) if !std::mem::replace(&mut self.closing, true) => handoff.close(),
            (Some(handoff), false) => handoff.retire(peer),
            (Some(_), true) | (None, _) => {}
        }
    }

    /// At once: the connections that a process which is gone was woken for, or offered, others take.
    pub(super) fn let_go(&self, peer: PeerId, held: &mut Peer) {
        // BEFORE others look whether there is room.
        held.give_up_share();
        self.watch.leave(held.page());
        if let Some(handoff) = &self.handoff {
            handoff.leave(peer);
        }
    }
}
