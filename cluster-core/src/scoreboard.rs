//! One page of shared memory per worker: written by the worker with plain stores, read by the primary,
//! which trusts nothing in it.
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// Bytes of standard error that outlive a worker.
pub(crate) const TAIL: usize = 4096;

/// The page. All access is relaxed: each number stands for itself.
#[repr(C)]
pub(crate) struct Page {
    connections_open: AtomicU64,
    connections_total: AtomicU64,
    /// Bytes ever written to the tail; the next goes to this number modulo its length.
    stderr_written: AtomicU64,
    /// How many of them have reached the real standard error.
    stderr_relayed: AtomicU64,
    stderr: [AtomicU8; TAIL],
}

impl Page {
    /// A connection was accepted.
    pub(crate) fn connection_opened(&self) {
        self.connections_open.fetch_add(1, Relaxed);
        self.connections_total.fetch_add(1, Relaxed);
    }

    /// A connection ended.
    pub(crate) fn connection_closed(&self) {
        self.connections_open.fetch_sub(1, Relaxed);
    }

    /// Connections open now.
    pub(crate) fn connections_open(&self) -> u64 {
        self.connections_open.load(Relaxed)
    }

    /// Adds to the tail of standard error. Only the sentinel writes it.
    pub(crate) fn append_stderr(&self, bytes: &[u8]) {
        let start = self.stderr_written.load(Relaxed);
        for (offset, byte) in bytes.iter().enumerate() {
            self.stderr[(start as usize).wrapping_add(offset) % TAIL].store(*byte, Relaxed);
        }
        self.stderr_written.store(start.wrapping_add(bytes.len() as u64), Relaxed);
    }

    /// So many more bytes have reached the real standard error, or never will.
    pub(crate) fn stderr_relayed(&self, bytes: usize) {
        self.stderr_relayed.fetch_add(bytes as u64, Relaxed);
    }

    /// The bytes that a worker's sentinel had in hand when the worker died: read, but not written.
    pub(crate) fn stderr_in_hand(&self) -> Vec<u8> {
        let in_hand = self.stderr_written.load(Relaxed).saturating_sub(self.stderr_relayed.load(Relaxed));
        let mut tail = self.stderr_tail();
        tail.split_off(tail.len().saturating_sub(usize::try_from(in_hand).unwrap_or(TAIL)))
    }

    /// The last bytes of standard error, oldest first.
    pub(crate) fn stderr_tail(&self) -> Vec<u8> {
        let end = self.stderr_written.load(Relaxed) as usize;
        let len = end.min(TAIL);
        (end - len..end).map(|at| self.stderr[at % TAIL].load(Relaxed)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::page::Mapped;

    #[test]
    fn the_tail_keeps_the_last_bytes_in_order() {
        let (page, fd) = Mapped::<Page>::create(c"test").unwrap();
        page.append_stderr(b"one\n");
        assert_eq!(page.stderr_tail(), b"one\n");
        page.append_stderr(&[b'x'; TAIL]);
        page.append_stderr(b"end");
        let seen_elsewhere = Mapped::<Page>::map(std::os::fd::AsFd::as_fd(&fd)).unwrap();
        let tail = seen_elsewhere.stderr_tail();
        assert_eq!(tail.len(), TAIL);
        assert!(tail.ends_with(b"xxxend"));
    }

    #[test]
    fn what_was_read_but_not_written_is_known() {
        let (page, _fd) = Mapped::<Page>::create(c"test").unwrap();
        page.append_stderr(b"one\ntwo\n");
        page.stderr_relayed(4);
        assert_eq!(page.stderr_in_hand(), b"two\n");
        page.stderr_relayed(4);
        assert_eq!(page.stderr_in_hand(), b"");
        // The page is the worker's: whatever it writes there does no harm.
        page.stderr_relayed(usize::MAX / 2);
        assert_eq!(page.stderr_in_hand(), b"");
    }

    #[test]
    fn a_peer_cannot_shrink_the_page() {
        let (_page, fd) = Mapped::<Page>::create(c"test").unwrap();
        assert_eq!(nix::unistd::ftruncate(&fd, 0), Err(nix::errno::Errno::EPERM));
    }
}
