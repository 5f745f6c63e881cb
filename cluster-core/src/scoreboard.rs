//! One page of shared memory per worker: written by the worker with plain stores, read by the primary,
//! which trusts nothing in it.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::conn::Offers;
use crate::event::ConnectionCounts;
use crate::tail::Tail;

/// The page. All access is relaxed: each number stands for itself.
#[repr(C)]
pub(crate) struct Page {
    beats: AtomicU64,
    connections_open: AtomicU64,
    connections_total: AtomicU64,
    rings: AtomicU64,
    offered: AtomicU64,
    claimed: AtomicU64,
    revoked: AtomicU64,
    pub(crate) offers: Offers,
    pub(crate) tail: Tail,
}

impl Page {
    /// The runtime has turned.
    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Relaxed);
    }

    /// How often the runtime has said that it turns.
    pub(crate) fn beats(&self) -> u64 {
        self.beats.load(Relaxed)
    }

    /// A connection was accepted.
    pub(crate) fn connection_opened(&self) {
        self.connections_open.fetch_add(1, Relaxed);
        self.connections_total.fetch_add(1, Relaxed);
    }

    /// Connections that the primary has offered were claimed: they count as open.
    pub(crate) fn connections_claimed(&self, count: u64) {
        self.claimed.fetch_add(count, Relaxed);
        self.connections_open.fetch_add(count, Relaxed);
        self.connections_total.fetch_add(count, Relaxed);
    }

    /// By the primary: a connection was offered.
    pub(crate) fn connection_offered(&self) {
        self.offered.fetch_add(1, Relaxed);
    }

    /// By the primary: an offer was taken back.
    pub(crate) fn connection_revoked(&self) {
        self.revoked.fetch_add(1, Relaxed);
    }

    /// A connection ended.
    pub(crate) fn connection_closed(&self) {
        self.connections_open.fetch_sub(1, Relaxed);
    }

    /// The doorbell was rung.
    pub(crate) fn rung(&self) {
        self.rings.fetch_add(1, Relaxed);
    }

    /// Connections accepted so far.
    pub(crate) fn connections_total(&self) -> u64 {
        self.connections_total.load(Relaxed)
    }

    /// All that is counted of its connections.
    pub(crate) fn counts(&self) -> ConnectionCounts {
        ConnectionCounts {
            open: self.connections_open(),
            total: self.connections_total(),
            offered: self.offered.load(Relaxed),
            claimed: self.claimed.load(Relaxed),
            revoked: self.revoked.load(Relaxed),
            rings: self.rings.load(Relaxed),
        }
    }

    /// Connections open now.
    pub(crate) fn connections_open(&self) -> u64 {
        self.connections_open.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::page::Mapped;

    #[test]
    fn what_one_process_counts_the_other_reads() {
        let (page, fd) = Mapped::<Page>::create(c"test").unwrap();
        page.connection_opened();
        page.connection_opened();
        page.connection_closed();
        let seen_elsewhere = Mapped::<Page>::map(std::os::fd::AsFd::as_fd(&fd)).unwrap();
        assert_eq!(seen_elsewhere.connections_open(), 1);
    }

    #[test]
    fn a_peer_cannot_shrink_the_page() {
        let (_page, fd) = Mapped::<Page>::create(c"test").unwrap();
        assert_eq!(nix::unistd::ftruncate(&fd, 0), Err(nix::errno::Errno::EPERM));
    }
}
