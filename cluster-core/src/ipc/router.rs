//! Who gets which frame. Pure: frames come in as bytes, and go out through a function that writes.
//!
//! Frames are routed by their heads and never decoded; what is there of a stream and has one destination goes
//! out as one piece. What its socket does not take waits in a backlog. There is little of it: senders keep to
//! windows (`window.rs`), and a process that does not is not read any further.
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::id::{PeerId, Seat, WorkerId};
use crate::ipc::backlog::{Backlog, SharedParcel};
use crate::ipc::codec;
use crate::ipc::frame::{self, Address, Frame, FrameError, Head, Kind};
use crate::ipc::notice::{self, Credit, Notice, Receipt, Refusal, Undelivered, Weight};
use crate::ipc::window::Limits;

/// So many bytes wait for places to be taken. A place whose processes never last frees its senders' windows at
/// each end; without this bound what waits for it would grow until nobody is read any more.
const MOST_HELD: usize = 16 << 20;
/// What waits for the socket of one process, and for all sockets together; of the latter each may have a little.
const MOST_FOR_ONE: usize = 24 << 20;
const MOST_FOR_ALL: usize = 36 << 20;
const ALWAYS_FOR_ONE: usize = 256 << 10;
const TAKES_NOTHING: &str = "it takes nothing, and as much as may wait for it does";

/// All who can be written to.
pub(crate) struct Router {
    ports: BTreeMap<PeerId, Port>,
    seats: BTreeMap<Seat, Place>,
    slots: u16,
    /// Bytes in all backlogs.
    waiting: usize,
    /// So many parcels may be in them: each is a descriptor of ours.
    pub(crate) most_parcels: usize,
}

/// A process as the router sees it.
struct Port {
    seat: Seat,
    backlog: Backlog,
    /// It takes messages: it has not said `Leave`.
    open: bool,
    /// Broadcasts that it has not taken yet.
    broadcasts: Weight,
}

/// A seat: who has it, and what waits for the next.
#[derive(Default)]
struct Place {
    holder: Option<PeerId>,
    held: Backlog,
    /// Nobody will have it.
    vacant: bool,
}

/// Writes to a process's socket: how much of it was taken, without waiting.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(PeerId, &[u8], Option<&SharedParcel>) -> usize;

/// What routing brought up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A word of the director's, encoded.
    Word(Vec<u8>),
    Undelivered(Undelivered),
}

/// Why a process is not read any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a frame in the name of {0}")]
    Forged(Address),
    #[error("a {kind:?} frame to {to}")]
    Misdirected { kind: Kind, to: Address },
    #[error("the body of a {kind:?} frame: {why}")]
    Body { kind: Kind, why: String },
    #[error("{0}")]
    Descriptors(&'static str),
}

/// A stretch of frames that go the same way.
struct Run {
    way: Way,
    start: usize,
    end: usize,
    /// Of its first frame; none of the others has one.
    parcel: Option<SharedParcel>,
    /// The single frames of a broadcast: each has a receipt of its own.
    each: Vec<Broadcast>,
}

/// Where frames go that need no treatment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    To(PeerId),
    /// To all workers, or all but the sender.
    Many {
        others: bool,
    },
}

/// One frame of a broadcast.
struct Broadcast {
    /// Where it ends in the input.
    end: usize,
    weight: Weight,
    correlation: u64,
    receipt: Receipt,
}

impl Router {
    pub(crate) fn new(director: bool, slots: u16) -> Self {
        let mut router = Self {
            ports: BTreeMap::new(),
            seats: BTreeMap::new(),
            slots,
            waiting: 0,
            most_parcels: usize::MAX,
        };
        if !director {
            router.seats.insert(Seat::Director, Place { vacant: true, ..Place::default() });
        }
        router
    }

    /// Bytes that wait for sockets, or for seats to be taken.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Bytes that wait for this process's socket, or for the seat's next.
    pub(crate) fn waiting_for(&self, seat: Seat) -> usize {
        self.seats.get(&seat).map_or(0, |place| match place.holder.and_then(|peer| self.ports.get(&peer)) {
            Some(port) => port.backlog.len(),
            None => place.held.len(),
        })
    }

