//! A cluster that is reloaded while it serves.
use super::*;

impl World {
    /// What becomes of a reload, or of what it makes: anything.
    pub(in crate::supervise::pool::tests) fn try_reload(&mut self) {
        match self.rng.u32(..11) {
            0 => self.say(Input::Reload),
            1 => self.open(),
            2 => self.raise_fork_servers(),
            3 | 4 => self.give_some_birth(),
            5 | 6 => self.boot_or_fail(),
            7 => {
                // One that is still tried may fail, too, or leave.
                let tried = self.bench.pool.awaited().into_iter().map(|(_, peer)| peer);
                for peer in tried.collect::<Vec<_>>() {
                    match self.rng.u32(..8) {
                        0 => self.end(peer, KILLED),
                        1 => self.say(Input::Finished { peer, error: None }),
                        2 => self.say(Input::Draining { peer }),
                        _ => {}
                    }
                }
            }
            8 => self.weigh(),
            9 => {
                for peer in self.alive.clone() {
                    let phase = &self.bench.pool.members[&peer].phase;
                    if let Phase::Draining { .. } | Phase::Leaving { .. } = phase {
                        self.end(peer, 0);
                    }
                }
            }
            _ => {
                let time = Duration::from_millis(self.rng.u64(..2_000));
                self.pass(time);
            }
        }
        self.obey();
    }

    pub(in crate::supervise::pool::tests) fn boot_or_fail(&mut self) {
        for peer in self.alive.clone() {
            if let Phase::Booting { .. } = self.bench.pool.members[&peer].phase {
                if self.rng.u32(..4) > 0 {
                    self.say(Input::Ready { peer });
                } else {
                    self.end(peer, CODE_1);
                }
            }
        }
    }

    /// Slots whose worker does not serve. One that asks whether it may leave does until it is told.
    pub(in crate::supervise::pool::tests) fn unserved(&self) -> Vec<Slot> {
        let serves = |holder: Holder| match holder {
            Holder::Member(peer) => {
                matches!(self.bench.pool.members[&peer].phase, Phase::Serving | Phase::Asking { .. })
            }
            Holder::Waiting(_) | Holder::Vacant => false,
        };
        let slots = (0..).zip(&self.bench.pool.places.slots);
        slots.filter(|(_, place)| !serves(place.holder)).map(|(slot, _)| Slot(slot)).collect()
    }

    /// One worker leaves that had no reason to: its program ends, it is told to by a signal, or is killed.
    pub(in crate::supervise::pool::tests) fn lose_one(&mut self) -> Option<Slot> {
        let slot = self.rng.u16(..self.bench.pool.places.count());
        let Some(Holder::Member(peer)) = self.bench.pool.places.get(seat(slot)).map(|place| place.holder)
        else {
            return None;
        };
        match self.rng.u32(..4) {
            0 => self.end(peer, KILLED),
            1 => self.say(Input::Finished { peer, error: None }),
            2 => self.say(Input::Garbled { peer, why: "broke the control protocol".into() }),
            _ => self.say(Input::Draining { peer }),
        }
        self.obey();
        Some(Slot(slot))
    }
}
