//! The supervision state machine: which workers there are, which there shall be, and what to do about it.
//! Pure: no I/O, no clock, no Tokio. Time comes in as a parameter.
use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::event::{Event, Exit, ExitReason, Next};
use crate::id::{Slot, WorkerId};
use crate::supervise::input::{Action, Input, Policy, Verdict};
use crate::supervise::member::{DRAIN_GRACE, Killed, LastWord, Member, Phase};
use crate::supervise::nursery::{FORK_TIMEOUT, Nursery};
use crate::supervise::restart::{Backoff, Budget};

/// How long a worker that wants to leave waits for its answer.
const ASKING: Duration = Duration::from_millis(20);
/// The least delay after a worker that could not even be made.
const STILLBORN_DELAY: Duration = Duration::from_millis(100);
/// What is not ready when the cluster stops serves nobody; so long it may take to leave by itself.
const UNREADY_DRAIN: Duration = Duration::from_secs(1);

pub(crate) struct Pool {
    policy: Policy,
    rng: fastrand::Rng,
    slots: Vec<Place>,
    members: BTreeMap<WorkerId, Member>,
    nursery: Nursery,
    budget: Budget,
    last_id: u64,
    course: Course,
    all_ready: bool,
    /// Nobody has ended otherwise than well.
    clean: bool,
    actions: Vec<Action>,
}

/// Where the cluster is heading.
#[derive(Debug, Clone)]
enum Course {
    Serving,
    Stopping(Verdict),
    Ended,
}

/// A slot.
#[derive(Debug)]
struct Place {
    holder: Holder,
    backoff: Backoff,
}

/// Who has a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// Nobody until then.
    Waiting(Instant),
    Worker(WorkerId),
    /// Nobody any more.
    Vacant,
}

impl Pool {
    /// A pool that wants all its workers at once.
    pub(crate) fn new(now: Instant, policy: Policy) -> Self {
        let place = || Place { holder: Holder::Waiting(now), backoff: Backoff::default() };
        Self {
            rng: fastrand::Rng::with_seed(policy.seed),
            slots: (0..policy.workers).map(|_| place()).collect(),
            members: BTreeMap::new(),
            nursery: if policy.fork_server {
                Nursery::Booting { until: now + policy.boot_timeout, backoff: Backoff::default() }
            } else {
                Nursery::Exec
            },
            budget: Budget::default(),
            last_id: 0,
            course: Course::Serving,
            all_ready: false,
            clean: true,
            actions: Vec::new(),
            policy,
        }
    }

    /// Takes in what happened and says what to do. Call it with `Input::Time` at `next_deadline`.
    pub(crate) fn handle(&mut self, now: Instant, input: Input) -> Vec<Action> {
        match input {
            Input::Born { worker, pid } => self.born(now, worker, pid),
            Input::Stillborn { worker, error } => self.stillborn(now, worker, error),
            Input::Ready { worker } => self.ready(now, worker),
            Input::Draining { worker } => self.drains_itself(now, worker),
            Input::BootFailed { worker, error } => self.said(now, worker, LastWord::BootFailed(error)),
            Input::Finished { worker, error } => {
                self.said(now, worker, LastWord::Finished { error, drained: false });
            }
            Input::Garbled { worker } => self.kill(worker, Killed::Garbled),
            Input::Exited { worker, status, last_stderr } => self.exited(now, worker, status, last_stderr),
            Input::ForkServerUp { pid } => self.fork_server_up(now, pid),
            Input::ForkServerLost { why } => self.fork_server_lost(now, why),
            Input::Stop => self.stop(now, Verdict::Stopped),
            Input::StopNow => self.stop_now(),
            Input::Time => {}
        }
        self.time_out(now);
        self.spawn_due(now);
        self.end_if_over();
        std::mem::take(&mut self.actions)
    }

