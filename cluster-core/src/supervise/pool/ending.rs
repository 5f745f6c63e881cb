//! The end of a process, or of a fork server, and what becomes of its seat.
use std::time::{Duration, Instant};

use crate::event::{Event, Exit, ExitReason, Next};
use crate::id::{PeerId, Seat, Slot, WorkerId};
use crate::supervise::input::{Action, End, Verdict};
use crate::supervise::member::{DUMPING, DYING, Killed, LastWord, Member, Phase};
use crate::supervise::nursery::{FORK_TIMEOUT, Nursery};
use crate::supervise::pool::Pool;
use crate::supervise::pool::place::Holder;
use crate::supervise::pool::reloads::Failure;

/// The least delay after a process that could not even be made.
pub(super) const STILLBORN_DELAY: Duration = Duration::from_millis(100);

impl Pool {
    pub(super) fn stillborn(&mut self, now: Instant, peer: PeerId, error: String) {
        let Some(member) = self.members.remove(&peer) else { return };
        // One that was killed before it was a process has ended for that.
        let reason = match &member.phase {
            Phase::Killed { why: Killed::Stop | Killed::Superseded, .. } => member.reason(now, None),
            Phase::Forking { .. }
            | Phase::Booting { .. }
            | Phase::Serving
            | Phase::Asking { .. }
            | Phase::Draining { .. }
            | Phase::Parting { .. }
            | Phase::Leaving { .. }
            | Phase::Dumping { .. }
            | Phase::Killed { .. } => ExitReason::BootFailed(error),
        };
        self.ended(now, peer, member, reason, End::default());
    }

    pub(super) fn exited(&mut self, now: Instant, peer: PeerId, end: End) {
        let Some(member) = self.members.remove(&peer) else { return };
        let reason = member.reason(now, end.status);
        self.ended(now, peer, member, reason, end);
    }

    /// It was killed long ago, and is still there.
    pub(super) fn does_not_die(&mut self, now: Instant, peer: PeerId) {
        let Some(member) = self.members.get_mut(&peer) else { return };
        if member.pid != 0 {
            // Whatever waits for its end waits no longer. The driver sees to what is left, whenever it ends.
            let why =
                format!("it was killed {DYING:?} ago and is still there: the kernel does not let it go");
            return self.exited(now, peer, End { last_stderr: vec![why], ..End::default() });
        }
        if let Phase::Killed { until, .. } = &mut member.phase {
            *until = now + FORK_TIMEOUT;
        }
        self.wait_for_end_of_fork_server(now, peer);
    }

    /// A process is no more: tells it, and decides what becomes of its seat.
    fn ended(&mut self, now: Instant, peer: PeerId, member: Member, reason: ExitReason, mut end: End) {
        if let Some(LastWord::Finished { error: Some(error), .. }) = &member.last_word {
            end.last_stderr.push(error.clone());
        }
        if reason != ExitReason::Hung {
            end.trace.clear();
        } else if end.trace.is_empty() {
            end.trace.push(format!("no trace: its sentinel did not answer within {DUMPING:?}"));
        }
        match (peer, member.seat) {
            (PeerId::Worker(worker), Seat::Slot(slot)) => {
                self.worker_ended(now, worker, slot, member, reason, end);
            }
            (PeerId::Worker(_), Seat::Director) | (PeerId::Director(_), _) => {
                self.director_ended(now, peer, &member, reason, end);
            }
        }
    }

    fn worker_ended(
        &mut self,
        now: Instant,
        worker: WorkerId,
        slot: Slot,
        member: Member,
        reason: ExitReason,
        end: End,
    ) {
        let planned = reason.is_planned();
        let awaited = self.stop_awaiting(PeerId::Worker(worker), &member);
        if !planned && !member.counted && !awaited && self.is_serving() {
            self.budget.crashed(
                now,
                &self.policy.restart,
                matches!(reason, ExitReason::BootFailed(_)) || reason == ExitReason::BootTimeout,
            );
        }
        let next = if awaited {
            Next::NotReplaced
        } else {
            self.successor(now, PeerId::Worker(worker), &member, planned, &end)
        };
        self.clean &= planned || reason == ExitReason::Finished;
        let exit = Exit {
            worker,
            slot,
            pid: member.pid,
            generation: member.generation,
            reason,
            status: end.status,
            uptime: now - member.asked,
            last_stderr: end.last_stderr,
            trace: end.trace,
            next: Next::AlreadyReplaced,
            connections: end.connections,
            usage: end.usage,
        };
        let told = exit.to_string();
        let last_stderr = exit.last_stderr.clone();
        self.tell(Event::WorkerExited(Exit { next, ..exit }));
        if awaited {
            let why = told;
            return self.newcomer_lost(now, PeerId::Worker(worker), Failure { why, last_stderr });
        }
        self.commands_see_end(worker, slot, &member, &told);
        if next == Next::GiveUp {
            let why = self.budget.spent(&self.policy.restart).unwrap_or_default();
            self.give_up(now, format!("{why}; the last: {told}"));
        } else if self.is_serving() && self.places.are_vacant() {
            // Programs that have all done their work are no failure.
            let why = format!("no worker is left and none is replaced; the last: {told}");
            self.stop(now, if self.clean { Verdict::Stopped } else { Verdict::GaveUp(why) });
        }
    }

