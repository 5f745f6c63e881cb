//! What fuzz targets call: bytes from anywhere against what must not believe them.
//!
//! Each function takes any bytes and panics where a promise is broken. Compiled for `fuzz/`, and for the unit
//! tests, which throw random bytes at the same functions and keep what fuzzing has found.
mod control;
mod inbox;
mod message;
mod routing;

pub use control::control_frames;
pub use inbox::{inbox_frames, messages};
pub use message::message_frames;
pub use routing::routing;

use crate::id::{PeerId, Seat, Slot, WorkerId};
use crate::ipc::frame::{self, Address, Head, Kind};

/// Reads decisions off bytes; where there are none left, all are 0.
struct Dice<'a> {
    bytes: &'a [u8],
}

impl<'a> Dice<'a> {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    fn u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let taken = self.take(8);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes)
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(len.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }
}

/// Amounts that seem random and are the same in each run.
struct Amounts(u64);

impl Amounts {
    /// Nothing, all, or something between.
    fn up_to(&mut self, most: usize) -> usize {
        // xorshift64 (Marsaglia 2003): its state must not be 0.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        match self.0 % 4 {
            0 => 0,
            1 => most,
            _ => (self.0 >> 8) as usize % (most + 1),
        }
    }
}

fn worker(id: u64) -> PeerId {
    PeerId::Worker(WorkerId(id))
}

fn slot(slot: u16) -> Seat {
    Seat::Slot(Slot(slot))
}

/// An address, mostly of somebody who is there.
fn address(dice: &mut Dice<'_>) -> Address {
    let value = dice.u8();
    match value % 8 {
        0 | 1 => Address::Worker(WorkerId(u64::from(value / 8 % 6))),
        2 | 3 => Address::Slot(Slot(u16::from(value / 8 % 6))),
        4 => Address::Director,
        5 => Address::Others,
        6 => Address::Everyone,
        _ => Address::Exchange,
    }
}

/// Appends a frame that is one in most of its parts.
fn compose(dice: &mut Dice<'_>, from: Address, into: &mut Vec<u8>) {
    let start = into.len();
    let kinds = [
        Kind::Message,
        Kind::Ask,
        Kind::Answer,
        Kind::Refusal,
        Kind::Credit,
        Kind::Receipt,
        Kind::Notice,
        Kind::Report,
        Kind::Word,
        Kind::Leave,
        Kind::Survey,
    ];
    let head = Head {
        kind: kinds[usize::from(dice.u8()) % kinds.len()],
        from,
        to: address(dice),
        correlation: u64::from(dice.u8()),
        fingerprint: u64::from(dice.u8() % 2),
        parcel: false,
    };
    let (name, body) = (usize::from(dice.u8() % 8), usize::from(dice.u8()));
    let (name, body) = (dice.take(name), dice.take(body));
    // Long ones too, of few bytes of input.
    let times = if dice.u8() == 255 { 200 } else { 1 };
    frame::write(into, &head, name, &body.repeat(times));
    let mutation = dice.u8();
    if mutation >= 250 {
        frame::make_parcel(into, start, frame::HEAD + name.len(), dice.u64());
        frame::end(into, start);
    } else if mutation >= 240 {
        let at = start + usize::from(dice.u8()) % (into.len() - start);
        into[at] = dice.u8();
    }
}

