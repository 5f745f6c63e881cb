//! Workers that have served for long enough: one at a time, and the replacement first.
use std::time::{Duration, Instant};

use crate::event::Leave;
use crate::id::{PeerId, Seat};
use crate::supervise::input::Load;
use crate::supervise::member::Phase;
use crate::supervise::pool::Pool;
use crate::supervise::pool::place::Holder;

/// After a replacement that never served; doubled with each, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// When somebody may be replaced next.
#[derive(Debug, Default)]
pub(super) struct Recycler {
    not_before: Option<Instant>,
    failures: u32,
}

impl Recycler {
    /// A replacement has never served.
    pub(super) fn failed(&mut self, now: Instant) {
        let pause = FIRST_PAUSE.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.not_before = Some(now + pause.min(LONGEST_PAUSE));
        self.failures = self.failures.saturating_add(1);
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

impl Pool {
    /// A look at what processes use and do.
    pub(super) fn weighed(&mut self, loads: &[(PeerId, Load)]) {
        for (peer, load) in loads {
            if let Some(member) = self.members.get_mut(peer) {
                member.span.weigh(*load);
            }
        }
    }

    /// Brings a replacement for whoever has served for long enough.
    pub(super) fn recycle(&mut self, now: Instant) {
        if self.recycler.not_before.is_some_and(|at| at <= now) {
            self.recycler.not_before = None;
        }
        if !self.may_recycle() || self.recycler.not_before.is_some() {
            return;
        }
        let spent = self.candidates().find(|(_, member)| member.span.is_spent(now));
        if let Some(seat) = spent.map(|(_, member)| member.seat) {
            self.bring(now, seat, self.generation, Leave::Recycled);
        }
    }

    /// When time alone makes somebody a case for `recycle`.
    pub(super) fn recycle_at(&self) -> Option<Instant> {
        if !self.may_recycle() {
            return None;
        }
        let first = self.candidates().filter_map(|(_, member)| member.span.until()).min();
        match (first, self.recycler.not_before) {
            (Some(first), Some(pause)) => Some(first.max(pause)),
            // What has been weighed may be due then.
            (first, pause) => first.or(pause),
        }
    }

    /// One at a time, and not while something else replaces workers.
    fn may_recycle(&self) -> bool {
        self.is_serving()
            && !self.reloads.are_under_way()
            && self.can_spawn(self.generation)
            && self.places.slots.iter().all(|place| place.newcomer.is_none())
    }

    fn candidates(&self) -> impl Iterator<Item = (PeerId, &super::Member)> {
        let holders = self.places.all().filter_map(|(seat, place)| match (seat, place.holder) {
            (Seat::Slot(_), Holder::Member(peer)) => Some(peer),
            (Seat::Slot(_), Holder::Waiting(_) | Holder::Vacant) | (Seat::Director, _) => None,
        });
        holders
            .filter_map(|peer| Some((peer, self.members.get(&peer)?)))
            .filter(|(_, member)| member.phase == Phase::Serving)
    }
}
