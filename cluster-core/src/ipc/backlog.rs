//! Frames that wait for a socket to take them, in order, with their parcels.
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::ipc::frame::{self, Frame};

/// A body that travels as a descriptor; a broadcast gives the same one to many.
pub(crate) type SharedParcel = Arc<OwnedFd>;

/// What could not be written yet. Frames lie whole in its chunks, so that memory goes as the frames go.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    chunks: VecDeque<Vec<u8>>,
    /// So much of the first chunk is written.
    taken: usize,
    /// So many bytes at the front are the rest of a frame whose start is written.
    cut: usize,
    /// Positions in the stream of bytes; they only grow.
    written: u64,
    end: u64,
    /// Parcels, by the position of their frame.
    parcels: VecDeque<(u64, SharedParcel)>,
}

const CHUNK: usize = 64 * 1024;

impl Backlog {
    pub(crate) fn is_empty(&self) -> bool {
        self.written == self.end
    }

    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        (self.end - self.written) as usize
    }

    /// How many parcels wait.
    pub(crate) fn parcels(&self) -> usize {
        self.parcels.len()
    }

    /// Adds whole frames of which the first `written` bytes are gone already; only an empty backlog may be
    /// given such. The parcel is the first frame's, and its descriptor goes with the first byte.
    pub(crate) fn push(&mut self, frames: &[u8], written: usize, parcel: Option<&SharedParcel>) {
        debug_assert!(written == 0 || self.is_empty());
        if written == frames.len() {
            return;
        }
        if let (0, Some(parcel)) = (written, parcel) {
            self.parcels.push_back((self.end, parcel.clone()));
        }
        let rest = &frames[written..];
        match self.chunks.back_mut() {
            Some(last) if last.capacity() - last.len() >= rest.len() => last.extend_from_slice(rest),
            _ => {
                let mut chunk = Vec::with_capacity(rest.len().max(CHUNK));
                chunk.extend_from_slice(rest);
                self.chunks.push_back(chunk);
            }
        }
        self.end += rest.len() as u64;
        if written > 0 {
            self.cut = rest_of_frame(frames, written);
        }
    }

    /// What to write next, and the parcel that goes with its first byte.
    pub(crate) fn front(&self) -> Option<(&[u8], Option<&SharedParcel>)> {
        let bytes = self.chunks.front()?.get(self.taken..).filter(|bytes| !bytes.is_empty())?;
        let mut parcels = self.parcels.iter();
        let first = self.parcels.front().filter(|(at, _)| *at == self.written);
        if first.is_some() {
            parcels.next();
        }
        let until_next = parcels.next().map_or(usize::MAX, |(at, _)| (at - self.written) as usize);
        Some((&bytes[..bytes.len().min(until_next)], first.map(|(_, parcel)| parcel)))
    }

    /// So many bytes of `front` are written.
    pub(crate) fn advance(&mut self, len: usize) {
        if len == 0 {
            return;
        }
        let chunk = self.chunks.front().expect("bytes were written, so there were some");
        self.cut = match len.checked_sub(self.cut) {
            None => self.cut - len,
            Some(beyond) => rest_of_frame(&chunk[self.taken + self.cut..], beyond),
        };
        if self.parcels.front().is_some_and(|(at, _)| *at == self.written) {
            self.parcels.pop_front();
        }
        self.taken += len;
        self.written += len as u64;
        if self.taken == chunk.len() {
            self.chunks.pop_front();
            self.taken = 0;
        }
    }

    /// Calls `each` with the frames of which nothing is written, and forgets all.
    pub(crate) fn salvage(self, mut each: impl FnMut(Frame<'_>, Option<SharedParcel>)) {
        let mut parcels = self.parcels;
        let mut at = self.written + self.cut as u64;
        let mut skip = self.taken + self.cut;
        for chunk in &self.chunks {
            let mut bytes = &chunk[skip..];
            skip = 0;
            while let Ok(Some(frame)) = frame::read(bytes) {
                let has = parcels.front().is_some_and(|(of, _)| *of == at);
                let parcel = if has { parcels.pop_front().map(|(_, parcel)| parcel) } else { None };
                at += frame.bytes.len() as u64;
                bytes = &bytes[frame.bytes.len()..];
                each(frame, parcel);
            }
        }
    }
}

