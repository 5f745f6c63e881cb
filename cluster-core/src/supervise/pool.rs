//! The supervision state machine: which processes there are, which there shall be, and what to do about it.
//! Pure: no I/O, no clock, no Tokio. Time comes in as a parameter.
mod commands;
mod ending;
mod hanging;
mod leaving;
mod newcomer;
mod place;
mod recycling;
mod reloads;
mod rollout;
mod stopping;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Instant;

use self::commands::Commands;
use self::place::{Holder, Places};
use self::recycling::Recycler;
use self::reloads::{Failure, Reloads};
use self::stopping::Course;
use crate::event::{ConnectionCounts, Event, Status, WorkerStatus};
use crate::id::{PeerId, Seat, WorkerId};
use crate::supervise::input::{Action, Entry, Input, Policy, Verdict};
use crate::supervise::member::{Killed, LastWord, Member, Phase};
use crate::supervise::nursery::{FORK_TIMEOUT, Nursery};
use crate::supervise::restart::{Backoff, Budget};
use crate::supervise::span::Span;

/// The run of `main` that the cluster begins with.
pub(crate) const FIRST_GENERATION: u64 = 1;

pub(crate) struct Pool {
    policy: Policy,
    rng: fastrand::Rng,
    places: Places,
    members: BTreeMap<PeerId, Member>,
    /// Of which generation new workers are.
    generation: u64,
    /// Whether that has a director.
    directed: bool,
    /// Where workers of each open generation come from.
    nurseries: BTreeMap<u64, Nursery>,
    reloads: Reloads,
    recycler: Recycler,
    budget: Budget,
    last_worker: u64,
    last_director: u64,
    course: Course,
    commands: Commands,
    /// When it was last looked whether runtimes turn.
    last_look: Option<Instant>,
    all_ready: bool,
    /// No worker has ended otherwise than well.
    clean: bool,
    actions: Vec<Action>,
}

impl Pool {
    /// A pool that wants all its workers, and its director, at once.
    pub(crate) fn new(now: Instant, policy: Policy) -> Self {
        let nursery = if policy.fork_server || policy.prepares {
            Nursery::Booting { until: now + policy.boot_timeout, backoff: Backoff::default() }
        } else {
            Nursery::Exec
        };
        Self {
            rng: fastrand::Rng::with_seed(policy.seed),
            places: Places::new(now, policy.workers, policy.director),
            members: BTreeMap::new(),
            generation: FIRST_GENERATION,
            directed: policy.director,
            nurseries: BTreeMap::from([(FIRST_GENERATION, nursery)]),
            reloads: Reloads::new(FIRST_GENERATION),
            recycler: Recycler::default(),
            budget: Budget::default(),
            last_worker: 0,
            last_director: 0,
            course: Course::Serving,
            commands: Commands::default(),
            last_look: None,
            all_ready: false,
            clean: true,
            actions: Vec::new(),
            policy,
        }
    }

    /// Takes in what happened and says what to do. Call it with `Input::Time` at `next_deadline`.
    pub(crate) fn handle(&mut self, now: Instant, input: Input) -> Vec<Action> {
        match input {
            Input::Born { peer, pid } => self.born(now, peer, pid),
            Input::Stillborn { peer, error } => self.stillborn(now, peer, error),
            Input::Directed { peer, director } => self.reloads.learn(peer, director),
            Input::Online { peer } => self.online(peer),
            Input::Ready { peer } => self.ready(now, peer),
            Input::Draining { peer } => self.wants_to_leave(now, peer),
            Input::BootFailed { peer, error } => self.said(now, peer, LastWord::BootFailed(error)),
            Input::Finished { peer, error } => {
                self.said(now, peer, LastWord::Finished { error, drained: false });
            }
            Input::Garbled { peer, why } => self.kill(now, peer, Killed::Garbled(why)),
            Input::Exited { peer, end } => self.exited(now, peer, end),
            Input::ForkServerUp { generation, pid } => self.fork_server_up(now, generation, pid),
            Input::ForkServerLost { generation, why, last_stderr } => {
                self.fork_server_lost(now, generation, Failure { why, last_stderr });
            }
            Input::Unprepared { generation, error, last_stderr } => {
                self.unprepared(now, generation, Failure { why: error, last_stderr });
            }
            Input::Opened { generation } => {
                // One that was given up meanwhile stays closed.
                if generation == self.generation || self.reloads.tries(generation) {
                    self.nurseries.insert(generation, Nursery::Exec);
                }
                self.opened(now, generation);
            }
            Input::NotOpened { generation, why } => self.not_opened(now, generation, why),
            Input::Reload => self.reload(now, None),
            Input::Command { from, id, command } => self.command(now, from, id, command),
            Input::Looked { beats } => self.looked(now, &beats),
            Input::Weighed { loads } => self.weighed(&loads),
            Input::Examined { peer, condition } => self.examined(now, peer, condition),
            Input::ScaleBy(by) => self.scale_by(now, by),
            Input::Stop => self.stop(now, Verdict::Stopped),
            Input::StopNow => self.stop_now(now),
            Input::Time => {}
        }
        self.time_out(now);
        self.roll(now);
        // AFTER that: it may be back at a generation whose fork server was lost long ago.
        self.time_out_fork_servers(now);
        self.spawn_due(now);
        self.recycle(now);
        self.dismiss_director(now);
        self.end_if_over();
        std::mem::take(&mut self.actions)
    }

