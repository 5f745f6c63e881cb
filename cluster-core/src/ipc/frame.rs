//! Frames: what the message sockets carry. Pure: bytes in, bytes out.
//!
//! ```text
//!  0 length of what follows it   u32        24 correlation          u64
//!  4 version                     u8         32 fingerprint of type  u64
//!  5 kind                        u8         40 name of type         as long as said
//!  6 flags                       u8            body                 the rest
//!  7 length of the name          u8
//!  8 from                        u64        All numbers little-endian. A body that travels as a
//! 16 to                          u64        parcel (a descriptor) is its length here, 8 bytes.
//! ```
use serde::{Deserialize, Serialize};

use crate::id::{PeerId, Seat, Slot, WorkerId};

/// Grows with every change of this layout.
pub(crate) const VERSION: u8 = 1;
/// The part before the name.
pub(crate) const HEAD: usize = 40;
/// Longer bodies travel as parcels.
pub(crate) const MAX_INLINE: usize = 128 * 1024;
/// No frame in the stream is longer.
pub(crate) const MAX_FRAME: usize = HEAD + u8::MAX as usize + MAX_INLINE;

const PARCEL: u8 = 1;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message of the user's.
    Message,
    /// A question.
    Ask,
    /// The answer to a question.
    Answer,
    /// There will be no answer, and why.
    Refusal,
    /// The receiver has taken so much of what was sent to it.
    Credit,
    /// How many a broadcast has reached.
    Receipt,
    /// The exchange tells who comes and goes.
    Notice,
    /// A process tells the exchange what it could not deliver.
    Report,
    /// The primary and the director, in the words of the control protocol.
    Word,
    /// A process asks for this word to come back behind all that is on the way to it.
    Mark,
    /// A process takes no more messages and waits for what is on the way; the exchange answers with the same
    /// after the last of it.
    Leave,
    /// A process asks how the cluster stands, and the exchange answers, in pieces.
    Survey,
}

impl Kind {
    const ALL: [Kind; 12] = [
        Kind::Message,
        Kind::Ask,
        Kind::Answer,
        Kind::Refusal,
        Kind::Credit,
        Kind::Receipt,
        Kind::Notice,
        Kind::Report,
        Kind::Word,
        Kind::Mark,
        Kind::Leave,
        Kind::Survey,
    ];
}

/// Who a frame is for, or from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Address {
    Worker(WorkerId),
    Slot(Slot),
    /// Whoever is the director.
    Director,
    /// The director of this number: what comes back goes to who asked, and not to its successor.
    ThisDirector(u64),
    /// All workers but the sender.
    Others,
    Everyone,
    /// The primary itself.
    Exchange,
}

impl Address {
    const VALUE: u64 = (1 << 56) - 1;

    fn code(self) -> u64 {
        let (tag, value) = match self {
            Address::Worker(id) => (0, id.0),
            Address::Slot(slot) => (1, u64::from(slot.0)),
            Address::Director => (2, 0),
            Address::Others => (3, 0),
            Address::Everyone => (4, 0),
            Address::Exchange => (5, 0),
            Address::ThisDirector(number) => (6, number),
        };
        tag << 56 | value & Self::VALUE
    }

    fn decode(code: u64) -> Option<Self> {
        let value = code & Self::VALUE;
        Some(match (code >> 56, value) {
            (0, id) => Address::Worker(WorkerId(id)),
            (1, slot) => Address::Slot(Slot(u16::try_from(slot).ok()?)),
            (2, 0) => Address::Director,
            (3, 0) => Address::Others,
            (4, 0) => Address::Everyone,
            (5, 0) => Address::Exchange,
            (6, number) => Address::ThisDirector(number),
            _ => return None,
        })
    }

    /// Whether it names one process at the most.
    pub(crate) fn is_one(self) -> bool {
        match self {
            Address::Worker(_)
            | Address::Slot(_)
            | Address::Director
            | Address::ThisDirector(_)
            | Address::Exchange => true,
            Address::Others | Address::Everyone => false,
        }
    }
}

impl From<PeerId> for Address {
    fn from(peer: PeerId) -> Self {
        match peer {
            PeerId::Worker(id) => Address::Worker(id),
            PeerId::Director(number) => Address::ThisDirector(number),
        }
    }
}

impl From<Seat> for Address {
    fn from(seat: Seat) -> Self {
        match seat {
            Seat::Slot(slot) => Address::Slot(slot),
            Seat::Director => Address::Director,
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Worker(id) => write!(f, "worker {id}"),
            Address::Slot(slot) => write!(f, "the worker of slot {slot}"),
            Address::Director | Address::ThisDirector(_) => f.write_str("the director"),
            Address::Others => f.write_str("all other workers"),
            Address::Everyone => f.write_str("all workers"),
            Address::Exchange => f.write_str("the primary"),
        }
    }
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) correlation: u64,
    pub(crate) fingerprint: u64,
    /// The body comes as a descriptor.
    pub(crate) parcel: bool,
}

