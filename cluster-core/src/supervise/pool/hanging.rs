//! Processes whose runtime does not turn.
use std::time::Instant;

use crate::config::HangLimit;
use crate::event::Event;
use crate::id::{PeerId, Seat};
use crate::supervise::input::{Action, Condition};
use crate::supervise::member::{DUMPING, Phase};
use crate::supervise::pool::Pool;
use crate::supervise::pulse::{Finding, Pulse};

impl Pool {
    /// A look at all pages. Whoever has been silent for long is looked at more closely before anything is said of it.
    pub(super) fn looked(&mut self, now: Instant, beats: &[(PeerId, u64)]) {
        let Some(limit) = self.policy.hang else { return };
        // While this process did not run, the others may not have run either: all begin anew.
        let anew = self.is_blind(now, limit);
        self.last_look = Some(now);
        for &(peer, beats) in beats {
            let Some(member) = self.members.get_mut(&peer) else { continue };
            if !member.has_to_turn() {
                member.pulse = None;
                continue;
            }
            match &mut member.pulse {
                Some(pulse) if !anew => {
                    if pulse.is_suspect(now, beats, limit) {
                        self.actions.push(Action::Examine { peer });
                    }
                }
                Some(_) | None => member.pulse = Some(Pulse::new(now, beats, limit)),
            }
        }
    }

    /// What a process does whose runtime is silent.
    pub(super) fn examined(&mut self, now: Instant, peer: PeerId, condition: Condition) {
        let Some(limit) = self.policy.hang else { return };
        // This process may have been stopped since it looked.
        if self.is_blind(now, limit) {
            return;
        }
        let Some(member) = self.members.get_mut(&peer).filter(|member| member.has_to_turn()) else { return };
        let (seat, pid) = (member.seat, member.pid);
        match member.pulse.as_mut().and_then(|pulse| pulse.judge(now, condition, limit)) {
            None => {}
            Some(Finding::Hangs) => {
                member.phase = Phase::Dumping { until: now + DUMPING };
                self.actions.push(Action::Dump { peer });
            }
            Some(Finding::Stalls { silent }) => {
                let limit = limit.limit();
                self.tell(match (peer, seat) {
                    (PeerId::Worker(worker), Seat::Slot(slot)) => {
                        Event::WorkerStalled { worker, slot, pid, silent, limit }
                    }
                    (PeerId::Worker(_), Seat::Director) | (PeerId::Director(_), _) => {
                        Event::DirectorStalled { pid, silent, limit }
                    }
                });
            }
        }
    }

    /// Whether nobody has looked for so long that what is seen now says nothing.
    fn is_blind(&self, now: Instant, limit: HangLimit) -> bool {
        self.last_look.is_none_or(|last| now.saturating_duration_since(last) > limit.longest_gap())
    }
}
