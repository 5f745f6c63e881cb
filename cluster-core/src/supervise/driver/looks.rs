//! Looking whether the runtimes of all processes turn.
use std::time::{Duration, Instant};

use crate::id::PeerId;
use crate::supervise::condition;
use crate::supervise::driver::Driver;
use crate::supervise::input::{Input, Load};
use crate::supervise::peer::Peer;

/// A look costs nothing but the turn: what is looked at is in the pages.
const WEIGH_EVERY: Duration = Duration::from_secs(5);

impl Driver {
    /// One look at all pages, and the time of the next.
    pub(super) fn look(&mut self) -> Input {
        self.look_at = self.hang.map(|limit| Instant::now() + limit.beat_every());
        let beats = self.peers.iter().map(|(peer, held)| (*peer, held.page().beats())).collect();
        Input::Looked { beats }
    }

    /// One look at what all processes use and do, and the time of the next.
    pub(super) fn weigh(&mut self) -> Input {
        self.weigh_at = Some(Instant::now() + WEIGH_EVERY);
        let load =
            |held: &mut Peer| Load { requests: held.page().requests(), memory: held.new_measurement() };
        Input::Weighed { loads: self.peers.iter_mut().map(|(peer, held)| (*peer, load(held))).collect() }
    }

    /// A closer look at one that is silent.
    pub(super) fn examine(&mut self, peer: PeerId) {
        // One that has ended meanwhile is told as that.
        if let Some(pid) = self.peers.get(&peer).and_then(|held| held.pid()) {
            self.untold.push_back(Input::Examined { peer, condition: condition::of(pid) });
        }
    }
}