    /// It comes back for as long as the cluster serves, however it ended: nobody else does its work.
    fn director_ended(&mut self, now: Instant, peer: PeerId, member: &Member, reason: ExitReason, end: End) {
        self.commands.forget(peer);
        self.reloads.forget(peer);
        let awaited = self.stop_awaiting(peer, member);
        let next = if awaited {
            Next::NotReplaced
        } else {
            self.successor(now, peer, member, reason.is_planned(), &end)
        };
        let (pid, uptime) = (member.pid, now - member.asked);
        let End { status, last_stderr, trace, .. } = end;
        let event = Event::DirectorExited { pid, reason, status, uptime, last_stderr, trace, next };
        let why = event.to_string();
        self.tell(event);
        if awaited {
            self.newcomer_lost(now, peer, Failure { why, last_stderr: Vec::new() });
        }
    }

    /// Whether it was to take a seat of another's; now it is not.
    fn stop_awaiting(&mut self, peer: PeerId, member: &Member) -> bool {
        let Some(place) = self.places.get_mut(member.seat) else { return false };
        place.newcomer.take_if(|newcomer| newcomer.peer == peer).is_some()
    }

    /// What happens next in the seat of a process that has ended.
    pub(super) fn successor(
        &mut self,
        now: Instant,
        peer: PeerId,
        member: &Member,
        planned: bool,
        end: &End,
    ) -> Next {
        let serves = self.is_serving();
        let may_restart = planned || self.may_restart(peer, end);
        let hopeless = self.serving() == 0 && self.budget.spent(&self.policy.restart).is_some();
        let held = Holder::Member(peer);
        let wanted = self.is_wanted(member.seat);
        if serves
            && self.places.get(member.seat).is_some_and(|place| place.holder == held)
            && self.inherit(member.seat)
        {
            return Next::AlreadyReplaced;
        }
        // A slot that has been given up has nobody.
        let Some(place) = self.places.get_mut(member.seat) else { return Next::NotReplaced };
        if place.holder != held {
            return if serves { Next::AlreadyReplaced } else { Next::NotReplaced };
        }
        if !serves || !may_restart || !wanted {
            place.holder = Holder::Vacant;
            return Next::NotReplaced;
        }
        if let PeerId::Worker(_) = peer
            && hopeless
            && !planned
        {
            place.holder = Holder::Vacant;
            return Next::GiveUp;
        }
        let mut delay = if planned {
            Duration::ZERO
        } else {
            place.backoff.next(&self.policy.restart, now - member.asked, &mut self.rng)
        };
        if member.pid == 0 {
            // It never was a process: what it lacked (descriptors, memory) will not be there at once.
            delay = delay.max(STILLBORN_DELAY);
        }
        place.holder = Holder::Waiting(now + delay);
        Next::RestartIn(delay)
    }

    /// Whether the policy lets one that ended unasked come back.
    fn may_restart(&self, peer: PeerId, end: &End) -> bool {
        let code = end.status.and_then(|status| status.code());
        let is_final = code.is_some_and(|code| self.policy.restart.final_codes.contains(&code));
        match peer {
            PeerId::Worker(_) => self.policy.restart.enabled && !is_final,
            PeerId::Director(_) => true,
        }
    }

    // ----- the fork server

    pub(super) fn fork_server_up(&mut self, now: Instant, generation: u64, pid: u32) {
        match self.nurseries.get_mut(&generation) {
            Some(nursery @ Nursery::Booting { .. }) => {
                let (backoff, _) = nursery.lost(now);
                *nursery = Nursery::Up { since: now, backoff };
                self.tell(Event::ForkServerReady { pid });
                self.opened(now, generation);
            }
            Some(Nursery::Exec | Nursery::Up { .. } | Nursery::Killed { .. } | Nursery::Waiting { .. })
            | None => {}
        }
    }

