//! Taking connections from the kernel, or refusing them: only what has somewhere to go.

use std::os::fd::AsFd;
use std::time::Instant;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::{Desk, Held, MOUTHFUL};
use crate::conn::admission::{Book, limits};
use crate::conn::exhaustion;
use crate::conn::handoff::dispatch::Accepted;
use crate::conn::socket::{self, Trouble};

impl Desk {
    /// Accepts while there is room.
    pub(super) fn accept(&mut self, listener: u16) {
        let Some(at) = self.hosts.iter().position(|host| host.listener == listener) else { return };
        let (now, mut failed) = (Instant::now(), 0);
        for _ in 0..MOUTHFUL {
            if self.is_closed() {
                return;
            }
            match self.accept_one(at, listener) {
                Ok(()) => self.pace.took(now),
                Err(trouble) => match trouble {
                    // More than that in a row have another cause than their clients.
                    Trouble::OneConnection(_) if failed + 1 < MOUTHFUL => failed += 1,
                    Trouble::Empty | Trouble::Full => return,
                    Trouble::Closed => return self.lose_host(at),
                    Trouble::OneConnection(err) | Trouble::Exhausted(err) => {
                        exhaustion::warn(&err);
                        self.pause = Some(now + exhaustion::PAUSE);
                        return;
                    }
                },
            }
            self.offer(now);
            self.hosts[at].taken_at = self.dispatch.newest();
        }
    }

    /// Somebody has shut a listener down: the others go on.
    fn lose_host(&mut self, at: usize) {
        let host = self.hosts.remove(at);
        let _ = self.set.delete(host.socket.as_fd());
        if !self.is_closed() {
            crate::event::warn(
                "a listening socket was shut down: no more connections are handed out from it",
            );
        }
    }

    /// Accepts one, to offer it, or to refuse it where there is no room.
    pub(super) fn accept_one(&mut self, at: usize, listener: u16) -> Result<(), Trouble> {
        let socket = &self.hosts[at].socket;
        if !self.dispatch.has_room(listener, &self.guests) || !self.has_cluster_room() {
            return if self.refuses() { socket.refuse().map_err(Trouble::from) } else { Err(Trouble::Full) };
        }
        // BEFORE it is accepted: two may want the last place.
        let counted = match &self.policy.book {
            Some(book) => Some(Book::try_take(book).ok_or(Trouble::Full)?),
            None => None,
        };
        let incoming = socket::accept(socket.as_fd()).map_err(Trouble::from)?;
        let connection = Held { fd: incoming.fd, counted };
        self.dispatch.add(Accepted { connection, listener });
        Ok(())
    }

    /// Where there is none, the workers tell when there is again.
    pub(super) fn has_cluster_room(&self) -> bool {
        self.policy.book.as_ref().is_none_or(|book| !book.must_wait())
    }

    /// Whether connections are refused for now: no worker has room.
    pub(super) fn refuses(&self) -> bool {
        self.policy.refuses && (self.all_workers_are_full() || !self.has_cluster_room())
    }

    fn all_workers_are_full(&self) -> bool {
        limits::all_full(self.guests.values().filter(|guest| !guest.deaf).map(|guest| &**guest.page))
    }

    /// Resets connections that were offered and come to nobody. That the cluster is full is no reason: they are among those
    /// that fill it.
    pub(super) fn refuse_homeless(&mut self) {
        if !self.dispatch.has_homeless() || !self.policy.refuses || !self.all_workers_are_full() {
            return;
        }
        for Accepted { connection, listener } in self.dispatch.take_homeless() {
            if let Some(host) = self.hosts.iter().find(|host| host.listener == listener) {
                host.socket.reset(connection.fd);
            }
        }
    }

    /// Waits for connections only while they have somewhere to go.
    pub(super) fn mind_listeners(&mut self) {
        let (room, refuses, closed) = (self.has_cluster_room(), self.refuses(), self.is_closed());
        for host in &mut self.hosts {
            let has_room = room && self.dispatch.has_room(host.listener, &self.guests);
            let wanted = !closed && self.pause.is_none() && (has_room || refuses);
            let changed = match (wanted, host.inside) {
                (true, false) => {
                    let event = EpollEvent::new(EpollFlags::EPOLLIN, u64::from(host.listener));
                    self.set.add(host.socket.as_fd(), event)
                }
                (false, true) => self.set.delete(host.socket.as_fd()),
                (true, true) | (false, false) => continue,
            };
            match changed {
                Ok(()) => host.inside = wanted,
                Err(err) => {
                    exhaustion::warn(&err.into());
                    self.pause = Some(Instant::now() + exhaustion::PAUSE);
                }
            }
        }
    }
}
