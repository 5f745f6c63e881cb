//! A world around a pool: it does what the pool asks for, and judges what the pool says.
mod reloading;
mod steps;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::*;
use crate::supervise::input::Condition;

#[derive(Clone, Copy, PartialEq)]
pub(super) enum ForkServer {
    Gone,
    Asked,
    Up,
}

/// What the world does to a pool, as it likes.
pub(super) struct World {
    pub(super) bench: Bench,
    pub(super) rng: fastrand::Rng,
    forks: bool,
    /// Executed, after a process that prepares each generation.
    prepares: bool,
    /// Generations of which a fork server has been up.
    prepared: BTreeSet<u64>,
    /// Those of all open generations.
    pub(super) fork_servers: BTreeMap<u64, ForkServer>,
    /// Generations that are to be opened.
    opening: Vec<u64>,
    pub(super) unborn: Vec<PeerId>,
    pub(super) alive: Vec<PeerId>,
    /// Killed, and the kernel does not let them go.
    undying: BTreeSet<PeerId>,
    /// The same of which the pool has told the end.
    given_up: Vec<PeerId>,
    /// Nothing of this generation ever works.
    pub(super) bad: Option<u64>,
    /// Open commands, and who asked.
    pub(super) asked: HashMap<u64, PeerId>,
    last_command: u64,
    /// Reloads that have begun and not ended.
    pub(super) reloads: usize,
    /// How the world believes that the cluster stands, from events alone.
    replica: Status,
    /// Words of the pool that have been looked at.
    seen: usize,
}

impl World {
    /// A world whose first generation is prepared for, if that is to be done.
    pub(super) fn new(seed: u64) -> Self {
        let mut world = Self::unprepared(seed);
        while let Some(generation) = world.opening.pop() {
            world.open_well(generation);
        }
        world
    }

    pub(super) fn unprepared(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let forks = rng.bool();
        let restart = Restart::default().limit(u32::MAX, Duration::from_secs(1));
        let recycling = Recycling {
            requests: rng.bool().then_some(100),
            memory: rng.bool().then_some(1000),
            lifetime: rng.bool().then_some(Duration::from_secs(300)),
        };
        let rollout = Rollout { batch: rng.u16(1..4), ..Rollout::default() };
        let (director, workers) = (rng.bool(), rng.u16(1..6));
        let prepares = !forks && rng.bool();
        let methods = Policy { fork_server: forks, prepares, ..policy(workers) };
        let policy = Policy { seed, restart, recycling, rollout, director, ..methods };
        let replica = Status { generation: 1, slots: policy.workers, ..Status::default() };
        let mut bench = Bench::new(policy);
        // Somebody was online once, so that no failed boot ends it all.
        bench.pool.budget.online();
        Self {
            bench,
            rng,
            forks,
            prepares,
            prepared: BTreeSet::new(),
            fork_servers: if forks { BTreeMap::from([(1, ForkServer::Asked)]) } else { BTreeMap::new() },
            opening: if prepares { vec![1] } else { Vec::new() },
            unborn: Vec::new(),
            alive: Vec::new(),
            undying: BTreeSet::new(),
            given_up: Vec::new(),
            bad: None,
            asked: HashMap::new(),
            last_command: 0,
            reloads: 0,
            replica,
            seen: 0,
        }
    }

    /// Tells the pool, and judges what it says.
    pub(super) fn say(&mut self, input: Input) {
        let gone = match &input {
            Input::Exited { peer, .. } | Input::Stillborn { peer, .. } => Some(*peer),
            _ => None,
        };
        self.bench.say(input);
        let words = self.bench.words[self.seen..].to_vec();
        self.seen = self.bench.words.len();
        let mut again = self.bench.pool.status();
        for word in words {
            match word {
                Action::Tell(event) => {
                    self.hear(&event);
                    self.replica.apply(&event);
                    again.apply(&event);
                }
                Action::Reply { to, id, .. } | Action::ReplyReload { to, id, .. } => {
                    assert_eq!(self.asked.remove(&id), Some(to), "each is answered once");
                }
                Action::Dismiss { peer } => {
                    let workers = |peer: &PeerId| matches!(peer, PeerId::Worker(_));
                    let replaced = self.bench.pool.members[&peer].leave == Some(Leave::Reload);
                    assert!(replaced || !self.bench.living().iter().any(workers), "the workers first");
                }
                other => panic!("no word: {other:?}"),
            }
        }
        let members = &self.bench.pool.members;
        let (left, stay): (Vec<_>, Vec<_>) =
            self.alive.iter().partition(|peer| self.undying.contains(peer) && !members.contains_key(peer));
        self.alive = stay;
        self.asked.retain(|_, asking| Some(*asking) != gone && !left.contains(asking));
        self.given_up.extend(left);
        let status = self.bench.pool.status();
        assert_eq!(self.replica, status);
        assert_eq!(Status { generation: status.generation, ..again }, status, "a picture taken meanwhile");
        self.check_surge();
    }

