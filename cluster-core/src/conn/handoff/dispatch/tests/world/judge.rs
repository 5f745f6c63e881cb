//! What is to be so at any time, and what in the end.
use std::collections::HashSet;

use super::*;

impl World {
    /// Each connection is in one place, and no place has too much.
    pub(in super::super) fn check(&self) {
        let homeless = self.dispatch.homeless.iter().map(|accepted| accepted.connection);
        let places = self.dispatch.takers.iter().flat_map(|taker| taker.places.iter().flatten());
        let made = places.clone().map(|made| made.accepted.connection);
        let claimed = self.workers.values().flat_map(|worker| worker.claimed.iter().copied());
        let queued = self.queued.iter().flatten().copied();
        let sent = self.sent.keys().copied();
        let mut found = vec![false; self.came as usize];
        for number in homeless.chain(made).chain(claimed).chain(queued).chain(sent) {
            let twice = std::mem::replace(&mut found[number as usize - 1], true);
            assert!(!twice, "seed {}: {number} is in two places", self.seed);
        }
        let lost = found.iter().position(|found| !found);
        assert_eq!(lost, None, "seed {}: one is lost", self.seed);
        for taker in &self.dispatch.takers {
            let taken = taker.places.iter().flatten().count();
            assert_eq!(taker.open, taken, "seed {}", self.seed);
        }
        let next = self.dispatch.look_at.map(|at| at.saturating_duration_since(self.now));
        let is_looked_at = next.is_some_and(|next| next <= PATIENCE) || places.clone().count() == 0;
        assert!(is_looked_at, "seed {}: offers are forgotten", self.seed);
    }

    /// Whether nothing is left: in the kernel's queues only where nobody accepts any more.
    pub(super) fn is_served(&self) -> bool {
        (self.closed || self.queued.iter().all(VecDeque::is_empty))
            && self.dispatch.is_empty()
            && self.workers.values().all(|worker| worker.claimed.is_empty())
    }

    pub(in super::super) fn all_are_served(&self) {
        assert!(self.is_served(), "seed {}: {:?}, {:?}", self.seed, self.queued, self.dispatch);
    }

    /// Whoever was silent is not for ever.
    pub(in super::super) fn everybody_is_offered_something(&mut self) {
        let (seed, before) = (self.seed, self.came);
        // They have had different numbers so far, which is what one of the schedulings goes by.
        self.workers.values_mut().for_each(|worker| worker.open = 0);
        let serving = |(peer, worker): (&PeerId, &Worker)| {
            (worker.mood == Mood::Serves && !worker.garbled).then_some(*peer)
        };
        let serving: HashSet<PeerId> = self.workers.iter().filter_map(serving).collect();
        (0..self.workers.len()).for_each(|_| self.come(0));
        (0..20).for_each(|_| self.round());
        let got =
            |number| *self.sent.get(&number).unwrap_or_else(|| panic!("seed {seed}: {number} is stuck"));
        let by: HashSet<PeerId> = (before + 1..=self.came).map(got).collect();
        assert!(by.is_superset(&serving), "seed {seed}: each gets one: {:?}", self.dispatch.takers);
    }
}