    /// Bytes that wait for this process's socket.
    pub(crate) fn waiting_of(&self, peer: PeerId) -> usize {
        self.ports.get(&peer).map_or(0, |port| port.backlog.len())
    }

    /// Parcels in all backlogs: each may be a descriptor of ours.
    pub(crate) fn parcels(&self) -> usize {
        let held = self.seats.values().map(|place| place.held.parcels());
        held.chain(self.ports.values().map(|port| port.backlog.parcels())).sum()
    }

    /// What waits for this process's socket.
    pub(crate) fn front(&self, peer: PeerId) -> Option<(&[u8], Option<&SharedParcel>)> {
        self.ports.get(&peer)?.backlog.front()
    }

    /// So many bytes of `front` are written.
    pub(crate) fn advance(&mut self, peer: PeerId, len: usize) {
        if let Some(port) = self.ports.get_mut(&peer) {
            port.backlog.advance(len);
            self.waiting -= len;
        }
    }

    // ----- who comes and goes

    /// From now on `peer` has the seat, and what waits for it is its.
    pub(crate) fn join(&mut self, peer: PeerId, seat: Seat, sink: Sink<'_>) {
        let mut first = Vec::new();
        notice::write_notice(&mut first, peer, Notice::Slots(self.slots));
        for (other, port) in &self.ports {
            notice::write_notice(&mut first, peer, Notice::Joined { peer: *other, seat: port.seat });
        }
        for (seat, _) in self.seats.iter().filter(|(_, place)| place.vacant) {
            notice::write_notice(&mut first, peer, Notice::Vacant { seat: *seat });
        }
        let port = Port { seat, backlog: Backlog::default(), open: true, broadcasts: Weight::default() };
        self.ports.insert(peer, port);
        self.deliver(peer, &first, None, sink);
        // It is told of itself as well: it may send to itself.
        self.tell_all(Notice::Joined { peer, seat }, sink);
        let place = self.seats.entry(seat).or_default();
        place.holder = Some(peer);
        place.vacant = false;
        let held = std::mem::take(&mut place.held);
        self.waiting -= held.len();
        held.salvage(|frame, parcel| self.deliver(peer, frame.bytes, parcel.as_ref(), sink));
    }

    /// The process is no more. What it has not taken and was for its seat waits for the next there.
    pub(crate) fn leave(&mut self, peer: PeerId, sink: Sink<'_>) -> Vec<Undelivered> {
        let Some(port) = self.ports.remove(&peer) else { return Vec::new() };
        self.waiting -= port.backlog.len();
        self.leave_seat(peer, port.seat);
        let mut lost = Vec::new();
        port.backlog.salvage(|frame, parcel| self.salvage(frame, parcel, sink, &mut lost));
        self.tell_all(Notice::Gone { peer, seat: port.seat }, sink);
        lost
    }

    /// Nobody will have the seat any more.
    pub(crate) fn vacate(&mut self, seat: Seat, sink: Sink<'_>) -> Vec<Undelivered> {
        let place = self.seats.entry(seat).or_default();
        if place.holder.is_some() || std::mem::replace(&mut place.vacant, true) {
            return Vec::new();
        }
        let held = std::mem::take(&mut place.held);
        self.waiting -= held.len();
        let mut lost = Vec::new();
        held.salvage(|frame, _| lost.extend(undelivered(&frame, "nobody has its place any more")));
        self.tell_all(Notice::Vacant { seat }, sink);
        lost
    }

    /// There are so many slots; answers with what was for those that are no more.
    pub(crate) fn set_slots(&mut self, slots: u16, sink: Sink<'_>) -> Vec<Undelivered> {
        self.slots = slots;
        self.tell_all(Notice::Slots(slots), sink);
        let gone: Vec<Seat> = self.seats.keys().copied().filter(|seat| !self.is_known(*seat)).collect();
        gone.into_iter().flat_map(|seat| self.vacate(seat, sink)).collect()
    }

    fn is_known(&self, seat: Seat) -> bool {
        match seat {
            Seat::Slot(slot) => slot.0 < self.slots,
            Seat::Director => true,
        }
    }

    fn leave_seat(&mut self, peer: PeerId, seat: Seat) {
        if let Some(place) = self.seats.get_mut(&seat).filter(|place| place.holder == Some(peer)) {
            place.holder = None;
        }
    }

