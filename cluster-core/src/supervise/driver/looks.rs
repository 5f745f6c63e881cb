//! Looking whether the runtimes of all processes turn.
use std::time::Instant;

use crate::id::PeerId;
use crate::supervise::condition;
use crate::supervise::driver::Driver;
use crate::supervise::input::Input;

impl Driver {
    /// One look at all pages, and the time of the next.
    pub(super) fn look(&mut self) -> Input {
        self.look_at = self.hang.map(|limit| Instant::now() + limit.beat_every());
        let beats = self.peers.iter().map(|(peer, held)| (*peer, held.page().beats())).collect();
        Input::Looked { beats }
    }

    /// A closer look at one that is silent.
    pub(super) fn examine(&mut self, peer: PeerId) {
        // One that has ended meanwhile is told as that.
        if let Some(pid) = self.peers.get(&peer).and_then(|held| held.pid()) {
            self.untold.push_back(Input::Examined { peer, condition: condition::of(pid) });
        }
    }
}
