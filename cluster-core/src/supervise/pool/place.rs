//! The seats of the cluster: slots, and the director's.
use std::time::Instant;

use crate::event::Leave;
use crate::id::{PeerId, Seat, Slot};
use crate::supervise::restart::Backoff;

/// A seat.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) holder: Holder,
    /// Somebody who will take it when it serves.
    pub(super) newcomer: Option<Newcomer>,
    pub(super) backoff: Backoff,
}

/// Who has a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// Nobody until then.
    Waiting(Instant),
    Member(PeerId),
    /// Nobody any more.
    Vacant,
}

/// A process that was made beside the one that has the seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newcomer {
    pub(super) peer: PeerId,
    /// Why the other leaves then.
    pub(super) why: Leave,
}

impl Place {
    /// A seat that wants somebody at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { holder: Holder::Waiting(now), newcomer: None, backoff: Backoff::default() }
    }

    /// Nobody is made for it any more; who has it keeps it.
    fn close(&mut self) {
        if let Holder::Waiting(_) = self.holder {
            self.holder = Holder::Vacant;
        }
    }
}

/// All seats.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) slots: Vec<Place>,
    /// None where the cluster has no director.
    pub(super) director: Option<Place>,
}

impl Places {
    pub(super) fn new(now: Instant, slots: u16, director: bool) -> Self {
        Self {
            slots: (0..slots).map(|_| Place::new(now)).collect(),
            director: director.then(|| Place::new(now)),
        }
    }

    pub(super) fn count(&self) -> u16 {
        u16::try_from(self.slots.len()).unwrap_or(u16::MAX)
    }

    /// None where the slot has been given up.
    pub(super) fn get(&self, seat: Seat) -> Option<&Place> {
        match seat {
            Seat::Slot(slot) => self.slots.get(usize::from(slot.0)),
            Seat::Director => self.director.as_ref(),
        }
    }

    /// None where the slot has been given up.
    pub(super) fn get_mut(&mut self, seat: Seat) -> Option<&mut Place> {
        match seat {
            Seat::Slot(slot) => self.slots.get_mut(usize::from(slot.0)),
            Seat::Director => self.director.as_mut(),
        }
    }

    /// The director's seat first: what the others have to say shall find it there.
    pub(super) fn all(&self) -> impl Iterator<Item = (Seat, &Place)> {
        let slots = self.slots.iter().enumerate();
        let slots = slots.map(|(index, place)| (Seat::Slot(Slot(index as u16)), place));
        self.director.iter().map(|place| (Seat::Director, place)).chain(slots)
    }

    /// As many slots as that.
    pub(super) fn resize(&mut self, now: Instant, slots: u16) {
        self.slots.resize_with(usize::from(slots), || Place::new(now));
    }

    /// Whether no slot has, or waits for, a worker.
    pub(super) fn are_vacant(&self) -> bool {
        self.slots.iter().all(|place| place.holder == Holder::Vacant)
    }

    /// Nobody new is made.
    pub(super) fn close(&mut self) {
        self.slots.iter_mut().chain(&mut self.director).for_each(Place::close);
    }
}
