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
use crate::ipc::control::Surveyed;
use crate::ipc::frame::{self, Address, Frame, Head, Kind};
use crate::ipc::notice::{self, Credit, Undelivered, Weight};

mod fault;
mod run;
mod seats;
mod turned_away;

pub(crate) use fault::Fault;
use fault::{body, check};
use run::{Run, Way};
use turned_away::Reason;

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
    /// Somebody else has the seat, until this one is given it.
    beside: bool,
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
    /// Somebody asks how the cluster stands; the number of the question.
    Survey(u64),
    Undelivered(Undelivered),
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
                self.finish(from, run.take(), input, sink, found);
                match self.treat(from, &frame, parcel, sink, found) {
                    Ok(()) => continue,
                    Err(fault) => break Some(fault),
                }
            };
            if let Way::To(peer) = way
                && self.is_overfull(peer, &frame)
            {
                self.finish(from, run.take(), input, sink, found);
                self.turn_away(from, &frame, Reason::TakesNothing, sink, found);
                continue;
            }
            if run.as_ref().is_none_or(|run| run.way != way) || parcel.is_some() {
                let next = Run::at(start, way, parcel);
                self.finish(from, run.replace(next), input, sink, found);
            }
            if let Some(run) = &mut run {
                run.add(&frame, at);
            }
        };
        self.finish(from, run, input, sink, found);
        match fault {
            Some(fault) => Err(fault),
            None => Ok(at),
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
            Kind::Receipt
            | Kind::Notice
            | Kind::Report
            | Kind::Word
            | Kind::Mark
            | Kind::Leave
            | Kind::Survey => None,
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
                self.turn_away(from, frame, Reason::NoSuchWorker, sink, found);
            }
            // The asker, or the sender, is gone.
            (Kind::Answer, Address::Worker(_) | Address::ThisDirector(_)) => {
                self.turn_away(from, frame, Reason::AskerGone, sink, found);
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
            (Kind::Survey, Address::Exchange) => found.push(Found::Survey(frame.head.correlation)),
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
                | Kind::Leave
                | Kind::Survey,
                _,
            ) => return Err(Fault::Misdirected { kind, to }),
        }
        Ok(())
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

    /// Answers a process that has asked how the cluster stands.
    pub(crate) fn tell_survey(&mut self, to: PeerId, id: u64, pieces: &[Surveyed], sink: Sink<'_>) {
        let head = Head { correlation: id, ..Head::system(Kind::Survey, Address::Exchange, to.into()) };
        for piece in pieces {
            let mut bytes = Vec::new();
            notice::write(&mut bytes, &head, piece);
            self.deliver(to, &bytes, None, sink);
        }
    }

    /// Tells this director something, whoever has the seat.
    pub(crate) fn tell_one(&mut self, number: u64, word: &impl serde::Serialize, sink: Sink<'_>) {
        let mut bytes = Vec::new();
        let to = Address::ThisDirector(number);
        notice::write(&mut bytes, &Head::system(Kind::Word, Address::Exchange, to), word);
        self.deliver(PeerId::Director(number), &bytes, None, sink);
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
mod tests;