    fn salvage(
        &mut self,
        frame: Frame<'_>,
        parcel: Option<SharedParcel>,
        sink: Sink<'_>,
        lost: &mut Vec<Undelivered>,
    ) {
        match (frame.head.kind, frame.head.to) {
            // It may be the next one's, who joins later or has joined.
            (Kind::Message, Address::Slot(_) | Address::Director) | (Kind::Word, _) => {
                let Some(seat) = seat_of(frame.head.to) else { return };
                let to = self.holder(seat);
                match to {
                    Some(to) => self.deliver(to, frame.bytes, parcel.as_ref(), sink),
                    None => {
                        if let Err(reason) = self.hold(seat, &frame, parcel) {
                            lost.extend(undelivered(&frame, reason));
                        }
                    }
                }
            }
            (Kind::Message, _) => lost.extend(undelivered(&frame, "it has ended")),
            // Its asker hears of the end, and asks no more of this one.
            (Kind::Ask | Kind::Answer | Kind::Refusal, _) => {}
            (Kind::Credit | Kind::Receipt | Kind::Notice | Kind::Report | Kind::Mark | Kind::Leave, _) => {}
        }
    }

    fn tell_all(&mut self, notice: Notice, sink: Sink<'_>) {
        let all: Vec<PeerId> = self.ports.keys().copied().collect();
        for peer in all {
            let mut bytes = Vec::new();
            notice::write_notice(&mut bytes, peer, notice);
            self.deliver(peer, &bytes, None, sink);
        }
    }

    // ----- frames

    /// Routes the whole frames at the start of `input` and answers with their length. `parcels` are the
    /// descriptors that came with them, in order.
    pub(crate) fn route(
        &mut self,
        from: PeerId,
        input: &[u8],
        parcels: &mut VecDeque<OwnedFd>,
        sink: Sink<'_>,
        found: &mut Vec<Found>,
    ) -> Result<usize, Fault> {
        let mut run: Option<Run> = None;
        let mut at = 0;
        let fault = loop {
            let frame = match frame::read(&input[at..]) {
                Ok(Some(frame)) => frame,
                Ok(None) => break None,
                Err(err) => break Some(err.into()),
            };
            if frame.head.from != from.into() {
                break Some(Fault::Forged(frame.head.from));
            }
            if let Err(fault) = check(&frame) {
                break Some(fault);
            }
            let parcel = if frame.head.parcel { parcels.pop_front().map(Arc::new) } else { None };
            if frame.head.parcel && parcel.is_none() {
                break Some(Fault::Descriptors("a parcel came without its descriptor"));
            }
            let start = at;
            at += frame.bytes.len();
            let Some(way) = self.way_of(&frame) else {
                self.finish(from, run.take(), input, sink);
                match self.treat(from, &frame, parcel, sink, found) {
                    Ok(()) => continue,
                    Err(fault) => break Some(fault),
                }
            };
            if let Way::To(peer) = way
                && self.is_overfull(peer, &frame)
            {
                self.finish(from, run.take(), input, sink);
                self.turn_away(from, &frame, TAKES_NOTHING, sink, found);
                continue;
            }
            if run.as_ref().is_none_or(|run| run.way != way) || parcel.is_some() {
                let next = Run { way, start, end: start, parcel, each: Vec::new() };
                self.finish(from, run.replace(next), input, sink);
            }
            if let Some(run) = &mut run {
                run.add(&frame, at);
            }
        };
        self.finish(from, run, input, sink);
        match fault {
            Some(fault) => Err(fault),
            None => Ok(at),
        }
    }

    fn finish(&mut self, from: PeerId, run: Option<Run>, input: &[u8], sink: Sink<'_>) {
        let Some(run) = run else { return };
        match run.way {
            Way::To(peer) => self.deliver(peer, &input[run.start..run.end], run.parcel.as_ref(), sink),
            Way::Many { others } => self.broadcast(from, others.then_some(from), run, input, sink),
        }
    }