    pub(super) fn fork_server_lost(&mut self, now: Instant, generation: u64, failure: Failure) {
        if !self.policy.fork_server || !self.is_serving() {
            return;
        }
        if self.reloads.tries(generation) {
            let why = format!("its fork server was lost ({})", failure.why);
            return self.reload_failed(now, Failure { why, ..failure });
        }
        let is_present = generation == self.generation;
        let Some(nursery) = self.nurseries.get_mut(&generation) else { return };
        let (mut backoff, uptime) = nursery.lost(now);
        if !is_present {
            // It is executed again if that generation ever comes back.
            *nursery = Nursery::Waiting { until: now, backoff };
            return;
        }
        let why = failure.why.clone();
        let delay = backoff.next(&self.policy.restart, uptime, &mut self.rng);
        *nursery = Nursery::Waiting { until: now + delay, backoff };
        self.tell(Event::ForkServerLost { why: why.clone(), again_in: delay });
        if self.workers().next().is_none() {
            // Nobody serves, and nobody can be made: that counts like a boot that failed.
            self.budget.crashed(now, &self.policy.restart, true);
            if let Some(spent) = self.budget.spent(&self.policy.restart) {
                self.give_up(now, format!("{spent}; the last: the fork server was lost ({why})"));
            }
        }
        let why = format!("its fork server was lost ({why})");
        self.rolling_suffers(now, Failure { why, ..failure });
    }

    /// That generation will have no workers: to run what has failed once more would not be what was asked for.
    pub(super) fn unprepared(&mut self, now: Instant, generation: u64, failure: Failure) {
        if !self.is_serving() {
            return;
        }
        let killed = matches!(self.nurseries.get(&generation), Some(Nursery::Killed { .. }));
        let why = if killed {
            format!("prepare failed: it was not done within {:?}, the boot timeout", self.policy.boot_timeout)
        } else {
            format!("prepare failed: {}", failure.why)
        };
        if self.reloads.tries(generation) {
            self.reload_failed(now, Failure { why, ..failure });
        } else if generation == self.generation {
            // It never had a worker: this is the start.
            self.give_up(now, why);
        }
    }

    pub(super) fn time_out_fork_servers(&mut self, now: Instant) {
        for (generation, nursery) in &mut self.nurseries {
            if let Nursery::Killed { until, .. } = nursery
                && *until <= now
            {
                // It does not die: what it was asked for is told as lost, as at its end.
                *until = now + DYING;
                self.actions.push(Action::ForgetForkServer { generation: *generation });
            }
        }
        self.time_out_present(now);
    }

    fn time_out_present(&mut self, now: Instant) {
        let (generation, serves) = (self.generation, self.is_serving());
        // One that is tried has the reload's deadline; one that is over has none.
        let Some(nursery) = self.nurseries.get_mut(&generation) else { return };
        match nursery.clone() {
            Nursery::Waiting { until, backoff } if until <= now && serves => {
                *nursery = Nursery::Booting { until: now + self.policy.boot_timeout, backoff };
                self.actions.push(Action::StartForkServer { generation });
            }
            Nursery::Booting { until, backoff } if until <= now => {
                *nursery = Nursery::Killed { since: now, until: now + DYING, backoff };
                self.actions.push(Action::KillForkServer { generation });
            }
            Nursery::Exec
            | Nursery::Up { .. }
            | Nursery::Killed { .. }
            | Nursery::Waiting { .. }
            | Nursery::Booting { .. } => {}
        }
    }

    pub(super) fn fork_request_timed_out(&mut self, now: Instant, peer: PeerId) {
        let Some(member) = self.members.get_mut(&peer) else { return };
        member.phase = Phase::Forking { until: now + FORK_TIMEOUT };
        self.wait_for_end_of_fork_server(now, peer);
    }

    /// The fork server is stuck: it is killed, and its end, or that it does not end, turns this request into a stillbirth.
    fn wait_for_end_of_fork_server(&mut self, now: Instant, peer: PeerId) {
        let Some(generation) = self.members.get(&peer).map(|member| member.generation) else { return };
        match self.nurseries.get(&generation) {
            Some(Nursery::Up { .. } | Nursery::Killed { .. }) => self.kill_fork_server(now, generation),
            // What is executed is a process at once, or is not.
            Some(Nursery::Exec) => {}
            // That generation is over, and nobody waits for its fork server's end.
            Some(Nursery::Waiting { .. } | Nursery::Booting { .. }) | None => {
                self.actions.push(Action::Forget { peer });
                self.stillborn(now, peer, "its fork server does not answer".to_owned());
            }
        }
    }

    /// Kills one that takes requests, and no answer is expected of any more.
    pub(super) fn kill_fork_server(&mut self, now: Instant, generation: u64) {
        let Some(nursery) = self.nurseries.get_mut(&generation) else { return };
        if let Nursery::Up { since, backoff } = nursery.clone() {
            *nursery = Nursery::Killed { since, until: now + DYING, backoff };
            self.actions.push(Action::KillForkServer { generation });
        }
    }
}
