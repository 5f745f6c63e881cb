//! Replacement first: a newcomer is made beside the one that has the seat, and takes the seat when it serves.
use std::time::Instant;

use crate::event::Leave;
use crate::id::{PeerId, Seat, Slot};
use crate::supervise::input::{Action, Entry};
use crate::supervise::member::{DRAIN_GRACE, Killed, Member, Phase};
use crate::supervise::nursery::FORK_TIMEOUT;
use crate::supervise::pool::Pool;
use crate::supervise::pool::place::{Holder, Newcomer};
use crate::supervise::pool::stopping::UNREADY_DRAIN;

/// So many generations may drain beside the one that serves.
const DRAINING_GENERATIONS: usize = 3;

impl Pool {
    /// Makes somebody of that generation for a seat that is another's until then.
    pub(super) fn bring(&mut self, now: Instant, seat: Seat, generation: u64, why: Leave) -> Option<PeerId> {
        if self.places.get_mut(seat).is_none_or(|place| place.newcomer.is_some()) {
            return None;
        }
        let peer = self.next_peer(seat);
        self.members.insert(peer, Member::new(seat, generation, now, FORK_TIMEOUT));
        if let Some(place) = self.places.get_mut(seat) {
            place.newcomer = Some(Newcomer { peer, why });
        }
        self.actions.push(Action::Spawn { peer, seat, generation, entry: Entry::Beside });
        Some(peer)
    }

    /// The seat of a newcomer that has not taken it yet.
    pub(super) fn awaited_seat(&self, peer: PeerId) -> Option<Seat> {
        let seat = self.members.get(&peer)?.seat;
        let place = self.places.get(seat)?;
        place.newcomer.is_some_and(|newcomer| newcomer.peer == peer).then_some(seat)
    }

    /// The newcomer takes its seat, and who had it leaves.
    pub(super) fn promote(&mut self, now: Instant, seat: Seat) {
        if let Some((predecessor, why)) = self.take_seat(seat) {
            self.see_off(now, predecessor, why);
        }
    }

    /// The newcomer takes its seat. Answers with who had it and shall leave, and why.
    pub(super) fn take_seat(&mut self, seat: Seat) -> Option<(PeerId, Leave)> {
        let place = self.places.get_mut(seat)?;
        let Newcomer { peer, why } = place.newcomer.take()?;
        let predecessor = std::mem::replace(&mut place.holder, Holder::Member(peer));
        // BEFORE the other is told to leave: what is said to the seat from now on is for this one.
        self.actions.push(Action::Seat { peer, seat });
        self.see_all_ready();
        if let (PeerId::Worker(worker), Seat::Slot(slot)) = (peer, seat) {
            self.commands_see_ready(worker, slot);
        }
        match predecessor {
            Holder::Member(predecessor) => Some((predecessor, why)),
            Holder::Waiting(_) | Holder::Vacant => None,
        }
    }

    /// Who has the seat is gone, or about to be: a newcomer that would be its successor anyway has the seat now.
    pub(super) fn inherit(&mut self, seat: Seat) -> bool {
        let generation = self.generation;
        let Some(newcomer) = self.places.get(seat).and_then(|place| place.newcomer) else { return false };
        let is_sound = |member: &Member| member.generation == generation && !member.has_left();
        if !self.members.get(&newcomer.peer).is_some_and(is_sound) {
            return false;
        }
        if let Some(place) = self.places.get_mut(seat) {
            (place.holder, place.newcomer) = (Holder::Member(newcomer.peer), None);
        }
        self.actions.push(Action::Seat { peer: newcomer.peer, seat });
        let serves = self.members.get(&newcomer.peer).is_some_and(|member| member.phase == Phase::Serving);
        if let (PeerId::Worker(worker), Seat::Slot(slot), true) = (newcomer.peer, seat, serves) {
            self.commands_see_ready(worker, slot);
        }
        true
    }

    /// Nobody waits for this newcomer any more.
    pub(super) fn turn_away(&mut self, now: Instant, seat: Seat) {
        let newcomer = self.places.get_mut(seat).and_then(|place| place.newcomer.take());
        let Some(Newcomer { peer, why }) = newcomer else { return };
        match self.members.get(&peer).map(|member| &member.phase) {
            // One that is tried serves, and has connections of its own.
            Some(Phase::Serving | Phase::Asking { .. }) => self.see_off(now, peer, why),
            Some(Phase::Forking { .. } | Phase::Booting { .. } | Phase::Parting { .. }) => {
                self.kill(now, peer, Killed::Stop);
            }
            Some(
                Phase::Draining { .. } | Phase::Leaving { .. } | Phase::Dumping { .. } | Phase::Killed { .. },
            )
            | None => {}
        }
    }

    /// Tells one to drain that has a successor.
    pub(super) fn see_off(&mut self, now: Instant, peer: PeerId, why: Leave) {
        let patience = match self.members.get(&peer).map(|member| &member.phase) {
            Some(Phase::Serving | Phase::Asking { .. }) => self.policy.drain_timeout + DRAIN_GRACE,
            // Its fork server may take its time.
            Some(Phase::Forking { .. }) => FORK_TIMEOUT,
            Some(Phase::Booting { .. }) => UNREADY_DRAIN,
            Some(
                Phase::Draining { .. }
                | Phase::Parting { .. }
                | Phase::Leaving { .. }
                | Phase::Dumping { .. }
                | Phase::Killed { .. },
            )
            | None => return,
        };
        self.drain(peer, now + patience, why, false);
        self.limit_generations(now);
    }

    /// What drains for very long must not pile up, reload after reload.
    fn limit_generations(&mut self, now: Instant) {
        let drains = |member: &Member| member.has_left() && member.generation != self.generation;
        let mut draining: Vec<u64> =
            self.members.values().filter(|member| drains(member)).map(|member| member.generation).collect();
        draining.sort_unstable();
        draining.dedup();
        let Some(too_many) = draining.len().checked_sub(DRAINING_GENERATIONS) else { return };
        for oldest in draining.into_iter().take(too_many) {
            let of_it = |member: &Member| member.generation == oldest && member.has_left();
            let peers: Vec<_> =
                self.members.iter().filter(|(_, member)| of_it(member)).map(|(peer, _)| *peer).collect();
            for peer in peers {
                let ends =
                    |member: &Member| matches!(member.phase, Phase::Dumping { .. } | Phase::Killed { .. });
                if !self.members.get(&peer).is_some_and(ends) {
                    self.kill(now, peer, Killed::Superseded);
                }
            }
        }
    }

    /// All seats for which somebody is awaited.
    pub(super) fn awaited(&self) -> Vec<(Seat, PeerId)> {
        let newcomer = |(seat, place): (Seat, &super::place::Place)| Some((seat, place.newcomer?.peer));
        self.places.all().filter_map(newcomer).collect()
    }

    /// Slots whose worker is of another generation than new ones are.
    pub(super) fn outdated(&self) -> Vec<Seat> {
        let is_outdated = |holder| match holder {
            Holder::Member(peer) => {
                self.members.get(&peer).is_some_and(|member| member.generation != self.generation)
            }
            Holder::Waiting(_) | Holder::Vacant => false,
        };
        let slots = self.places.slots.iter().enumerate();
        let outdated = slots.filter(|(_, place)| is_outdated(place.holder));
        outdated.map(|(index, _)| Seat::Slot(Slot(index as u16))).collect()
    }
}