    /// Where a frame goes; `None` where it is for the exchange itself, or for nobody.
    fn way_of(&self, frame: &Frame<'_>) -> Option<Way> {
        let worker = |id, open: bool| {
            let peer = PeerId::Worker(id);
            self.ports.get(&peer).filter(|port| port.open || !open).map(|_| Way::To(peer))
        };
        let holder = |seat| self.holder(seat).map(Way::To);
        match frame.head.kind {
            Kind::Message | Kind::Ask => match frame.head.to {
                Address::Worker(id) => worker(id, true),
                Address::Slot(slot) => holder(Seat::Slot(slot)),
                Address::Director => holder(Seat::Director),
                Address::ThisDirector(_) => None,
                Address::Others if frame.head.kind == Kind::Message => Some(Way::Many { others: true }),
                Address::Everyone if frame.head.kind == Kind::Message => Some(Way::Many { others: false }),
                Address::Others | Address::Everyone | Address::Exchange => None,
            },
            // A process that takes no more messages may still wait for these.
            Kind::Answer | Kind::Refusal | Kind::Credit => match frame.head.to {
                Address::Worker(id) => worker(id, false),
                Address::ThisDirector(number) => {
                    Some(PeerId::Director(number)).filter(|peer| self.ports.contains_key(peer)).map(Way::To)
                }
                Address::Slot(_)
                | Address::Director
                | Address::Others
                | Address::Everyone
                | Address::Exchange => None,
            },
            Kind::Receipt | Kind::Notice | Kind::Report | Kind::Word | Kind::Mark | Kind::Leave => None,
        }
    }

    fn holder(&self, seat: Seat) -> Option<PeerId> {
        self.seats.get(&seat)?.holder
    }

    /// All frames that are not simply passed on.
    fn treat(
        &mut self,
        from: PeerId,
        frame: &Frame<'_>,
        parcel: Option<SharedParcel>,
        sink: Sink<'_>,
        found: &mut Vec<Found>,
    ) -> Result<(), Fault> {
        let Head { kind, to, .. } = frame.head;
        match (kind, to) {
            (Kind::Message, Address::Slot(_) | Address::Director) => {
                let Some(seat) = seat_of(to) else { return Ok(()) };
                if let Err(reason) = self.hold(seat, frame, parcel) {
                    self.turn_away(from, frame, reason, sink, found);
                }
            }
            (Kind::Message | Kind::Ask, Address::Worker(_))
            | (Kind::Ask, Address::Slot(_) | Address::Director) => {
                self.turn_away(from, frame, "there is no such worker (any more)", sink, found);
            }
            // The asker, or the sender, is gone.
            (Kind::Answer, Address::Worker(_) | Address::ThisDirector(_)) => {
                self.turn_away(from, frame, "its asker is gone", sink, found);
            }
            (Kind::Refusal | Kind::Credit, Address::Worker(_) | Address::ThisDirector(_)) => {}
            (Kind::Credit, Address::Exchange) => {
                let Credit { weight, .. } = body(frame)?;
                if let Some(port) = self.ports.get_mut(&from) {
                    port.broadcasts.sub(weight);
                }
            }
            (Kind::Report, Address::Exchange) => {
                found.push(Found::Undelivered(body::<Undelivered>(frame)?.printable()));
            }
            (Kind::Word, Address::Exchange) if matches!(from, PeerId::Director(_)) => {
                found.push(Found::Word(frame.body.to_vec()));
            }
            (Kind::Mark, Address::Exchange) => self.answer(Kind::Mark, from, sink),
            (Kind::Leave, Address::Exchange) => self.let_leave(from, sink),
            (
                Kind::Message
                | Kind::Ask
                | Kind::Answer
                | Kind::Refusal
                | Kind::Credit
                | Kind::Receipt
                | Kind::Notice
                | Kind::Report
                | Kind::Word
                | Kind::Mark
                | Kind::Leave,
                _,
            ) => return Err(Fault::Misdirected { kind, to }),
        }
        Ok(())
    }