impl Head {
    /// A frame of the system's own, without a type.
    pub(crate) fn system(kind: Kind, from: Address, to: Address) -> Self {
        Self { kind, from, to, correlation: 0, fingerprint: 0, parcel: false }
    }
}

/// A whole frame, in somebody's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) head: Head,
    pub(crate) name: &'a [u8],
    pub(crate) body: &'a [u8],
    /// All of it, as it goes on.
    pub(crate) bytes: &'a [u8],
}

impl Frame<'_> {
    /// Its length, and for a parcel that of the body.
    pub(crate) fn size(&self) -> u64 {
        let parcel = if self.head.parcel { self.parcel_len().unwrap_or(0) } else { 0 };
        // The length is the sender's word.
        parcel.saturating_add(self.bytes.len() as u64)
    }

    /// How long the body of a parcel is, as its sender says.
    pub(crate) fn parcel_len(&self) -> Option<u64> {
        self.body.try_into().ok().map(u64::from_le_bytes)
    }
}

/// Bytes that are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of version {0}, where {VERSION} is spoken")]
    Version(u8),
    #[error("a frame of {0} bytes, where {min} to {MAX_FRAME} are possible", min = HEAD)]
    Length(usize),
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    #[error("a frame with an address that means nothing: {0:#x}")]
    Address(u64),
    #[error("a frame whose name is longer than the frame")]
    Name,
    #[error("a frame with unknown flags {0:#x}")]
    Flags(u8),
    #[error("a parcel whose length is not given")]
    Parcel,
}

/// Appends a frame and answers with its length. The body must fit: `MAX_INLINE` bytes, the name 255.
pub(crate) fn write(into: &mut Vec<u8>, head: &Head, name: &[u8], body: &[u8]) -> usize {
    let start = into.len();
    begin(into, head, name);
    into.extend_from_slice(body);
    end(into, start);
    into.len() - start
}

/// Appends the head and the name of a frame whose body is appended next, up to `end`.
pub(crate) fn begin(into: &mut Vec<u8>, head: &Head, name: &[u8]) {
    debug_assert!(name.len() <= usize::from(u8::MAX));
    let kind = Kind::ALL.iter().position(|kind| *kind == head.kind).expect("every kind is listed");
    let mut start = [0; HEAD];
    start[4..8].copy_from_slice(&[VERSION, kind as u8, u8::from(head.parcel) * PARCEL, name.len() as u8]);
    start[8..16].copy_from_slice(&head.from.code().to_le_bytes());
    start[16..24].copy_from_slice(&head.to.code().to_le_bytes());
    start[24..32].copy_from_slice(&head.correlation.to_le_bytes());
    start[32..].copy_from_slice(&head.fingerprint.to_le_bytes());
    into.extend_from_slice(&start);
    into.extend_from_slice(name);
}

/// The frame that began at `start` is whole.
pub(crate) fn end(into: &mut [u8], start: usize) {
    let len = into.len() - start;
    debug_assert!(len <= MAX_FRAME);
    into[start..start + 4].copy_from_slice(&((len - 4) as u32).to_le_bytes());
}

/// Gives the frame that began at `start` its correlation, which is known only when it goes out.
pub(crate) fn correlate(frame: &mut [u8], correlation: u64) {
    frame[24..32].copy_from_slice(&correlation.to_le_bytes());
}

/// Turns the frame that began at `start` and whose body has `body` bytes after `start` into one whose body
/// travels as a parcel of `len` bytes.
pub(crate) fn make_parcel(into: &mut Vec<u8>, start: usize, body: usize, len: u64) {
    into.truncate(start + body);
    into[start + 6] |= PARCEL;
    into.extend_from_slice(&len.to_le_bytes());
}

/// The first frame in `bytes`; `None` where it is not all there yet.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    let Some(len) = bytes.first_chunk::<4>() else { return Ok(None) };
    // Judged at once: nobody waits for the end of a frame that cannot be.
    let len = (u32::from_le_bytes(*len) as usize).saturating_add(4);
    if !(HEAD..=MAX_FRAME).contains(&len) {
        return Err(FrameError::Length(len));
    }
    match bytes.get(4) {
        Some(&VERSION) | None => {}
        Some(&version) => return Err(FrameError::Version(version)),
    }
    // Of a known length: no look at it is checked for its bounds.
    let Some((start, rest)) = bytes.get(..len).and_then(|bytes| bytes.split_first_chunk::<HEAD>()) else {
        return Ok(None);
    };
    let number = |at: usize| u64::from_le_bytes(start[at..at + 8].try_into().expect("8 bytes are 8 bytes"));
    let address = |at: usize| Address::decode(number(at)).ok_or_else(|| FrameError::Address(number(at)));
    let [kind, flags, name_len] = [start[5], start[6], start[7]];
    let kind = *Kind::ALL.get(usize::from(kind)).ok_or(FrameError::Kind(kind))?;
    if flags & !PARCEL != 0 {
        return Err(FrameError::Flags(flags));
    }
    let (name, body) = rest.split_at_checked(usize::from(name_len)).ok_or(FrameError::Name)?;
    let parcel = flags & PARCEL != 0;
    if parcel && body.len() != 8 {
        return Err(FrameError::Parcel);
    }
    let head = Head {
        kind,
        from: address(8)?,
        to: address(16)?,
        correlation: number(24),
        fingerprint: number(32),
        parcel,
    };
    Ok(Some(Frame { head, name, body, bytes: &bytes[..len] }))
}

