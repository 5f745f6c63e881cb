//! Processes that leave while the cluster goes on.
use std::time::{Duration, Instant};

use crate::event::{Event, Leave, Next};
use crate::id::{PeerId, Seat};
use crate::supervise::input::{Action, End};
use crate::supervise::member::{DRAIN_GRACE, LastWord, Member, Phase};
use crate::supervise::pool::Pool;
use crate::supervise::pool::place::Holder;
use crate::supervise::pool::stopping::Course;

/// How long a process that wants to leave waits for its answer.
pub(super) const ASKING: Duration = Duration::from_millis(20);

impl Pool {
    /// Told to leave by a signal, or by itself. Where the signal went to all processes at once, the primary's
    /// own is a moment away, and the cluster stops: then no successor is made for nothing, and a worker is
    /// told to serve what is queued.
    pub(super) fn wants_to_leave(&mut self, now: Instant, peer: PeerId) {
        let Some(member) = self.members.get_mut(&peer) else { return };
        let booting = match member.phase {
            Phase::Forking { .. } | Phase::Booting { .. } => true,
            Phase::Serving => false,
            Phase::Asking { .. }
            | Phase::Draining { .. }
            | Phase::Parting { .. }
            | Phase::Leaving { .. }
            | Phase::Dumping { .. }
            | Phase::Killed { .. } => return,
        };
        if let (PeerId::Director(_), Course::Stopping { .. }) = (peer, &self.course) {
            // It hears the workers to their end.
            self.actions.push(Action::Stay { peer });
            return;
        }
        member.phase = Phase::Asking { until: now + ASKING };
        if let PeerId::Worker(_) = peer
            && booting
            && self.is_serving()
        {
            self.budget.crashed(now, &self.policy.restart, true);
        }
    }

    /// Lets a process leave that wants to, and makes way for its successor.
    pub(super) fn let_leave(&mut self, now: Instant, peer: PeerId) {
        let hopeless = match peer {
            PeerId::Worker(_) if self.serving() == 0 => self.budget.spent(&self.policy.restart),
            PeerId::Worker(_) | PeerId::Director(_) => None,
        };
        self.replace(now, peer, Leave::Itself);
        if let Some(why) = hopeless {
            self.give_up(now, format!("{why}; the last: {peer} left before it was ready"));
        }
    }

    /// Tells a process to drain; its seat waits for a successor.
    pub(super) fn replace(&mut self, now: Instant, peer: PeerId, why: Leave) {
        let until = now + self.policy.drain_timeout + DRAIN_GRACE;
        let Some(member) = self.members.get(&peer) else { return };
        let (seat, uptime) = (member.seat, now - member.asked);
        self.drain(peer, until, why, false);
        // One that was to take another's seat makes way for nobody.
        let held = Holder::Member(peer);
        if self.places.get(seat).is_none_or(|place| place.holder != held) || self.inherit(seat) {
            return;
        }
        let left = self.members.values().filter(|member| member.seat == seat && member.has_left()).count();
        let Some(place) = self.places.get_mut(seat) else { return };
        // Those that leave as soon as they come do not pile up: the second in a row waits as after a crash.
        let row = left > 1 || uptime < self.policy.restart.min;
        let delay = if row {
            place.backoff.next(&self.policy.restart, uptime, &mut self.rng)
        } else {
            Duration::ZERO
        };
        place.holder = Holder::Waiting(now + delay);
    }

    /// Tells a process to drain.
    pub(super) fn drain(&mut self, peer: PeerId, until: Instant, why: Leave, close_queue: bool) {
        let Some(member) = self.members.get_mut(&peer) else { return };
        member.phase = Phase::Draining { until };
        member.leave = Some(why);
        let is_process = member.pid != 0;
        self.actions.push(match (peer, why) {
            // AFTER all that it shall hear, as the answer to a reload that it has asked for.
            (PeerId::Director(_), Leave::Stop | Leave::Reload) => Action::Dismiss { peer },
            (PeerId::Worker(_), _)
            | (
                PeerId::Director(_),
                Leave::Itself | Leave::Restart | Leave::Recycled | Leave::Scaled | Leave::Ended,
            ) => Action::Drain { peer, close_queue },
        });
        if is_process {
            self.tell_draining(peer);
        }
    }

    pub(super) fn tell_draining(&mut self, peer: PeerId) {
        let Some(member) = self.members.get_mut(&peer) else { return };
        member.told.draining = true;
        if let (PeerId::Worker(worker), Seat::Slot(slot), Some(why)) = (peer, member.seat, member.leave) {
            let pid = member.pid;
            // Its page, which the pool does not see, says how many are open.
            self.tell(Event::WorkerDraining { worker, slot, pid, why, connections: 0 });
        }
    }

    pub(super) fn said(&mut self, now: Instant, peer: PeerId, word: LastWord) {
        let until = now + self.policy.drain_timeout + DRAIN_GRACE;
        let Some(member) = self.members.get_mut(&peer) else { return };
        let (drained, phase) = match member.phase {
            Phase::Draining { .. } => (true, Phase::Leaving { until }),
            Phase::Asking { .. } => (true, Phase::Parting { since: now }),
            Phase::Forking { .. } | Phase::Booting { .. } | Phase::Serving => {
                (false, Phase::Parting { since: now })
            }
            Phase::Parting { .. } | Phase::Leaving { .. } | Phase::Dumping { .. } | Phase::Killed { .. } => {
                return;
            }
        };
        member.last_word = Some(match word {
            LastWord::Finished { error, .. } => LastWord::Finished { error, drained },
            LastWord::BootFailed(error) => LastWord::BootFailed(error),
        });
        member.phase = phase;
    }

    /// Its program has ended unasked, and the process has not: something that the program began has still to
    /// finish, up to the drain deadline. Until then it drains, and has a successor.
    pub(super) fn takes_its_time(&mut self, now: Instant, peer: PeerId, since: Instant) {
        let Some(mut member) = self.members.remove(&peer) else { return };
        member.phase = Phase::Leaving { until: since + self.policy.drain_timeout + DRAIN_GRACE };
        member.leave = Some(Leave::Ended);
        let next = self.next_of_lingering(now, peer, &mut member);
        let (is_process, said) = (member.pid != 0, member.last_word.clone());
        self.members.insert(peer, member);
        if is_process {
            self.tell_draining(peer);
        }
        if let (Some(Next::GiveUp), Some(said)) = (next, said) {
            let why = self.budget.spent(&self.policy.restart).unwrap_or_default();
            self.give_up(now, format!("{why}; the last: {peer} {said}"));
        }
    }

    /// None where its seat waits for its exit.
    fn next_of_lingering(&mut self, now: Instant, peer: PeerId, member: &mut Member) -> Option<Next> {
        if let PeerId::Worker(_) = peer {
            let restart = &self.policy.restart;
            // Whether it comes back may depend on its exit code.
            if !self.is_serving() || !restart.enabled || !restart.final_codes.is_empty() {
                return None;
            }
            let boot = matches!(member.last_word, Some(LastWord::BootFailed(_)));
            if boot || matches!(member.last_word, Some(LastWord::Finished { drained: false, .. })) {
                member.counted = true;
                self.budget.crashed(now, &self.policy.restart, boot);
            }
        }
        // As after a crash: those that end as soon as they come do not pile up.
        Some(self.successor(now, peer, member, false, &End::default()))
    }
}
