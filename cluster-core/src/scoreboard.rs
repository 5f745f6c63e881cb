//! One page of shared memory per worker: written by the worker with plain stores, read by the primary,
//! which trusts nothing in it.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use crate::conn::Offers;
use crate::event::{ConnectionCounts, WorkerCounts};
use crate::tail::Tail;
use crate::trace::Trace;

/// The page. Access is relaxed, where each number stands for itself.
#[repr(C)]
pub(crate) struct Page {
    beats: AtomicU64,
    requests: AtomicU64,
    in_flight: AtomicU64,
    /// In nanoseconds, and one more; 0 where it was never measured.
    loop_delay: AtomicU64,
    connections_open: AtomicU64,
    connections_total: AtomicU64,
    rings: AtomicU64,
    offered: AtomicU64,
    claimed: AtomicU64,
    revoked: AtomicU64,
    stance: AtomicU64,
    private_memory: AtomicU64,
    measurements: AtomicU64,
    pub(crate) offers: Offers,
    pub(crate) tail: Tail,
    pub(crate) trace: Trace,
}

/// Whether a worker takes connections, as far as its own limits go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stance {
    /// It has not begun, or it drains.
    Away,
    Takes,
    /// It takes none until it has room.
    Full,
}

/// What has become of a worker's stance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It was full, and takes connections now.
    HasRoomAgain,
    /// Another one, or none.
    Other,
}

impl Stance {
    fn of(word: u64) -> Self {
        match word {
            word if word == Stance::Takes as u64 => Stance::Takes,
            word if word == Stance::Full as u64 => Stance::Full,
            _ => Stance::Away,
        }
    }
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

    /// A request has been answered.
    pub(crate) fn request_answered(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// Requests answered so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// The application is given a request.
    pub(crate) fn request_begins(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// Its answer has gone out to the end, or never will.
    pub(crate) fn request_ends(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Requests whose answers have not gone out to their end.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    /// The runtime was so late when it was to turn.
    pub(crate) fn was_late(&self, delay: Duration) {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.loop_delay.store(nanos.saturating_add(1), Relaxed);
    }

    /// How late the runtime was when it was to turn last, in nanoseconds, if that was measured.
    pub(crate) fn loop_delay(&self) -> Option<u64> {
        self.loop_delay.load(Relaxed).checked_sub(1)
    }

    /// Connections are about to come, up to `count`: they count as open, as far as there are `most` at the most.
    /// Answers with how many.
    pub(crate) fn reserve(&self, count: u64, most: Option<u64>) -> u64 {
        let Some(most) = most else {
            self.connections_open.fetch_add(count, SeqCst);
            return count;
        };
        let granted = |open: u64| most.saturating_sub(open).min(count);
        let more = |open: u64| (granted(open) > 0).then(|| open + granted(open));
        self.connections_open.fetch_update(SeqCst, SeqCst, more).map_or(0, granted)
    }

    /// It was accepted.
    pub(crate) fn connection_accepted(&self) {
        self.connections_total.fetch_add(1, Relaxed);
    }

    /// Tells whether the worker takes connections. Of several threads that say the same, one is told that it was
    /// full and takes connections now: whoever has looked meanwhile must hear of it.
    pub(crate) fn stand(&self, stance: Stance) -> Change {
        let word = stance as u64;
        // Mostly it has said so already, and others read the page.
        if self.stance.load(Relaxed) == word {
            return Change::Other;
        }
        match (Stance::of(self.stance.swap(word, SeqCst)), stance) {
            (Stance::Full, Stance::Takes) => Change::HasRoomAgain,
            (Stance::Away | Stance::Takes, Stance::Takes)
            | (Stance::Away | Stance::Takes | Stance::Full, Stance::Away | Stance::Full) => Change::Other,
        }
    }

    /// Whether the worker takes connections; what it has written that means nothing counts as `Away`.
    pub(crate) fn stance(&self) -> Stance {
        Stance::of(self.stance.load(Relaxed))
    }

    /// Connections that the primary has offered were claimed; they count as open already.
    pub(crate) fn connections_claimed(&self, count: u64) {
        self.claimed.fetch_add(count, Relaxed);
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

    /// Connections ended, or did not come. Answers with how many were open until then.
    pub(crate) fn connections_closed(&self, count: u64) -> u64 {
        // In one order with whoever is about to wait for it (`conn/admission.rs`).
        self.connections_open.fetch_sub(count, SeqCst)
    }

    /// The doorbell was rung.
    pub(crate) fn rung(&self) {
        self.rings.fetch_add(1, Relaxed);
    }

    /// Connections accepted so far.
    pub(crate) fn connections_total(&self) -> u64 {
        self.connections_total.load(Relaxed)
    }

    /// All that is counted.
    pub(crate) fn counts(&self) -> WorkerCounts {
        WorkerCounts { connections: self.connections(), private_memory: self.private_memory() }
    }

    /// What it has counted of its connections.
    pub(crate) fn connections(&self) -> ConnectionCounts {
        ConnectionCounts {
            open: self.connections_open(),
            total: self.connections_total(),
            offered: self.offered.load(Relaxed),
            claimed: self.claimed.load(Relaxed),
            revoked: self.revoked.load(Relaxed),
            rings: self.rings.load(Relaxed),
        }
    }

    /// So many bytes of memory the process has for itself.
    pub(crate) fn measured(&self, bytes: u64) {
        self.private_memory.store(bytes, Relaxed);
        self.measurements.fetch_add(1, Relaxed);
    }

    /// The memory that the process has for itself, in bytes, as it was measured last, if it ever was.
    pub(crate) fn private_memory(&self) -> Option<u64> {
        (self.measurements() > 0).then(|| self.private_memory.load(Relaxed))
    }

    /// How often that was measured.
    pub(crate) fn measurements(&self) -> u64 {
        self.measurements.load(Relaxed)
    }

    /// Connections open now.
    pub(crate) fn connections_open(&self) -> u64 {
        self.connections_open.load(SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::page::Mapped;

    #[test]
    fn what_one_process_counts_the_other_reads() {
        let (page, fd) = Mapped::<Page>::create(c"test").unwrap();
        assert_eq!((page.reserve(1, None), page.reserve(5, Some(3)), page.reserve(1, Some(3))), (1, 2, 0));
        assert_eq!(page.connections_closed(2), 3);
        let seen_elsewhere = Mapped::<Page>::map(std::os::fd::AsFd::as_fd(&fd)).unwrap();
        assert_eq!(seen_elsewhere.connections_open(), 1);
    }

    #[test]
    fn a_worker_that_was_full_and_has_room_again_says_so_once() {
        let (page, _) = Mapped::<Page>::create(c"test").unwrap();
        let changes =
            [Stance::Takes, Stance::Full, Stance::Takes, Stance::Takes, Stance::Away, Stance::Takes];
        let told = changes.map(|stance| page.stand(stance) == Change::HasRoomAgain);
        assert_eq!(told, [false, false, true, false, false, false]);
    }

    #[test]
    fn a_peer_cannot_shrink_the_page() {
        let (_page, fd) = Mapped::<Page>::create(c"test").unwrap();
        assert_eq!(nix::unistd::ftruncate(&fd, 0), Err(nix::errno::Errno::EPERM));
    }
}
