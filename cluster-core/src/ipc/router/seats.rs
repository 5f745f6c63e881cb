//! Who comes and goes, and what waits for the next in a place.
use crate::id::{PeerId, Seat};
use crate::ipc::backlog::{Backlog, SharedParcel};
use crate::ipc::frame::{Address, Frame, Kind};
use crate::ipc::notice::{self, Notice, Undelivered, Weight};
use crate::ipc::router::turned_away::{Reason, undelivered};
use crate::ipc::router::{Port, Router, Sink, seat_of};

/// So many bytes wait for places to be taken. A place whose processes never last frees its senders' windows at
/// each end; without this bound what waits for it would grow until nobody is read any more.
const MOST_HELD: usize = 16 << 20;

impl Router {
    /// From now on `peer` has the seat, and what waits for it is its.
    pub(crate) fn join(&mut self, peer: PeerId, seat: Seat, sink: Sink<'_>) {
        self.come(peer, seat, false, sink);
        self.give_seat(peer, sink);
    }

    /// From now on `peer` can be written to; the seat is another's until it is given to this one.
    pub(crate) fn join_beside(&mut self, peer: PeerId, seat: Seat, sink: Sink<'_>) {
        self.come(peer, seat, true, sink);
        self.tell_all(Notice::Beside { peer, seat }, sink);
    }

    /// From now on this process has its seat.
    pub(crate) fn give_seat(&mut self, peer: PeerId, sink: Sink<'_>) {
        let Some(port) = self.ports.get_mut(&peer) else { return };
        port.beside = false;
        let seat = port.seat;
        // It is told of itself as well: it may send to itself.
        self.tell_all(Notice::Joined { peer, seat }, sink);
        let place = self.seats.entry(seat).or_default();
        place.holder = Some(peer);
        place.vacant = false;
        let held = std::mem::take(&mut place.held);
        self.waiting -= held.len();
        held.salvage(|frame, parcel| self.deliver(peer, frame.bytes, parcel.as_ref(), sink));
    }

    fn come(&mut self, peer: PeerId, seat: Seat, beside: bool, sink: Sink<'_>) {
        let mut first = Vec::new();
        notice::write_notice(&mut first, peer, Notice::Slots(self.slots));
        for (other, port) in &self.ports {
            let (other, seat) = (*other, port.seat);
            let notice = if port.beside {
                Notice::Beside { peer: other, seat }
            } else {
                Notice::Joined { peer: other, seat }
            };
            notice::write_notice(&mut first, peer, notice);
        }
        for (seat, _) in self.seats.iter().filter(|(_, place)| place.vacant) {
            notice::write_notice(&mut first, peer, Notice::Vacant { seat: *seat });
        }
        let (backlog, broadcasts) = (Backlog::default(), Weight::default());
        self.ports.insert(peer, Port { seat, beside, backlog, open: true, broadcasts });
        self.deliver(peer, &first, None, sink);
    }

    /// The process is no more. What it has not taken and was for its seat waits for the next there.
    pub(crate) fn leave(&mut self, peer: PeerId, sink: Sink<'_>) -> Vec<Undelivered> {
        let Some(port) = self.ports.remove(&peer) else { return Vec::new() };
        self.waiting -= port.backlog.len();
        self.leave_seat(peer, port.seat);
        // What has come since it said `Leave` is younger than what it has not taken.
        let younger = self.seats.get_mut(&port.seat).map(|place| std::mem::take(&mut place.held));
        let younger = younger.unwrap_or_default();
        self.waiting -= younger.len();
        let mut lost = Vec::new();
        for waiting in [port.backlog, younger] {
            waiting.salvage(|frame, parcel| self.salvage(frame, parcel, sink, &mut lost));
        }
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
        held.salvage(|frame, _| lost.extend(undelivered(&frame, Reason::Vacant)));
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
            (Kind::Message, Address::Slot(_) | Address::Director) | (Kind::Word, _) => {
                let Some(seat) = seat_of(frame.head.to) else { return };
                match (self.holder(seat), frame.head.kind) {
                    (None, _) => {
                        if let Err(reason) = self.hold(seat, &frame, parcel) {
                            lost.extend(undelivered(&frame, reason));
                        }
                    }
                    (Some(next), Kind::Word) => self.deliver(next, frame.bytes, parcel.as_ref(), sink),
                    // The next one may have heard what its sender said later: lost is better than out of order.
                    (Some(_), _) => lost.extend(undelivered(&frame, Reason::Ended)),
                }
            }
            (Kind::Message, _) => lost.extend(undelivered(&frame, Reason::Ended)),
            // Its asker hears of the end, and asks no more of this one.
            (Kind::Ask | Kind::Answer | Kind::Refusal, _) => {}
            (
                Kind::Credit
                | Kind::Receipt
                | Kind::Notice
                | Kind::Report
                | Kind::Mark
                | Kind::Leave
                | Kind::Survey,
                _,
            ) => {}
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

    /// Keeps a message for the next who has the seat.
    pub(super) fn hold(
        &mut self,
        seat: Seat,
        frame: &Frame<'_>,
        parcel: Option<SharedParcel>,
    ) -> Result<(), Reason> {
        // BEFORE there is a place for it: senders may name slots that never were.
        if !self.is_known(seat) {
            return Err(Reason::Vacant);
        }
        if parcel.is_some() && self.parcels() >= self.most_parcels {
            return Err(Reason::PlaceFull);
        }
        let held: usize = self.seats.values().map(|place| place.held.len()).sum();
        let here = self.seats.get(&seat).map_or(0, |place| place.held.len());
        let is_full = held + frame.bytes.len() > MOST_HELD || self.is_too_much_for_all(here);
        let place = self.seats.entry(seat).or_default();
        if place.vacant {
            return Err(Reason::Vacant);
        }
        // The primary's own words are few, and never lost.
        if frame.head.kind == Kind::Message && is_full {
            return Err(Reason::PlaceFull);
        }
        place.held.push(frame.bytes, 0, parcel.as_ref());
        self.waiting += frame.bytes.len();
        Ok(())
    }

    /// A process wants no more messages: what is on the way to it comes first, then the word that this is all.
    pub(super) fn let_leave(&mut self, peer: PeerId, sink: Sink<'_>) {
        let Some(port) = self.ports.get_mut(&peer) else { return };
        port.open = false;
        let seat = port.seat;
        self.leave_seat(peer, seat);
        self.answer(Kind::Leave, peer, sink);
    }
}