    pub(super) fn hear(&mut self, event: &Event) {
        match event {
            Event::Reloading { .. } => self.reloads += 1,
            Event::Reloaded { .. } | Event::ReloadFailed { .. } => self.reloads -= 1,
            _ => {}
        }
        assert!(self.reloads <= 1, "one after another");
    }

    /// Nobody is made beyond the slots, and those that take over.
    pub(super) fn check_surge(&self) {
        let pool = &self.bench.pool;
        let slots = pool.places.count();
        let counts = |member: &Member| {
            let stays = matches!(
                member.phase,
                Phase::Forking { .. } | Phase::Booting { .. } | Phase::Serving | Phase::Asking { .. }
            );
            stays && matches!(member.seat, Seat::Slot(slot) if slot.0 < slots)
        };
        let many = pool.workers().filter(|(_, member)| counts(member)).count();
        let most = usize::from(slots) + usize::from(pool.policy.rollout.batch);
        assert!(many <= most, "{many} workers in {slots} slots");
    }

    /// Does what the pool has asked for since the last call.
    pub(super) fn obey(&mut self) {
        loop {
            let (killed, spawned) =
                (std::mem::take(&mut self.bench.killed), std::mem::take(&mut self.bench.spawned));
            let lost = std::mem::take(&mut self.bench.fork_servers_killed);
            let (opened, closed) =
                (std::mem::take(&mut self.bench.opened), std::mem::take(&mut self.bench.closed));
            for generation in std::mem::take(&mut self.bench.starting) {
                self.fork_servers.insert(generation, ForkServer::Asked);
            }
            for peer in std::mem::take(&mut self.bench.examined) {
                let condition = if self.rng.bool() { Condition::Runs } else { Condition::Stopped };
                self.say(Input::Examined { peer, condition });
            }
            for peer in std::mem::take(&mut self.bench.dumped) {
                // Some say where they hang and end, some do not even that.
                if self.rng.bool() {
                    self.end(peer, KILLED);
                }
            }
            self.unborn.extend(spawned.iter().map(|(peer, _)| *peer));
            self.opening.extend(&opened);
            for peer in &killed {
                if self.undying.contains(peer) || self.rng.u32(..16) == 0 {
                    self.undying.insert(*peer);
                } else {
                    self.end(*peer, KILLED);
                }
            }
            for generation in &lost {
                // Else it does not die, and is told as lost when the pool no longer waits.
                if self.rng.u32(..8) > 0 {
                    self.lose_fork_server(*generation);
                }
            }
            for generation in std::mem::take(&mut self.bench.fork_servers_forgotten) {
                self.lose_fork_server(generation);
            }
            for peer in std::mem::take(&mut self.bench.forgotten) {
                self.unborn.retain(|unborn| *unborn != peer);
            }
            for generation in &closed {
                self.close(*generation);
            }
            if [killed.len(), spawned.len(), lost.len(), opened.len(), closed.len()] == [0; 5] {
                return;
            }
        }
    }

    pub(super) fn end(&mut self, peer: PeerId, raw: i32) {
        if let Some(at) = self.alive.iter().position(|alive| *alive == peer) {
            self.alive.swap_remove(at);
            let end = End { status: Some(ExitStatus::from_raw(raw)), ..End::default() };
            self.say(Input::Exited { peer, end });
        }
    }

    /// Those that were asked of a generation's fork server.
    pub(super) fn take_unborn(&mut self, generation: u64) -> Vec<PeerId> {
        let members = &self.bench.pool.members;
        self.unborn.extract_if(.., |peer| members[peer].generation == generation).collect()
    }

    pub(super) fn lose_fork_server(&mut self, generation: u64) {
        if self.prepares && self.opening.contains(&generation) {
            return self.leave_unprepared(generation);
        }
        if self.fork_servers.get(&generation).is_none_or(|state| *state == ForkServer::Gone) {
            return;
        }
        let unborn = self.take_unborn(generation);
        self.fork_servers.insert(generation, ForkServer::Gone);
        self.say(Input::ForkServerLost { generation, why: "lost".into(), last_stderr: Vec::new() });
        self.bear_still(unborn);
    }

    /// What is to be done before its first worker has failed.
    pub(super) fn leave_unprepared(&mut self, generation: u64) {
        self.opening.retain(|opening| *opening != generation);
        if let Some(state) = self.fork_servers.get_mut(&generation) {
            *state = ForkServer::Gone;
        }
        let error = "no such table".to_owned();
        self.say(Input::Unprepared { generation, error, last_stderr: Vec::new() });
    }

    pub(super) fn close(&mut self, generation: u64) {
        self.opening.retain(|opening| *opening != generation);
        if self.fork_servers.remove(&generation).is_some() {
            let unborn = self.take_unborn(generation);
            self.bear_still(unborn);
        }
    }

    pub(super) fn bear_still(&mut self, unborn: Vec<PeerId>) {
        for peer in unborn {
            self.say(Input::Stillborn { peer, error: "lost".into() });
        }
    }
}