/// A stream of frames, and of what is none.
fn stream(dice: &mut Dice<'_>, from: Address) -> Vec<u8> {
    let mut stream = Vec::new();
    while !dice.is_empty() && stream.len() < 1 << 20 {
        match dice.u8() {
            255 => {
                let len = usize::from(dice.u8());
                stream.extend_from_slice(dice.take(len));
            }
            254 => {
                let other = address(dice);
                compose(dice, other, &mut stream);
            }
            _ => compose(dice, from, &mut stream),
        }
    }
    stream
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::ipc::router::{Fault, Found, Router};

    /// Random inputs of many lengths; the same in each run.
    fn throw(seed: u64, inputs: u32, target: fn(&[u8])) {
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..inputs {
            let mut bytes = vec![0; random.usize(..600)];
            random.fill(&mut bytes);
            target(&bytes);
        }
    }

    #[test]
    fn random_bytes_break_no_promise() {
        throw(1, 300, message_frames);
        throw(2, 300, routing);
        throw(3, 300, control_frames);
        throw(4, 300, messages);
        throw(5, 50, inbox_frames);
    }

    /// Worker 1 writes one frame, in a cluster of two; how often something was written to worker 2 for it, and
    /// what came of it.
    fn route(head: &Head, body: &[u8]) -> (usize, Result<Vec<Found>, Fault>) {
        let (mut router, mut bytes, mut found) = (Router::new(false, 2), Vec::new(), Vec::new());
        for id in [1, 2] {
            router.join(worker(id), slot(id as u16 - 1), &mut |_, bytes, _| bytes.len());
        }
        frame::write(&mut bytes, head, b"Said", body);
        let mut written = 0;
        let mut sink = |peer, bytes: &[u8], _: Option<&_>| {
            written += usize::from(peer == worker(2));
            bytes.len()
        };
        let fd = std::fs::File::open("/dev/null").unwrap().into();
        let mut parcels = VecDeque::from_iter(head.parcel.then_some(fd));
        let routed = router.route(worker(1), &bytes, &mut parcels, &mut sink, &mut found);
        (written, routed.map(|_| found))
    }

    #[test]
    fn garbage_in_a_frame_of_the_systems_own_is_its_senders_fault() {
        for kind in [Kind::Credit, Kind::Refusal] {
            let head = Head::system(kind, worker(1).into(), worker(2).into());
            let (written, routed) = route(&head, &[0xff; 20]);
            assert!(matches!(routed, Err(Fault::Body { .. })), "{routed:?}");
            assert_eq!(written, 0, "{kind:?}: the receiver would have left for it");
        }
    }

    #[test]
    fn a_parcel_that_claims_all_there_is_has_a_size_all_the_same() {
        let mut head = Head::system(Kind::Message, worker(1).into(), worker(9).into());
        head.parcel = true;
        let (_, routed) = route(&head, &u64::MAX.to_le_bytes());
        let found = routed.unwrap();
        assert!(matches!(&found[..], [Found::Undelivered(what)] if what.size == u64::MAX), "{found:?}");
    }

    #[test]
    fn what_is_told_of_a_message_stays_one_line() {
        let undelivered = crate::ipc::notice::Undelivered {
            from: None,
            type_name: "Said\ncluster: all is well".into(),
            size: 1,
            count: 1,
            reason: "x".repeat(10_000) + "\u{1b}[2J",
        };
        let mut bytes = Vec::new();
        let head = Head::system(Kind::Report, worker(1).into(), Address::Exchange);
        crate::ipc::notice::write(&mut bytes, &head, &undelivered);
        let body = frame::read(&bytes).unwrap().unwrap().body.to_vec();
        let found = route(&head, &body).1.unwrap();
        let [Found::Undelivered(what)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((what.type_name.as_str(), what.reason.len()), ("Said\u{fffd}cluster: all is well", 300));
    }

    #[test]
    fn slots_that_never_were_leave_no_trace() {
        let mut router = Router::new(false, 1);
        router.join(worker(1), slot(0), &mut |_, bytes, _| bytes.len());
        let mut bytes = Vec::new();
        for number in 1..1000 {
            frame::write(
                &mut bytes,
                &Head::system(Kind::Message, worker(1).into(), Address::Slot(Slot(number))),
                b"",
                b"",
            );
        }
        let (mut found, mut told) = (Vec::new(), 0);
        router
            .route(worker(1), &bytes, &mut VecDeque::new(), &mut |_, bytes, _| bytes.len(), &mut found)
            .unwrap();
        assert_eq!(found.len(), 999);
        router.set_slots(2, &mut |_, bytes, _| {
            told += 1;
            bytes.len()
        });
        assert_eq!(told, 1, "one word of the number of slots, none of places that nobody had");
    }
}