/// Collects what a stream brings until whole frames are there.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    buf: Vec<u8>,
    /// What is filled and not taken yet.
    start: usize,
    end: usize,
}

impl Collector {
    /// Room for several frames: one read brings many small ones.
    const ROOM: usize = 2 * MAX_FRAME;

    /// Where the next bytes of the stream go; report them by `filled`.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        if self.buf.is_empty() {
            self.buf = vec![0; Self::ROOM];
        }
        // What is left is less than one frame, or nothing has been taken since.
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buf.len() - self.end < MAX_FRAME {
            self.buf.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buf[self.end..]
    }

    /// So many bytes of the spare room hold something now.
    pub(crate) fn filled(&mut self, len: usize) {
        self.end += len;
        debug_assert!(self.end <= self.buf.len());
    }

    /// All that is there and not taken.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// So many bytes have been dealt with.
    pub(crate) fn take(&mut self, len: usize) {
        self.start += len;
        debug_assert!(self.start <= self.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            kind: Kind::Message,
            from: Address::Worker(WorkerId(7)),
            to: Address::Slot(Slot(3)),
            correlation: 9,
            fingerprint: 0xfeed,
            parcel: false,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let addresses = [
            Address::Worker(WorkerId(1)),
            Address::Slot(Slot(u16::MAX)),
            Address::Director,
            Address::ThisDirector(3),
            Address::Others,
            Address::Everyone,
            Address::Exchange,
        ];
        for kind in Kind::ALL {
            for to in addresses {
                let head = Head { kind, to, ..head() };
                let mut bytes = Vec::new();
                let len = write(&mut bytes, &head, b"Said", b"hello");
                let frame = read(&bytes).unwrap().unwrap();
                assert_eq!((frame.head, frame.name, frame.body), (head, &b"Said"[..], &b"hello"[..]));
                assert_eq!((frame.bytes.len(), len), (bytes.len(), bytes.len()));
            }
        }
    }

    #[test]
    fn a_frame_in_pieces_is_no_frame_until_its_last_byte() {
        let mut bytes = Vec::new();
        write(&mut bytes, &head(), b"Said", &[1; 100]);
        for len in 0..bytes.len() {
            assert_eq!(read(&bytes[..len]), Ok(None), "{len}");
        }
    }

    #[test]
    fn what_cannot_be_a_frame_is_refused_at_its_head() {
        let mut good = Vec::new();
        write(&mut good, &head(), b"Said", b"hello");
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            read(&bytes).map(|frame| frame.is_some())
        };
        assert_eq!(with(4, 9), Err(FrameError::Version(9)));
        assert_eq!(with(5, 99), Err(FrameError::Kind(99)));
        assert_eq!(with(6, 2), Err(FrameError::Flags(2)));
        assert_eq!(with(6, 1), Err(FrameError::Parcel), "5 bytes are no length");
        assert_eq!(with(7, 200), Err(FrameError::Name));
        assert!(matches!(with(15, 77), Err(FrameError::Address(_))));
        assert!(matches!(with(23, 77), Err(FrameError::Address(_))));
        assert!(matches!(with(3, 0xff), Err(FrameError::Length(_))), "a huge length");
        assert_eq!(read(&[3, 0, 0, 0]), Err(FrameError::Length(7)));
        assert_eq!(read(&[0xff; 4]), Err(FrameError::Length(u32::MAX as usize + 4)));
    }

    #[test]
    fn a_stream_cut_anywhere_brings_the_same_frames() {
        let mut stream = Vec::new();
        for len in [0, 1, 1000, MAX_INLINE, 3, MAX_INLINE, 17] {
            write(&mut stream, &head(), b"Said", &vec![len as u8; len]);
        }
        for step in [1, 7, 4096, usize::MAX] {
            let (mut collector, mut bodies, mut rest) = (Collector::default(), Vec::new(), &stream[..]);
            while !rest.is_empty() {
                let spare = collector.spare();
                let len = rest.len().min(step).min(spare.len());
                spare[..len].copy_from_slice(&rest[..len]);
                collector.filled(len);
                rest = &rest[len..];
                while let Some(frame) = read(collector.bytes()).unwrap() {
                    let len = frame.bytes.len();
                    bodies.push(frame.body.len());
                    collector.take(len);
                }
            }
            assert_eq!(bodies, [0, 1, 1000, MAX_INLINE, 3, MAX_INLINE, 17]);
            assert!(collector.bytes().is_empty());
        }
    }
}
