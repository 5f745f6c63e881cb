//! A worker's standard error on its way through shared memory: what its sentinel has read and not yet written
//! outlives the worker, as do the last lines.
//!
//! The sentinel reads from the pipe straight into the page, and what it has read stays there until it is written, so there is
//! no moment in which bytes are in the worker's own memory alone.
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// No more than a pipe takes at once without waiting when it is writable (PIPE_BUF, pipe(7)).
pub(crate) const CHUNK: usize = 4096;
/// One chunk on its way, and as much again of what was before it.
const RING: usize = 2 * CHUNK;

/// Written by the sentinel; read by the primary, which trusts nothing in it.
#[repr(C)]
pub(crate) struct Tail {
    /// Bytes ever read from the pipe.
    read: AtomicU64,
    /// How many of them have been written where standard error really goes.
    written: AtomicU64,
    /// One more than `read` was when the last read began: if it still is, that read may have taken bytes
    /// that are not counted yet.
    reading: AtomicU64,
    ring: [AtomicU8; RING],
}

impl Tail {
    /// Reads once, with `read`, into the free part: not so much that what is unwritten were more than a chunk.
    pub(crate) fn fill<E>(&self, read: impl FnOnce(&[AtomicU8]) -> Result<usize, E>) -> Result<usize, E> {
        let done = self.read.load(Relaxed);
        let segment = self.segment(done, CHUNK);
        // Zero is what nobody writes to standard error: it tells afterwards how far an uncounted read came. All of what is
        // looked at then, which is none of the last chunk.
        segment.iter().for_each(|byte| byte.store(0, Relaxed));
        self.reading.store(done.wrapping_add(1), Relaxed);
        let count = read(&segment[..segment.len().min(CHUNK - self.unwritten())])?;
        self.read.store(done.wrapping_add(count as u64), Relaxed);
        Ok(count)
    }

    /// How many bytes have been read and not been written; at most a chunk.
    pub(crate) fn unwritten(&self) -> usize {
        let count = self.read.load(Relaxed).saturating_sub(self.written.load(Relaxed));
        usize::try_from(count).unwrap_or(CHUNK).min(CHUNK)
    }

    /// How many of them are whole lines.
    pub(crate) fn whole_lines(&self) -> usize {
        let start = self.written.load(Relaxed);
        let is_end = |count: &usize| self.at(start.wrapping_add(*count as u64 - 1)) == b'\n';
        (1..=self.unwritten()).rev().find(is_end).unwrap_or(0)
    }