    /// When time alone will change something.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let spawns = self.places.all().filter_map(|(seat, place)| match place.holder {
            Holder::Waiting(_) if !self.is_wanted(seat) => None,
            // A seat waits for the nursery, not for the clock, while that cannot spawn.
            Holder::Waiting(until) if self.can_spawn(self.generation) => Some(until),
            Holder::Waiting(_) | Holder::Member(_) | Holder::Vacant => None,
        });
        let members = self.members.values().filter_map(|member| member.phase.deadline());
        let nurseries = self.nurseries.iter().filter_map(|(generation, nursery)| {
            match nursery {
                Nursery::Killed { until, .. } => Some(*until),
                // What else happens to a generation that is tried, or over, is not the nursery's to say.
                _ if *generation != self.generation => None,
                // Nobody is made any more.
                Nursery::Waiting { .. } if !self.is_serving() => None,
                nursery => nursery.deadline(),
            }
        });
        let rollout = self.reloads.deadline(self.policy.rollout.health);
        spawns.chain(members).chain(nurseries).chain(rollout).chain(self.recycle_at()).min()
    }

    /// How the cluster stands, after all that has been told so far.
    pub(crate) fn status(&self) -> Status {
        let workers = self.workers().filter(|(_, member)| member.pid != 0);
        Status {
            generation: self.generation,
            slots: self.places.count(),
            stopping: !self.is_serving(),
            workers: workers
                .filter_map(|(id, member)| {
                    let Seat::Slot(slot) = member.seat else { return None };
                    let (pid, state, generation) = (member.pid, member.state(), member.generation);
                    // What it counts is in its page, which the pool does not see.
                    let connections = ConnectionCounts::default();
                    Some(WorkerStatus { id, slot, pid, generation, state, connections, private_memory: None })
                })
                .collect(),
            listeners: Vec::new(),
        }
    }

    /// Whether nobody has the seat, and nobody will.
    pub(crate) fn is_vacant(&self, seat: Seat) -> bool {
        self.places.get(seat).is_none_or(|place| place.holder == Holder::Vacant && place.newcomer.is_none())
    }

    fn workers(&self) -> impl Iterator<Item = (WorkerId, &Member)> {
        self.members.iter().filter_map(|(peer, member)| match peer {
            PeerId::Worker(worker) => Some((*worker, member)),
            PeerId::Director(_) => None,
        })
    }

    fn tell(&mut self, event: Event) {
        self.actions.push(Action::Tell(event));
    }

    fn is_serving(&self) -> bool {
        matches!(self.course, Course::Serving)
    }

    /// How many workers serve.
    fn serving(&self) -> usize {
        self.workers().filter(|(_, member)| member.phase == Phase::Serving).count()
    }

    // ----- what processes say and suffer

    fn born(&mut self, now: Instant, peer: PeerId, pid: u32) {
        let boot_timeout = self.policy.boot_timeout;
        let Some(member) = self.members.get_mut(&peer) else { return };
        member.pid = pid;
        let (phase, generation) = (member.phase.clone(), member.generation);
        if let Phase::Forking { .. } = phase {
            member.phase = Phase::Booting { until: now + boot_timeout };
        }
        if let (PeerId::Worker(worker), Seat::Slot(slot)) = (peer, member.seat) {
            self.tell(Event::WorkerStarted { worker, slot, pid, generation });
        }
        match phase {
            // Told to leave before it was born: the word waits in its socket.
            Phase::Draining { .. } => self.tell_draining(peer),
            // Now it can be.
            Phase::Killed { why, .. } => self.kill(now, peer, why),
            Phase::Forking { .. }
            | Phase::Booting { .. }
            | Phase::Serving
            | Phase::Asking { .. }
            | Phase::Parting { .. }
            | Phase::Leaving { .. }
            | Phase::Dumping { .. } => {}
        }
    }

    fn online(&mut self, peer: PeerId) {
        let Some(member) = self.members.get_mut(&peer) else { return };
        let new = !std::mem::replace(&mut member.told.online, true);
        // One that is told of as ready, or as leaving, is past that.
        let early = new && !member.told.ready && !member.told.draining;
        if let (PeerId::Worker(worker), Seat::Slot(slot), true) = (peer, member.seat, early) {
            let pid = member.pid;
            self.tell(Event::WorkerOnline { worker, slot, pid });
        }
    }

    fn ready(&mut self, now: Instant, peer: PeerId) {
        let Some(member) = self.members.get_mut(&peer) else { return };
        match (&member.phase, peer) {
            (Phase::Booting { .. }, _) => member.phase = Phase::Serving,
            // It may be told to stay yet.
            (Phase::Asking { .. }, PeerId::Director(_)) if !member.told.ready => {}
            (
                Phase::Forking { .. }
                | Phase::Serving
                | Phase::Asking { .. }
                | Phase::Draining { .. }
                | Phase::Parting { .. }
                | Phase::Leaving { .. }
                | Phase::Dumping { .. }
                | Phase::Killed { .. },
                _,
            ) => return,
        }
        member.told.ready = true;
        if member.phase == Phase::Serving {
            member.span = Span::begin(now, self.policy.recycling, &mut self.rng);
        }
        let (seat, pid, took) = (member.seat, member.pid, now - member.asked);
        match (peer, seat) {
            (PeerId::Worker(worker), Seat::Slot(slot)) => {
                self.budget.online();
                self.tell(Event::WorkerReady { worker, slot, pid, took });
                match self.awaited_seat(peer) {
                    Some(seat) => self.newcomer_ready(now, peer, seat),
                    None => {
                        self.see_all_ready();
                        self.commands_see_ready(worker, slot);
                    }
                }
            }
            (PeerId::Worker(_), Seat::Director) | (PeerId::Director(_), _) => {
                self.tell(Event::DirectorReady { pid });
                if let Some(seat) = self.awaited_seat(peer) {
                    self.newcomer_ready(now, peer, seat);
                }
            }
        }
    }

    fn see_all_ready(&mut self) {
        let serves = |holder: Holder| match holder {
            Holder::Member(peer) => {
                self.members.get(&peer).is_some_and(|member| member.phase == Phase::Serving)
            }
            Holder::Waiting(_) | Holder::Vacant => false,
        };
        if !self.all_ready && self.places.slots.iter().all(|place| serves(place.holder)) {
            self.all_ready = true;
            self.tell(Event::AllReady { workers: self.places.count() });
        }
    }

    // ----- time

    fn time_out(&mut self, now: Instant) {
        // One at a time: what follows from a deadline may be overdue, too.
        while let Some((peer, phase)) = self.overdue(now) {
            match phase {
                Phase::Forking { .. } => self.fork_request_timed_out(now, peer),
                Phase::Booting { .. } => self.kill(now, peer, Killed::Boot),
                Phase::Asking { .. } => self.let_leave(now, peer),
                Phase::Draining { .. } => self.kill_at_once(now, peer, Killed::Drain),
                Phase::Parting { since } => self.takes_its_time(now, peer, since),
                Phase::Leaving { .. } => self.kill(now, peer, Killed::Leave),
                Phase::Dumping { .. } => self.kill(now, peer, Killed::Hung),
                Phase::Killed { .. } => self.does_not_die(now, peer),
                Phase::Serving => {}
            }
        }
    }

    fn overdue(&self, now: Instant) -> Option<(PeerId, Phase)> {
        let mut members = self.members.iter();
        let due = members.find(|(_, member)| member.phase.deadline().is_some_and(|until| until <= now));
        due.map(|(peer, member)| (*peer, member.phase.clone()))
    }

    fn spawn_due(&mut self, now: Instant) {
        if !self.is_serving() || !self.can_spawn(self.generation) {
            return;
        }
        let is_due = |holder| matches!(holder, Holder::Waiting(until) if until <= now);
        let due = self.places.all().filter(|(seat, place)| is_due(place.holder) && self.is_wanted(*seat));
        let due: Vec<Seat> = due.map(|(seat, _)| seat).collect();
        for seat in due {
            let peer = self.next_peer(seat);
            let generation = self.generation;
            self.members.insert(peer, Member::new(seat, generation, now, FORK_TIMEOUT));
            if let Some(place) = self.places.get_mut(seat) {
                place.holder = Holder::Member(peer);
            }
            self.actions.push(Action::Spawn { peer, seat, generation, entry: Entry::Vacant });
        }
    }

    /// Whether the present generation has somebody for it.
    fn is_wanted(&self, seat: Seat) -> bool {
        match seat {
            Seat::Slot(_) => true,
            Seat::Director => self.directed,
        }
    }

    fn can_spawn(&self, generation: u64) -> bool {
        self.nurseries.get(&generation).is_some_and(Nursery::can_spawn)
    }

    fn next_peer(&mut self, seat: Seat) -> PeerId {
        match seat {
            Seat::Slot(_) => {
                self.last_worker += 1;
                PeerId::Worker(WorkerId(self.last_worker))
            }
            Seat::Director => {
                self.last_director += 1;
                PeerId::Director(self.last_director)
            }
        }
    }
}