    /// Gives frames to all workers that have room for them, and tells the sender how many those were. To each
    /// go as many as it has room for, as one piece.
    fn broadcast(&mut self, from: PeerId, except: Option<PeerId>, run: Run, input: &[u8], sink: Sink<'_>) {
        let Run { start, parcel, mut each, .. } = run;
        let limits = Limits::of(self.slots);
        let receivers: Vec<PeerId> = self
            .ports
            .iter()
            .filter(|(peer, port)| matches!(peer, PeerId::Worker(_)) && port.open && Some(**peer) != except)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in receivers {
            let Some(port) = self.ports.get_mut(&peer) else { continue };
            let mut end = start;
            let mut has_room = true;
            for frame in &mut each {
                // Once it has missed one it misses the rest of this piece, which has no gaps.
                has_room = has_room && limits.admit(port.broadcasts, frame.weight);
                if has_room {
                    port.broadcasts.add(frame.weight);
                    frame.receipt.reached += 1;
                    end = frame.end;
                } else {
                    frame.receipt.missed += 1;
                }
            }
            if end > start {
                self.deliver(peer, &input[start..end], parcel.as_ref(), sink);
            }
        }
        let mut receipts = Vec::new();
        for Broadcast { correlation, receipt, .. } in each {
            let head = Head { correlation, ..Head::system(Kind::Receipt, Address::Exchange, from.into()) };
            notice::write(&mut receipts, &head, &receipt);
        }
        self.deliver(from, &receipts, None, sink);
    }

    /// A frame of a user's goes no further. Who sent it has room for another again, and hears of it.
    fn turn_away(
        &mut self,
        from: PeerId,
        frame: &Frame<'_>,
        reason: &str,
        sink: Sink<'_>,
        found: &mut Vec<Found>,
    ) {
        let parcel = if frame.head.parcel { frame.parcel_len() } else { None };
        let weight = Weight::of(frame.bytes.len(), parcel);
        let mut credit = Vec::new();
        let head = Head::system(Kind::Credit, Address::Exchange, from.into());
        notice::write(&mut credit, &head, &Credit { to: frame.head.to, weight });
        self.deliver(from, &credit, None, sink);
        if frame.head.kind == Kind::Ask {
            self.refuse(from, frame, sink);
        }
        found.extend(undelivered(frame, reason).map(Found::Undelivered));
    }

    /// Whether a process has taken nothing for so long that no more can wait for it. Who keeps to the windows
    /// comes here where several processes are stuck at once, or one is known by several names.
    fn is_overfull(&self, to: PeerId, frame: &Frame<'_>) -> bool {
        let waits = self.ports.get(&to).map_or(0, |port| port.backlog.len());
        if waits == 0 || !matches!(frame.head.kind, Kind::Message | Kind::Ask | Kind::Answer) {
            return false;
        }
        waits + frame.bytes.len() > MOST_FOR_ONE
            || self.waiting > MOST_FOR_ALL && waits > ALWAYS_FOR_ONE
            || frame.head.parcel && self.parcels() >= self.most_parcels
    }

    fn refuse(&mut self, from: PeerId, frame: &Frame<'_>, sink: Sink<'_>) {
        let mut head = Head::system(Kind::Refusal, Address::Exchange, from.into());
        head.correlation = frame.head.correlation;
        let mut bytes = Vec::new();
        notice::write(&mut bytes, &head, &Refusal::Gone);
        self.deliver(from, &bytes, None, sink);
    }

