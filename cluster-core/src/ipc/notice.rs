//! The bodies of the system's own frames.
use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::id::{PeerId, Seat, WorkerId};
use crate::ipc::frame::{self, Address, Frame, Head, Kind};
use crate::ipc::{codec, control};

/// Who comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Notice {
    /// It can be written to; it has the seat from now on.
    Joined { peer: PeerId, seat: Seat },
    /// It can be written to; the seat is another's until it is told as joined.
    Beside { peer: PeerId, seat: Seat },
    /// It is no more, and what it has not taken is lost.
    Gone { peer: PeerId, seat: Seat },
    /// Nobody has the seat, and nobody will.
    Vacant { seat: Seat },
    /// There are so many slots.
    Slots(u16),
}

/// So much of what was sent to `to` has been taken; what its sender had called it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Credit {
    pub(crate) to: Address,
    pub(crate) weight: Weight,
}

/// What is on the way, or may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Weight {
    pub(crate) frames: u64,
    /// In the stream.
    pub(crate) bytes: u64,
    /// In parcels.
    pub(crate) parcels: u64,
}

impl Weight {
    /// A small parcel weighs as much as this: it takes a descriptor in each process on its way.
    pub(crate) const PARCEL: u64 = 2 << 20;

    /// Of one frame, and the parcel that goes with it.
    pub(crate) fn of(frame: usize, parcel: Option<u64>) -> Self {
        let parcels = parcel.map_or(0, |len| len.max(Self::PARCEL));
        Self { frames: 1, bytes: frame as u64, parcels }
    }

    pub(crate) fn of_frame(frame: &Frame<'_>) -> Self {
        Self::of(frame.bytes.len(), if frame.head.parcel { frame.parcel_len() } else { None })
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.frames = self.frames.saturating_add(other.frames);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.parcels = self.parcels.saturating_add(other.parcels);
    }

    /// Never below nothing: what was forgotten at somebody's end may be given back all the same.
    pub(crate) fn sub(&mut self, other: Self) {
        self.frames = self.frames.saturating_sub(other.frames);
        self.bytes = self.bytes.saturating_sub(other.bytes);
        self.parcels = self.parcels.saturating_sub(other.parcels);
    }
}

/// Why there will be no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// The handler's own error.
    Failed(String),
    NoHandler,
    Gone,
    /// Who was asked takes nothing, and no more may wait for it.
    Full,
    /// The question, or its answer, could not be carried.
    Unreadable(String),
}

impl Refusal {
    /// The handler's own error, whose text may be of any length: a frame's is not.
    pub(crate) fn failed(why: impl Display) -> Self {
        Refusal::Failed(control::text(why))
    }

    /// As [`failed`](Self::failed), for what cannot be read or written.
    pub(crate) fn unreadable(why: impl Display) -> Self {
        Refusal::Unreadable(control::text(why))
    }
}

/// Whom a broadcast has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) reached: u32,
    pub(crate) missed: u32,
}

/// Messages that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Undelivered {
    /// None: the director.
    pub(crate) from: Option<WorkerId>,
    pub(crate) type_name: String,
    /// Of the last of them, in bytes.
    pub(crate) size: u64,
    pub(crate) count: u64,
    pub(crate) reason: String,
}

impl Undelivered {
    /// One message. The texts may be of any length: a frame's are not.
    pub(crate) fn one(from: Option<WorkerId>, type_name: &str, size: u64, reason: impl Display) -> Self {
        Self { from, type_name: control::text(type_name), size, count: 1, reason: control::text(reason) }
    }

    /// As it may be shown: names and reasons are the senders'.
    pub(crate) fn printable(self) -> Self {
        let (type_name, reason) = (printable(&self.type_name), printable(&self.reason));
        Self { type_name, reason, ..self }
    }
}

/// A text of somebody else's that stays one line, and not a long one.
pub(crate) fn printable(text: &str) -> String {
    /// Names of types are shorter, and so are our own reasons.
    const MOST: usize = 300;
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().take(MOST).map(shown).collect()
}

/// Appends a frame of the system's own. Bodies are small; one that is too long all the same is left out.
pub(crate) fn write<T: Serialize>(into: &mut Vec<u8>, head: &Head, body: &T) {
    let start = into.len();
    frame::begin(into, head, b"");
    match codec::append(body, into) {
        Ok(()) => frame::end(into, start),
        Err(err) => {
            into.truncate(start);
            crate::event::warn(&format!("a {:?} frame could not be written: {err}", head.kind));
        }
    }
}

/// A notice from the exchange.
pub(crate) fn write_notice(into: &mut Vec<u8>, to: PeerId, notice: Notice) {
    write(into, &Head::system(Kind::Notice, Address::Exchange, to.into()), &notice);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Slot;

    /// What is read of it where it arrives.
    fn arrives<T: Serialize + serde::de::DeserializeOwned>(body: &T) -> T {
        let head = Head::system(Kind::Refusal, Address::Exchange, Address::Slot(Slot(0)));
        let mut bytes = Vec::new();
        write(&mut bytes, &head, body);
        let frame = frame::read(&bytes).unwrap().expect("it was written");
        codec::decode(frame.body).unwrap()
    }

    #[test]
    fn texts_of_any_length_arrive_cut() {
        let long = "ä".repeat(codec::MAX_ENCODED);
        for refusal in [Refusal::failed(&long), Refusal::unreadable(&long)] {
            let (Refusal::Failed(why) | Refusal::Unreadable(why)) = arrives(&refusal) else {
                panic!("it stays what it is")
            };
            assert_eq!(why, "ä".repeat(2048));
        }
        let undelivered = arrives(&Undelivered::one(None, &long, 3, &long));
        assert_eq!((undelivered.type_name, undelivered.reason), ("ä".repeat(2048), "ä".repeat(2048)));
        assert_eq!(arrives(&Refusal::failed("short")), Refusal::Failed("short".to_owned()));
    }
}