    /// The first `count` of them, which are one chunk at most.
    pub(crate) fn copy<'a>(&self, count: usize, to: &'a mut [u8; CHUNK]) -> &'a [u8] {
        let start = self.written.load(Relaxed);
        let to = &mut to[..count];
        for (byte, offset) in to.iter_mut().zip(0..) {
            *byte = self.at(start.wrapping_add(offset));
        }
        to
    }

    /// So many of them have been written, or never will be.
    pub(crate) fn take(&self, count: usize) {
        self.written.store(self.written.load(Relaxed).wrapping_add(count as u64), Relaxed);
    }

    /// After the worker's end: what its sentinel had in hand.
    pub(crate) fn in_hand(&self) -> Vec<u8> {
        let mut bytes = self.before(self.read.load(Relaxed), self.unwritten());
        bytes.extend(self.uncounted());
        bytes
    }

    /// After the worker's end: the last bytes that were read, oldest first.
    pub(crate) fn last(&self) -> Vec<u8> {
        let read = self.read.load(Relaxed);
        let mut bytes = self.before(read, usize::try_from(read).unwrap_or(CHUNK).min(CHUNK));
        bytes.extend(self.uncounted());
        bytes
    }

    /// What a read took that the worker did not live to count.
    fn uncounted(&self) -> Vec<u8> {
        let read = self.read.load(Relaxed);
        if self.reading.load(Relaxed) != read.wrapping_add(1) {
            return Vec::new();
        }
        let mut bytes: Vec<u8> = self.segment(read, CHUNK).iter().map(|byte| byte.load(Relaxed)).collect();
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(end);
        bytes
    }

    /// `count` bytes that end at position `end`.
    fn before(&self, end: u64, count: usize) -> Vec<u8> {
        let start = end.wrapping_sub(count as u64);
        (0..count as u64).map(|offset| self.at(start.wrapping_add(offset))).collect()
    }

    /// The byte at a position.
    fn at(&self, position: u64) -> u8 {
        self.ring[position as usize % RING].load(Relaxed)
    }

    /// At most `count` bytes from position `start`, as far as they lie together.
    fn segment(&self, start: u64, count: usize) -> &[AtomicU8] {
        let start = start as usize % RING;
        &self.ring[start..RING.min(start + count)]
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::scoreboard::Page;
    use crate::sys::page::Mapped;

    fn put(text: &[u8]) -> impl FnOnce(&[AtomicU8]) -> Result<usize, Infallible> {
        move |segment| {
            let count = text.len().min(segment.len());
            segment.iter().zip(text).for_each(|(to, from)| to.store(*from, Relaxed));
            Ok(count)
        }
    }

    fn page() -> Mapped<Page> {
        Mapped::create(c"test").unwrap().0
    }

    #[test]
    fn what_is_read_is_written_in_order_all_the_way_around() {
        let page = page();
        let mut out = Vec::<u8>::new();
        let line = [b'a'; 1000];
        for _ in 0..50 {
            let mut left = &line[..];
            while !left.is_empty() {
                left = &left[page.tail.fill(put(left)).unwrap()..];
                out.extend(page.tail.copy(page.tail.unwritten(), &mut [0; CHUNK]));
                page.tail.take(page.tail.unwritten());
            }
        }
        assert_eq!(out, vec![b'a'; 50_000]);
        assert!(page.tail.in_hand().is_empty());
        assert_eq!(page.tail.last().len(), CHUNK);
    }

    #[test]
    fn what_was_read_and_not_written_is_in_hand() {
        let page = page();
        page.tail.fill(put(b"one\ntwo\n")).unwrap();
        page.tail.take(4);
        assert_eq!(page.tail.in_hand(), b"two\n");
        assert_eq!(page.tail.last(), b"one\ntwo\n");
    }

    #[test]
    fn what_was_there_long_ago_is_not_taken_for_what_was_read_last() {
        let page = page();
        for _ in 0..3 {
            page.tail.fill(put(&[b'x'; CHUNK])).unwrap();
            page.tail.take(CHUNK);
        }
        page.tail.fill(put(b"half a ")).unwrap();
        let died: Result<usize, ()> = page.tail.fill(|segment| {
            put(b"line")(segment).unwrap();
            Err(())
        });
        assert!(died.is_err());
        assert_eq!(page.tail.in_hand(), b"half a line");
    }

    #[test]
    fn what_is_unwritten_is_never_read_over() {
        let page = page();
        page.tail.fill(put(&[b'x'; CHUNK - 3])).unwrap();
        assert_eq!(page.tail.fill(put(b"y\nzzz")), Ok(3));
        assert_eq!(page.tail.unwritten(), CHUNK);
        assert_eq!(page.tail.whole_lines(), CHUNK - 1);
        assert_eq!(page.tail.fill(put(b"more")), Ok(0));
        assert_eq!(page.tail.copy(CHUNK, &mut [0; CHUNK]), [&[b'x'; CHUNK - 3][..], b"y\nz"].concat());
    }

    #[test]
    fn what_was_read_and_not_even_counted_is_in_hand() {
        let page = page();
        page.tail.fill(put(b"one\n")).unwrap();
        page.tail.take(4);
        // The worker dies after the kernel's copy and before its next instruction.
        let died: Result<usize, ()> = page.tail.fill(|segment| {
            put(b"two\n")(segment).unwrap();
            Err(())
        });
        assert!(died.is_err());
        assert_eq!(page.tail.in_hand(), b"two\n");
        assert_eq!(page.tail.last(), b"one\ntwo\n");
    }

    #[test]
    fn nonsense_in_the_page_does_no_harm() {
        let page = page();
        for (read, written, reading) in [(u64::MAX, 0, 0), (0, u64::MAX, 1), (5, 3, 6), (u64::MAX, 1, 0)] {
            page.tail.read.store(read, Relaxed);
            page.tail.written.store(written, Relaxed);
            page.tail.reading.store(reading, Relaxed);
            assert!(page.tail.in_hand().len() <= RING && page.tail.last().len() <= RING);
        }
    }
}
