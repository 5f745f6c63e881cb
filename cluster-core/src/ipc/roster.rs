//! Who there is, as one process knows it from the exchange's notices. Pure.
use std::collections::{BTreeMap, BTreeSet};

use crate::id::{PeerId, Seat, Slot, WorkerId};
use crate::ipc::frame::Address;
use crate::ipc::notice::Notice;

#[derive(Debug, Default)]
pub(crate) struct Roster {
    /// None until the first notice: nothing is known yet.
    slots: Option<u16>,
    workers: BTreeMap<WorkerId, Slot>,
    /// Directors: two for a while, one that drains and its successor.
    directors: BTreeSet<u64>,
    holders: BTreeMap<Seat, PeerId>,
    vacant: BTreeSet<Seat>,
}

/// Whether somebody can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is there, or will be.
    There,
    /// Too early to say.
    Unknown,
    Gone,
    NoDirector,
}

impl Roster {
    /// A process learns from its welcome whether there is a director, and how many slots.
    pub(crate) fn new(director: bool) -> Self {
        let vacant = if director { BTreeSet::new() } else { BTreeSet::from([Seat::Director]) };
        Self { vacant, ..Self::default() }
    }

    pub(crate) fn apply(&mut self, notice: Notice) {
        match notice {
            Notice::Beside { peer, seat } => self.meet(peer, seat),
            Notice::Joined { peer, seat } => {
                self.meet(peer, seat);
                self.holders.insert(seat, peer);
                self.vacant.remove(&seat);
            }
            Notice::Gone { peer, seat } => {
                match peer {
                    PeerId::Worker(id) => {
                        self.workers.remove(&id);
                    }
                    PeerId::Director(number) => {
                        self.directors.remove(&number);
                    }
                }
                if self.holders.get(&seat) == Some(&peer) {
                    self.holders.remove(&seat);
                }
            }
            Notice::Vacant { seat } => {
                self.holders.remove(&seat);
                self.vacant.insert(seat);
            }
            Notice::Slots(slots) => self.slots = Some(slots),
        }
    }

    fn meet(&mut self, peer: PeerId, seat: Seat) {
        match (peer, seat) {
            (PeerId::Worker(id), Seat::Slot(slot)) => {
                self.workers.insert(id, slot);
            }
            (PeerId::Director(number), _) => {
                self.directors.insert(number);
            }
            (PeerId::Worker(_), Seat::Director) => {}
        }
    }

    pub(crate) fn slots(&self) -> Option<u16> {
        self.slots
    }

    pub(crate) fn slot_of(&self, worker: WorkerId) -> Option<Slot> {
        self.workers.get(&worker).copied()
    }

    /// Who would get what is sent there now, as far as is known.
    pub(crate) fn holder_of(&self, to: Address) -> Option<PeerId> {
        match to {
            Address::Worker(id) => Some(PeerId::Worker(id)),
            Address::Slot(slot) => self.holders.get(&Seat::Slot(slot)).copied(),
            Address::Director => self.holders.get(&Seat::Director).copied(),
            Address::ThisDirector(number) => Some(PeerId::Director(number)),
            Address::Others | Address::Everyone | Address::Exchange => None,
        }
    }

    pub(crate) fn standing(&self, to: Address) -> Standing {
        let there = |there: bool| if there { Standing::There } else { Standing::Gone };
        match (to, self.slots) {
            (Address::Director, _) if self.vacant.contains(&Seat::Director) => Standing::NoDirector,
            (Address::Director | Address::Others | Address::Everyone | Address::Exchange, _) => {
                Standing::There
            }
            (Address::Worker(_) | Address::Slot(_) | Address::ThisDirector(_), None) => Standing::Unknown,
            (Address::ThisDirector(number), Some(_)) => there(self.directors.contains(&number)),
            (Address::Worker(id), Some(_)) => there(self.workers.contains_key(&id)),
            (Address::Slot(slot), Some(slots)) => {
                there(slot.0 < slots && !self.vacant.contains(&Seat::Slot(slot)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_and_goes_is_known() {
        let worker = |id| PeerId::Worker(WorkerId(id));
        let (slot, to_slot) = (Seat::Slot(Slot(0)), Address::Slot(Slot(0)));
        let mut roster = Roster::new(true);
        assert_eq!(roster.standing(to_slot), Standing::Unknown);
        roster.apply(Notice::Slots(1));
        assert_eq!(roster.standing(to_slot), Standing::There, "nobody yet, but somebody will come");
        assert_eq!(roster.standing(Address::Slot(Slot(1))), Standing::Gone);
        assert_eq!(roster.standing(Address::Worker(WorkerId(1))), Standing::Gone);
        roster.apply(Notice::Joined { peer: worker(1), seat: slot });
        roster.apply(Notice::Joined { peer: worker(2), seat: slot });
        roster.apply(Notice::Gone { peer: worker(1), seat: slot });
        assert_eq!(roster.holder_of(to_slot), Some(worker(2)), "a successor came before the end");
        assert_eq!(roster.standing(Address::Worker(WorkerId(1))), Standing::Gone);
        roster.apply(Notice::Gone { peer: worker(2), seat: slot });
        assert_eq!(roster.standing(to_slot), Standing::There);
        roster.apply(Notice::Vacant { seat: slot });
        assert_eq!(roster.standing(to_slot), Standing::Gone);
    }

    #[test]
    fn one_that_is_beside_another_has_the_seat_when_it_is_told_as_joined() {
        let worker = |id| PeerId::Worker(WorkerId(id));
        let (seat, to_slot) = (Seat::Slot(Slot(0)), Address::Slot(Slot(0)));
        let mut roster = Roster::new(true);
        roster.apply(Notice::Slots(1));
        roster.apply(Notice::Joined { peer: worker(1), seat });
        roster.apply(Notice::Beside { peer: worker(2), seat });
        assert_eq!(roster.holder_of(to_slot), Some(worker(1)));
        assert_eq!(roster.standing(Address::Worker(WorkerId(2))), Standing::There);
        roster.apply(Notice::Joined { peer: worker(2), seat });
        roster.apply(Notice::Gone { peer: worker(1), seat });
        assert_eq!(roster.holder_of(to_slot), Some(worker(2)));
    }

    #[test]
    fn without_a_director_there_is_no_word_for_it() {
        assert_eq!(Roster::new(false).standing(Address::Director), Standing::NoDirector);
        assert_eq!(Roster::new(true).standing(Address::Director), Standing::There);
    }
}