    /// When time alone will change something.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let spawns = self.slots.iter().filter_map(|place| match place.holder {
            // A slot waits for the nursery, not for the clock, while that cannot spawn.
            Holder::Waiting(until) if self.nursery.can_spawn() => Some(until),
            Holder::Waiting(_) | Holder::Worker(_) | Holder::Vacant => None,
        });
        let members = self.members.values().filter_map(|member| member.phase.deadline());
        spawns.chain(members).chain(self.nursery.deadline()).min()
    }

    /// The workers that have not ended.
    #[cfg(test)]
    pub(crate) fn living(&self) -> Vec<(WorkerId, Slot)> {
        self.members.iter().map(|(worker, member)| (*worker, member.slot)).collect()
    }

    fn tell(&mut self, event: Event) {
        self.actions.push(Action::Tell(event));
    }

    fn is_serving(&self) -> bool {
        matches!(self.course, Course::Serving)
    }

    fn online(&self) -> usize {
        self.members.values().filter(|member| member.phase == Phase::Serving).count()
    }

    // ----- what workers say and suffer

    fn born(&mut self, now: Instant, worker: WorkerId, pid: u32) {
        let boot_timeout = self.policy.boot_timeout;
        let Some(member) = self.members.get_mut(&worker) else { return };
        member.pid = pid;
        match member.phase {
            Phase::Forking { .. } => member.phase = Phase::Booting { until: now + boot_timeout },
            // Told to leave before it was born: the word waits in its socket. Killed: now it can be.
            Phase::Killed(why) => self.kill(worker, why),
            Phase::Booting { .. }
            | Phase::Serving
            | Phase::Asking { .. }
            | Phase::Draining { .. }
            | Phase::Leaving { .. } => {}
        }
    }

    fn stillborn(&mut self, now: Instant, worker: WorkerId, error: String) {
        let Some(member) = self.members.remove(&worker) else { return };
        let reason = ExitReason::BootFailed(error);
        self.ended(now, worker, member, reason, None, Vec::new());
    }

    fn ready(&mut self, now: Instant, worker: WorkerId) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        match member.phase {
            Phase::Booting { .. } | Phase::Forking { .. } => member.phase = Phase::Serving,
            Phase::Serving
            | Phase::Asking { .. }
            | Phase::Draining { .. }
            | Phase::Leaving { .. }
            | Phase::Killed(_) => return,
        }
        let (slot, pid, took) = (member.slot, member.pid, now - member.asked);
        self.budget.online();
        self.tell(Event::WorkerReady { worker, slot, pid, took });
        let serving = |place: &Place| match place.holder {
            Holder::Worker(worker) => {
                self.members.get(&worker).is_some_and(|held| held.phase == Phase::Serving)
            }
            Holder::Waiting(_) | Holder::Vacant => false,
        };
        if !self.all_ready && self.slots.iter().all(serving) {
            self.all_ready = true;
            self.tell(Event::AllReady { workers: self.policy.workers });
        }
    }

    /// Told to leave by a signal, or by itself. Where the signal went to all processes at once, the primary's
    /// own is a moment away, and the cluster stops: then no successor is made for nothing, and the worker is
    /// told to serve what is queued.
    fn drains_itself(&mut self, now: Instant, worker: WorkerId) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        let booting = match member.phase {
            Phase::Forking { .. } | Phase::Booting { .. } => true,
            Phase::Serving => false,
            Phase::Asking { .. } | Phase::Draining { .. } | Phase::Leaving { .. } | Phase::Killed(_) => {
                return;
            }
        };
        member.phase = Phase::Asking { until: now + ASKING };
        if booting && self.is_serving() {
            self.budget.crashed(now, &self.policy.restart, true);
        }
    }

    /// Lets a worker leave that wants to, and makes way for its successor.
    fn let_leave(&mut self, now: Instant, worker: WorkerId) {
        let until = now + self.policy.drain_timeout + DRAIN_GRACE;
        let Some(member) = self.members.get_mut(&worker) else { return };
        member.phase = Phase::Draining { until };
        self.actions.push(Action::Drain { worker, close_queue: false });
        let (slot, pid, uptime) = (member.slot, member.pid, now - member.asked);
        let left = self.members.values().filter(|member| member.slot == slot && member.has_left()).count();
        let hopeless = self.online() == 0 && self.budget.spent(&self.policy.restart).is_some();
        let place = &mut self.slots[usize::from(slot.0)];
        // Workers that leave as soon as they come do not pile up: the second in a row waits as after a crash.
        let row = left > 1 || uptime < self.policy.restart.min;
        let delay = if row {
            place.backoff.next(&self.policy.restart, uptime, &mut self.rng)
        } else {
            Duration::ZERO
        };
        place.holder = Holder::Waiting(now + delay);
        self.tell(Event::WorkerDraining { worker, slot, pid });
        if hopeless {
            let why = self.budget.spent(&self.policy.restart).unwrap_or_default();
            self.give_up(now, format!("{why}; the last: worker {worker} left before it was ready"));
        }
    }

    fn said(&mut self, now: Instant, worker: WorkerId, word: LastWord) {
        let until = now + self.policy.drain_timeout + DRAIN_GRACE;
        let Some(member) = self.members.get_mut(&worker) else { return };
        let drained = match member.phase {
            Phase::Asking { .. } | Phase::Draining { .. } => true,
            Phase::Forking { .. } | Phase::Booting { .. } | Phase::Serving => false,
            Phase::Leaving { .. } | Phase::Killed(_) => return,
        };
        member.last_word = Some(match word {
            LastWord::Finished { error, .. } => LastWord::Finished { error, drained },
            LastWord::BootFailed(error) => LastWord::BootFailed(error),
        });
        member.phase = Phase::Leaving { until };
    }

    fn exited(
        &mut self,
        now: Instant,
        worker: WorkerId,
        status: Option<ExitStatus>,
        last_stderr: Vec<String>,
    ) {
        let Some(member) = self.members.remove(&worker) else { return };
        let reason = member.reason(now, status);
        self.ended(now, worker, member, reason, status, last_stderr);
    }

    /// A worker is no more: tells it, and decides what becomes of its slot.
    fn ended(
        &mut self,
        now: Instant,
        worker: WorkerId,
        member: Member,
        reason: ExitReason,
        status: Option<ExitStatus>,
        mut last_stderr: Vec<String>,
    ) {
        if let Some(LastWord::Finished { error: Some(error), .. }) = &member.last_word {
            last_stderr.push(error.clone());
        }
        let uptime = now - member.asked;
        let planned = reason == ExitReason::Stopped;
        if !planned && self.is_serving() {
            self.budget.crashed(
                now,
                &self.policy.restart,
                matches!(reason, ExitReason::BootFailed(_)) || reason == ExitReason::BootTimeout,
            );
        }
        let next = self.successor(now, worker, &member, planned, uptime, status);
        self.clean &= matches!(reason, ExitReason::Finished | ExitReason::Stopped);
        let (slot, pid) = (member.slot, member.pid);
        let exit =
            Exit { worker, slot, pid, reason, status, uptime, last_stderr, next: Next::AlreadyReplaced };
        let told = exit.to_string();
        self.tell(Event::WorkerExited(Exit { next, ..exit }));
        if next == Next::GiveUp {
            let why = self.budget.spent(&self.policy.restart).unwrap_or_default();
            self.give_up(now, format!("{why}; the last: {told}"));
        } else if self.is_serving() && self.slots.iter().all(|place| place.holder == Holder::Vacant) {
            // Programs that have all done their work are no failure.
            let why = format!("no worker is left and none is replaced; the last: {told}");
            self.stop(now, if self.clean { Verdict::Stopped } else { Verdict::GaveUp(why) });
        }
    }

    /// What happens next in the slot of a worker that has ended.
    fn successor(
        &mut self,
        now: Instant,
        worker: WorkerId,
        member: &Member,
        planned: bool,
        uptime: Duration,
        status: Option<ExitStatus>,
    ) -> Next {
        if self.slots[usize::from(member.slot.0)].holder != Holder::Worker(worker) {
            return if self.is_serving() { Next::AlreadyReplaced } else { Next::NotReplaced };
        }
        let final_code = status
            .and_then(|status| status.code())
            .is_some_and(|code| self.policy.restart.final_codes.contains(&code));
        let may_restart = planned || (self.policy.restart.enabled && !final_code);
        let hopeless = self.online() == 0 && self.budget.spent(&self.policy.restart).is_some();
        let place = &mut self.slots[usize::from(member.slot.0)];
        if !matches!(self.course, Course::Serving) || !may_restart {
            place.holder = Holder::Vacant;
            return Next::NotReplaced;
        }
        if hopeless && !planned {
            place.holder = Holder::Vacant;
            return Next::GiveUp;
        }
        let mut delay = if planned {
            Duration::ZERO
        } else {
            place.backoff.next(&self.policy.restart, uptime, &mut self.rng)
        };
        if member.pid == 0 {
            // It never was a process: what it lacked (descriptors, memory) will not be there at once.
            delay = delay.max(STILLBORN_DELAY);
        }
        place.holder = Holder::Waiting(now + delay);
        Next::RestartIn(delay)
    }

    // ----- the fork server

    fn fork_server_up(&mut self, now: Instant, pid: u32) {
        match &self.nursery {
            Nursery::Booting { backoff, .. } => {
                self.nursery = Nursery::Up { since: now, backoff: backoff.clone() };
                self.tell(Event::ForkServerReady { pid });
            }
            Nursery::Exec | Nursery::Up { .. } | Nursery::Killed { .. } | Nursery::Waiting { .. } => {}
        }
    }

    fn fork_server_lost(&mut self, now: Instant, why: String) {
        if !self.policy.fork_server || !self.is_serving() {
            return;
        }
        let (mut backoff, uptime) = self.nursery.lost(now);
        let delay = backoff.next(&self.policy.restart, uptime, &mut self.rng);
        self.nursery = Nursery::Waiting { until: now + delay, backoff };
        self.tell(Event::ForkServerLost { why: why.clone(), again_in: delay });
        if self.members.is_empty() {
            // Nobody serves, and nobody can be made: that counts like a boot that failed.
            self.budget.crashed(now, &self.policy.restart, true);
            if let Some(spent) = self.budget.spent(&self.policy.restart) {
                self.give_up(now, format!("{spent}; the last: the fork server was lost ({why})"));
            }
        }
    }

    // ----- stopping

    fn stop(&mut self, now: Instant, verdict: Verdict) {
        if !self.is_serving() {
            return;
        }
        self.course = Course::Stopping(verdict);
        let asked = matches!(self.course, Course::Stopping(Verdict::Stopped)) && !self.members.is_empty();
        self.tell(Event::Stopping { connections: 0, asked });
        for place in &mut self.slots {
            if let Holder::Waiting(_) = place.holder {
                place.holder = Holder::Vacant;
            }
        }
        for (worker, member) in &mut self.members {
            let patience = match member.phase {
                Phase::Serving | Phase::Asking { .. } => self.policy.drain_timeout + DRAIN_GRACE,
                Phase::Forking { .. } | Phase::Booting { .. } => UNREADY_DRAIN,
                Phase::Draining { .. } => {
                    // It has its deadline; what is new is that nobody will serve the queue.
                    self.actions.push(Action::Drain { worker: *worker, close_queue: true });
                    continue;
                }
                Phase::Leaving { .. } | Phase::Killed(_) => continue,
            };
            member.phase = Phase::Draining { until: now + patience };
            self.actions.push(Action::Drain { worker: *worker, close_queue: true });
        }
    }

    fn stop_now(&mut self) {
        if self.is_serving() {
            self.course = Course::Stopping(Verdict::Stopped);
            self.slots.iter_mut().for_each(|place| place.holder = Holder::Vacant);
        }
        self.tell(Event::StoppingNow);
        let living: Vec<WorkerId> = self.members.keys().copied().collect();
        living.into_iter().for_each(|worker| self.kill(worker, Killed::Stop));
    }

    fn give_up(&mut self, now: Instant, why: String) {
        if self.is_serving() {
            self.tell(Event::GivingUp { why: why.clone() });
            self.stop(now, Verdict::GaveUp(why));
        }
    }

    fn kill(&mut self, worker: WorkerId, why: Killed) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        member.phase = Phase::Killed(why);
        // Not a process yet: only a fork server that is stuck keeps it from being one or none.
        let unborn = member.pid == 0 && self.policy.fork_server;
        self.actions.push(if unborn { Action::KillForkServer } else { Action::Kill { worker } });
    }

    // ----- time

    fn time_out(&mut self, now: Instant) {
        let due: Vec<(WorkerId, Phase)> = self
            .members
            .iter()
            .filter(|(_, member)| member.phase.deadline().is_some_and(|until| until <= now))
            .map(|(worker, member)| (*worker, member.phase))
            .collect();
        for (worker, phase) in due {
            match phase {
                Phase::Forking { .. } => self.fork_request_timed_out(now, worker),
                Phase::Booting { .. } => self.kill(worker, Killed::Boot),
                Phase::Asking { .. } => self.let_leave(now, worker),
                Phase::Draining { .. } => self.kill(worker, Killed::Drain),
                Phase::Leaving { .. } => self.kill(worker, Killed::Leave),
                Phase::Serving | Phase::Killed(_) => {}
            }
        }
        match self.nursery.clone() {
            Nursery::Waiting { until, backoff } if until <= now && self.is_serving() => {
                self.nursery = Nursery::Booting { until: now + self.policy.boot_timeout, backoff };
                self.actions.push(Action::StartForkServer);
            }
            Nursery::Booting { until, backoff } if until <= now => {
                self.nursery = Nursery::Killed { since: now, backoff };
                self.actions.push(Action::KillForkServer);
            }
            Nursery::Exec
            | Nursery::Up { .. }
            | Nursery::Killed { .. }
            | Nursery::Waiting { .. }
            | Nursery::Booting { .. } => {}
        }
    }

    /// The fork server is stuck: it is killed, and its end turns this request into a stillbirth.
    fn fork_request_timed_out(&mut self, now: Instant, worker: WorkerId) {
        if let Some(member) = self.members.get_mut(&worker) {
            member.phase = Phase::Forking { until: now + FORK_TIMEOUT };
        }
        if let Nursery::Up { since, backoff } = self.nursery.clone() {
            self.nursery = Nursery::Killed { since, backoff };
            self.actions.push(Action::KillForkServer);
        }
    }

    fn spawn_due(&mut self, now: Instant) {
        if !self.is_serving() || !self.nursery.can_spawn() {
            return;
        }
        for (index, place) in self.slots.iter_mut().enumerate() {
            match place.holder {
                Holder::Waiting(until) if until <= now => {}
                Holder::Waiting(_) | Holder::Worker(_) | Holder::Vacant => continue,
            }
            self.last_id += 1;
            let (worker, slot) = (WorkerId(self.last_id), Slot(index as u16));
            let phase = Phase::Forking { until: now + FORK_TIMEOUT };
            self.members.insert(worker, Member { slot, pid: 0, asked: now, phase, last_word: None });
            place.holder = Holder::Worker(worker);
            self.actions.push(Action::Spawn { worker, slot });
        }
    }

    fn end_if_over(&mut self) {
        if let Course::Stopping(verdict) = &self.course
            && self.members.is_empty()
        {
            let verdict = verdict.clone();
            self.course = Course::Ended;
            self.tell(Event::Stopped);
            self.actions.push(Action::End(verdict));
        }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