/// Where `at` is in the midst of a frame: how much of that frame is left.
fn rest_of_frame(frames: &[u8], mut at: usize) -> usize {
    let mut rest = frames;
    while at > 0 {
        let Some(len) = rest.first_chunk::<4>() else { return 0 };
        let len = u32::from_le_bytes(*len) as usize + 4;
        if at < len {
            return len - at;
        }
        at -= len;
        rest = &rest[len..];
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::frame::{Address, Head, Kind};

    fn frames(lens: &[usize]) -> Vec<u8> {
        let head = Head::system(Kind::Message, Address::Director, Address::Everyone);
        let mut bytes = Vec::new();
        for len in lens {
            frame::write(&mut bytes, &head, b"", &vec![*len as u8; *len]);
        }
        bytes
    }

    fn parcel() -> SharedParcel {
        Arc::new(std::fs::File::open("/dev/null").unwrap().into())
    }

    /// Takes all out in steps; answers with the bytes and where parcels went along.
    fn drain(backlog: &mut Backlog, step: usize) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut parcels) = (Vec::new(), Vec::new());
        while let Some((front, parcel)) = backlog.front() {
            if parcel.is_some() {
                parcels.push(bytes.len());
            }
            let len = front.len().min(step);
            bytes.extend_from_slice(&front[..len]);
            backlog.advance(len);
        }
        (bytes, parcels)
    }

    #[test]
    fn what_goes_in_comes_out_in_order_in_any_steps() {
        for step in [1, 3, 50, 1 << 20] {
            let (a, b, c) = (frames(&[10, 20]), frames(&[8]), frames(&[30_000, 30_000, 30_000]));
            let mut backlog = Backlog::default();
            backlog.push(&a, 55, None);
            backlog.push(&b, 0, Some(&parcel()));
            backlog.push(&c, 0, None);
            backlog.push(&b, 0, Some(&parcel()));
            let whole = [&a[55..], &b, &c, &b].concat();
            assert_eq!(backlog.len(), whole.len());
            let (bytes, parcels) = drain(&mut backlog, step);
            assert_eq!(bytes, whole);
            assert_eq!(parcels, [a.len() - 55, whole.len() - b.len()]);
            assert!(backlog.is_empty() && backlog.chunks.is_empty() && backlog.parcels.is_empty());
        }
    }

    #[test]
    fn what_is_saved_are_the_whole_frames() {
        let (a, b) = (frames(&[10, 20, 30]), frames(&[8, 40]));
        for written in 0..a.len() {
            for more in 0..a.len() - written + b.len() {
                let mut backlog = Backlog::default();
                backlog.push(&a, written, None);
                backlog.push(&b, 0, Some(&parcel()));
                let mut left = more;
                while left > 0 {
                    let len = backlog.front().unwrap().0.len().min(left);
                    backlog.advance(len);
                    left -= len;
                }
                let mut saved = Vec::new();
                backlog.salvage(|frame, parcel| saved.push((frame.body.len(), parcel.is_some())));
                // Where each frame starts in the stream of both; what starts at or after the end of what was
                // written is whole.
                let starts = [(0, 10), (50, 20), (110, 30), (180, 8), (228, 40)];
                let whole: Vec<_> = starts
                    .iter()
                    .filter(|(at, _)| *at >= written + more)
                    .map(|(_, len)| (*len, *len == 8))
                    .collect();
                assert_eq!(saved, whole, "{written} and {more} bytes written");
            }
        }
    }
}