    /// Keeps a message for the next who has the seat.
    fn hold(
        &mut self,
        seat: Seat,
        frame: &Frame<'_>,
        parcel: Option<SharedParcel>,
    ) -> Result<(), &'static str> {
        let (nobody, full) =
            ("nobody has its place any more", "as much as may wait for the next in its place does");
        // BEFORE there is a place for it: senders may name slots that never were.
        if !self.is_known(seat) {
            return Err(nobody);
        }
        if parcel.is_some() && self.parcels() >= self.most_parcels {
            return Err(full);
        }
        let held: usize = self.seats.values().map(|place| place.held.len()).sum();
        let place = self.seats.entry(seat).or_default();
        if place.vacant {
            return Err(nobody);
        }
        // The primary's own words are few, and never lost.
        if frame.head.kind == Kind::Message && held + frame.bytes.len() > MOST_HELD {
            return Err(full);
        }
        place.held.push(frame.bytes, 0, parcel.as_ref());
        self.waiting += frame.bytes.len();
        Ok(())
    }

    /// A process wants no more messages: what is on the way to it comes first, then the word that this is all.
    fn let_leave(&mut self, peer: PeerId, sink: Sink<'_>) {
        let Some(port) = self.ports.get_mut(&peer) else { return };
        port.open = false;
        let seat = port.seat;
        self.leave_seat(peer, seat);
        self.answer(Kind::Leave, peer, sink);
    }

    /// Says a word back, behind all that is on the way.
    fn answer(&mut self, kind: Kind, to: PeerId, sink: Sink<'_>) {
        let mut bytes = Vec::new();
        frame::write(&mut bytes, &Head::system(kind, Address::Exchange, to.into()), b"", b"");
        self.deliver(to, &bytes, None, sink);
    }

    /// Writes frames to a process, or has them wait for its socket.
    fn deliver(&mut self, to: PeerId, frames: &[u8], parcel: Option<&SharedParcel>, sink: Sink<'_>) {
        let Some(port) = self.ports.get_mut(&to) else { return };
        let written = if port.backlog.is_empty() { sink(to, frames, parcel) } else { 0 };
        port.backlog.push(frames, written, parcel);
        self.waiting += frames.len() - written;
    }

    /// Tells the director something, or its successor.
    pub(crate) fn tell_director(&mut self, word: &impl serde::Serialize, sink: Sink<'_>) {
        let mut bytes = Vec::new();
        notice::write(&mut bytes, &Head::system(Kind::Word, Address::Exchange, Address::Director), word);
        match self.holder(Seat::Director) {
            Some(director) => self.deliver(director, &bytes, None, sink),
            None => {
                if let Ok(Some(frame)) = frame::read(&bytes) {
                    // Where there will be no other director, nobody misses it.
                    let _ = self.hold(Seat::Director, &frame, None);
                }
            }
        }
    }
}

impl Run {
    /// The frame that ends at `end` goes the same way.
    fn add(&mut self, frame: &Frame<'_>, end: usize) {
        self.end = end;
        if let Way::Many { .. } = self.way {
            let parcel = if frame.head.parcel { frame.parcel_len() } else { None };
            let weight = Weight::of(frame.bytes.len(), parcel);
            let receipt = Receipt { reached: 0, missed: 0 };
            self.each.push(Broadcast { end, weight, correlation: frame.head.correlation, receipt });
        }
    }
}

/// The seat that an address means.
fn seat_of(to: Address) -> Option<Seat> {
    match to {
        Address::Slot(slot) => Some(Seat::Slot(slot)),
        Address::Director => Some(Seat::Director),
        Address::Worker(_)
        | Address::ThisDirector(_)
        | Address::Others
        | Address::Everyone
        | Address::Exchange => None,
    }
}

/// The system's own frames from one process to another: garbage in them is their sender's fault, and must not
/// become the receiver's, who would take it for the primary's.
fn check(frame: &Frame<'_>) -> Result<(), Fault> {
    match frame.head.kind {
        Kind::Credit => body::<Credit>(frame).map(drop),
        Kind::Refusal => body::<Refusal>(frame).map(drop),
        Kind::Message
        | Kind::Ask
        | Kind::Answer
        | Kind::Receipt
        | Kind::Notice
        | Kind::Report
        | Kind::Word
        | Kind::Mark
        | Kind::Leave => Ok(()),
    }
}

fn body<T: serde::de::DeserializeOwned>(frame: &Frame<'_>) -> Result<T, Fault> {
    codec::decode(frame.body).map_err(|err| Fault::Body { kind: frame.head.kind, why: err.to_string() })
}

/// What there is to say of a message that came to nothing.
fn undelivered(frame: &Frame<'_>, reason: &str) -> Option<Undelivered> {
    if frame.head.kind != Kind::Message {
        return None;
    }
    Some(Undelivered {
        from: worker_of(frame.head.from),
        type_name: notice::printable(&String::from_utf8_lossy(frame.name)),
        size: frame.weight(),
        count: 1,
        reason: reason.to_owned(),
    })
}

/// The worker that an address names; `None` is the primary's side.
pub(crate) fn worker_of(address: Address) -> Option<WorkerId> {
    match address {
        Address::Worker(id) => Some(id),
        Address::Slot(_)
        | Address::Director
        | Address::ThisDirector(_)
        | Address::Others
        | Address::Everyone
        | Address::Exchange => None,
    }
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
