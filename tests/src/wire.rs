//! The wire format of messages, written a second time: so that tests can break it on purpose.
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// Writes in one piece, with descriptors.
pub fn write(socket: &OwnedFd, bytes: &[u8], fds: &[&OwnedFd]) -> io::Result<()> {
    let raw: Vec<_> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let rights = if fds.is_empty() { &[][..] } else { &rights[..] };
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// What a frame is for, as its byte says.
pub mod kind {
    /// A message of the user's.
    pub const MESSAGE: u8 = 0;
    /// A question.
    pub const ASK: u8 = 1;
    /// No answer.
    pub const REFUSAL: u8 = 3;
    /// So much has been taken.
    pub const CREDIT: u8 = 4;
    /// Who comes and goes: the primary's alone.
    pub const NOTICE: u8 = 6;
    /// What could not be delivered.
    pub const REPORT: u8 = 7;
    /// The director's and the primary's.
    pub const WORD: u8 = 8;
    /// No more messages.
    pub const LEAVE: u8 = 10;
}

/// The address of whoever is the director.
pub const DIRECTOR: u64 = 2 << 56;
/// The address of all workers but the sender.
pub const OTHERS: u64 = 3 << 56;
/// The primary's address.
pub const EXCHANGE: u64 = 5 << 56;

/// The address of the director of this number.
pub fn director(number: u64) -> u64 {
    6 << 56 | number
}

/// A worker's address.
pub fn worker(id: u64) -> u64 {
    id
}

/// The address of a slot's worker.
pub fn slot(slot: u16) -> u64 {
    1 << 56 | u64::from(slot)
}

/// A frame, any part of which may be wrong.
#[derive(Debug, Clone)]
pub struct Frame {
    /// 1 is spoken.
    pub version: u8,
    /// See [`kind`].
    pub kind: u8,
    /// 1: its body is a descriptor.
    pub flags: u8,
    /// Who sends it.
    pub from: u64,
    /// For whom it is.
    pub to: u64,
    /// The name of the type.
    pub name: &'static str,
    /// The rest.
    pub body: Vec<u8>,
}

impl Frame {
    /// A frame with nothing wrong in it.
    pub fn new(kind: u8, from: u64, to: u64) -> Self {
        Self { version: 1, kind, flags: 0, from, to, name: "Nonsense", body: Vec::new() }
    }

    /// As a parcel of so many bytes.
    pub fn parcel(self, len: u64) -> Self {
        Self { flags: 1, body: len.to_le_bytes().to_vec(), ..self }
    }

    /// With this body.
    pub fn body(self, body: &[u8]) -> Self {
        Self { body: body.to_vec(), ..self }
    }

    /// As it goes over the socket.
    pub fn bytes(&self) -> Vec<u8> {
        let len = 36 + self.name.len() + self.body.len();
        let mut bytes = (len as u32).to_le_bytes().to_vec();
        bytes.extend([self.version, self.kind, self.flags, self.name.len() as u8]);
        for number in [self.from, self.to, 0, 0] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.name.as_bytes());
        bytes.extend(&self.body);
        bytes
    }
}

/// What a seed makes of sound frames: bytes changed, lengths, pieces missing and pieces twice. Then noise, so that
/// it is never sound as a whole.
pub fn mutated(frames: &[Frame], seed: u64) -> Vec<Vec<u8>> {
    let mut dice = Dice(seed);
    let mut all: Vec<Vec<u8>> = (0..20)
        .map(|_| {
            let bytes = frames[dice.below(frames.len())].bytes();
            mutate(bytes, &mut dice)
        })
        .collect();
    all.push(vec![0xaa; 5000]);
    all
}

fn mutate(mut bytes: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    let at = dice.below(bytes.len());
    match dice.below(8) {
        0 => bytes.truncate(at),
        1 => bytes.extend_from_within(at..),
        2 => bytes[..4].copy_from_slice(&(dice.next() as u32).to_le_bytes()),
        3 => bytes[..4].copy_from_slice(&(at as u32).to_le_bytes()),
        // As it was: what is wrong comes in the midst of what is not.
        4 => {}
        _ => (0..=dice.below(4)).for_each(|_| {
            let at = dice.below(bytes.len());
            bytes[at] = dice.next() as u8;
        }),
    }
    bytes
}

/// A small generator (splitmix64): a seed that has found something finds it again.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
