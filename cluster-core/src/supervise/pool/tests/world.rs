//! Random schedules: whatever the world does, in whatever order.
use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::*;
use crate::supervise::input::{Condition, Load};

#[derive(Clone, Copy, PartialEq)]
enum ForkServer {
    Gone,
    Asked,
    Up,
}

/// What the world does to a pool, as it likes.
struct World {
    bench: Bench,
    rng: fastrand::Rng,
    forks: bool,
    /// Those of all open generations.
    fork_servers: BTreeMap<u64, ForkServer>,
    /// Generations that are to be opened.
    opening: Vec<u64>,
    unborn: Vec<PeerId>,
    alive: Vec<PeerId>,
    /// Open commands, and who asked.
    asked: HashMap<u64, PeerId>,
    last_command: u64,
    /// Reloads that have begun and not ended.
    reloads: usize,
    /// How the world believes that the cluster stands, from events alone.
    replica: Status,
    /// Words of the pool that have been looked at.
    seen: usize,
}

impl World {
    fn new(seed: u64) -> Self {
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
        let policy =
            Policy { fork_server: forks, seed, restart, recycling, rollout, director, ..policy(workers) };
        let replica = Status { generation: 1, slots: policy.workers, ..Status::default() };
        let mut bench = Bench::new(policy);
        // Somebody was online once, so that no failed boot ends it all.
        bench.pool.budget.online();
        Self {
            bench,
            rng,
            forks,
            fork_servers: if forks { BTreeMap::from([(1, ForkServer::Asked)]) } else { BTreeMap::new() },
            opening: Vec::new(),
            unborn: Vec::new(),
            alive: Vec::new(),
            asked: HashMap::new(),
            last_command: 0,
            reloads: 0,
            replica,
            seen: 0,
        }
    }

    /// Tells the pool, and judges what it says.
    fn say(&mut self, input: Input) {
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
        self.asked.retain(|_, asking| Some(*asking) != gone);
        let status = self.bench.pool.status();
        assert_eq!(self.replica, status);
        assert_eq!(Status { generation: status.generation, ..again }, status, "a picture taken meanwhile");
        self.check_surge();
    }

    fn hear(&mut self, event: &Event) {
        match event {
            Event::Reloading { .. } => self.reloads += 1,
            Event::Reloaded { .. } | Event::ReloadFailed { .. } => self.reloads -= 1,
            _ => {}
        }
        assert!(self.reloads <= 1, "one after another");
    }

    /// Nobody is made beyond the slots, and those that take over.
    fn check_surge(&self) {
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
    fn obey(&mut self) {
        loop {
            let (killed, spawned) =
                (std::mem::take(&mut self.bench.killed), std::mem::take(&mut self.bench.spawned));
            let lost = std::mem::take(&mut self.bench.fork_servers_killed);
            let (opened, closed) =
                (std::mem::take(&mut self.bench.opened), std::mem::take(&mut self.bench.closed));
            if std::mem::take(&mut self.bench.fork_servers_started) > 0 {
                self.fork_servers.insert(self.bench.pool.generation, ForkServer::Asked);
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
                self.end(*peer, KILLED);
            }
            for generation in &lost {
                self.lose_fork_server(*generation);
            }
            for generation in &closed {
                self.close(*generation);
            }
            if [killed.len(), spawned.len(), lost.len(), opened.len(), closed.len()] == [0; 5] {
                return;
            }
        }
    }

    fn end(&mut self, peer: PeerId, raw: i32) {
        if let Some(at) = self.alive.iter().position(|alive| *alive == peer) {
            self.alive.swap_remove(at);
            let end = End { status: Some(ExitStatus::from_raw(raw)), ..End::default() };
            self.say(Input::Exited { peer, end });
        }
    }

    /// Those that were asked of a generation's fork server.
    fn take_unborn(&mut self, generation: u64) -> Vec<PeerId> {
        let members = &self.bench.pool.members;
        self.unborn.extract_if(.., |peer| members[peer].generation == generation).collect()
    }

    fn lose_fork_server(&mut self, generation: u64) {
        if !self.fork_servers.contains_key(&generation) {
            return;
        }
        let unborn = self.take_unborn(generation);
        self.fork_servers.insert(generation, ForkServer::Gone);
        self.say(Input::ForkServerLost { generation, why: "lost".into(), last_stderr: Vec::new() });
        self.bear_still(unborn);
    }

    fn close(&mut self, generation: u64) {
        self.opening.retain(|opening| *opening != generation);
        if self.fork_servers.remove(&generation).is_some() {
            let unborn = self.take_unborn(generation);
            self.bear_still(unborn);
        }
    }

    fn bear_still(&mut self, unborn: Vec<PeerId>) {
        for peer in unborn {
            self.say(Input::Stillborn { peer, error: "lost".into() });
        }
    }

    fn step(&mut self) {
        let someone = (!self.alive.is_empty()).then(|| self.alive[self.rng.usize(..self.alive.len())]);
        match (self.rng.u32(..20), someone) {
            (0 | 1, _) => self.give_some_birth(),
            (2, _) if !self.unborn.is_empty() => {
                let peer = self.unborn.swap_remove(self.rng.usize(..self.unborn.len()));
                self.say(Input::Stillborn { peer, error: "no memory".into() });
            }
            (3 | 4, Some(peer)) => self.say(Input::Ready { peer }),
            (5, Some(peer)) => self.end(peer, KILLED),
            (6, Some(peer)) => self.say(Input::Draining { peer }),
            (7, Some(peer)) => self.say(Input::Finished { peer, error: None }),
            (8, _) if self.rng.u32(..8) == 0 => {
                let generations: Vec<u64> = self.fork_servers.keys().copied().collect();
                if let Some(generation) = self.rng.choice(generations)
                    && self.fork_servers[&generation] != ForkServer::Gone
                {
                    self.lose_fork_server(generation);
                }
            }
            (9, _) => self.raise_fork_servers(),
            (10, Some(peer)) => self.say(Input::Online { peer }),
            (11 | 12, _) => self.command(),
            (13, _) => self.open(),
            (14, _) if self.rng.u32(..3) == 0 => self.say(Input::Reload),
            (15, _) => self.stand_still(),
            (16, _) => self.weigh(),
            (17, Some(peer)) => self.say(Input::BootFailed { peer, error: "no database".into() }),
            (18, _) => {
                let by = self.rng.i32(-2..=2);
                self.say(Input::ScaleBy(by));
            }
            _ => {
                let time = Duration::from_millis(self.rng.u64(..20_000));
                self.pass(time);
            }
        }
        self.obey();
    }

    fn pass(&mut self, time: Duration) {
        self.bench.now += time;
        self.say(Input::Time);
        let due = self.bench.pool.next_deadline();
        assert!(due.is_none_or(|due| due > self.bench.now), "no time that is over is waited for");
    }

    /// For a while no runtime turns.
    fn stand_still(&mut self) {
        for _ in 0..self.rng.u32(..80) {
            self.pass(Duration::from_millis(500));
            let beats = self.alive.iter().map(|peer| (*peer, 1)).collect();
            self.say(Input::Looked { beats });
            self.obey();
        }
    }

    fn weigh(&mut self) {
        for _ in 0..3 {
            let load = Load { requests: self.rng.u64(..150), memory: Some(self.rng.u64(..2000)) };
            self.say(Input::Weighed { loads: self.alive.iter().map(|peer| (*peer, load)).collect() });
            self.obey();
        }
    }

    /// A director asks for something, if there is one.
    fn command(&mut self) {
        let director = |peer: &&PeerId| matches!(peer, PeerId::Director(_));
        let Some(from) = self.alive.iter().rev().find(director).copied() else { return };
        let command = match self.rng.u32(..6) {
            0 | 1 => Command::Scale { workers: self.rng.u16(..7) },
            2 => Command::Reload,
            _ => Command::Restart { slot: Slot(self.rng.u16(..6)) },
        };
        self.ask(from, command);
    }

    fn ask(&mut self, from: PeerId, command: Command) {
        self.last_command += 1;
        self.asked.insert(self.last_command, from);
        self.say(Input::Command { from, id: self.last_command, command });
    }

    /// The program is opened, or cannot be.
    fn open(&mut self) {
        let Some(generation) = self.opening.pop() else { return };
        if self.rng.u32(..4) == 0 {
            return self.say(Input::NotOpened { generation, why: "no file".into() });
        }
        self.open_well(generation);
    }

    fn open_well(&mut self, generation: u64) {
        if self.forks {
            self.fork_servers.insert(generation, ForkServer::Asked);
        } else {
            self.say(Input::Opened { generation });
        }
    }

    /// Whether whoever makes it can answer.
    fn can_be_born(&self, peer: PeerId) -> bool {
        let generation = self.bench.pool.members[&peer].generation;
        !self.forks || self.fork_servers.get(&generation) == Some(&ForkServer::Up)
    }

    fn give_some_birth(&mut self) {
        let can: Vec<PeerId> = self.unborn.iter().copied().filter(|peer| self.can_be_born(*peer)).collect();
        if let Some(peer) = self.rng.choice(can) {
            self.give_birth(peer);
        }
    }

    fn give_birth(&mut self, peer: PeerId) {
        self.unborn.retain(|unborn| *unborn != peer);
        self.alive.push(peer);
        self.say(Input::Born { peer, pid: 1 });
    }

    /// All that can be are born.
    fn give_birth_to_all(&mut self) {
        while let Some(peer) = self.unborn.iter().copied().find(|peer| self.can_be_born(*peer)) {
            self.give_birth(peer);
            self.obey();
        }
    }

    fn raise_fork_servers(&mut self) {
        let asked =
            |(generation, state): (&u64, &ForkServer)| (*state == ForkServer::Asked).then_some(*generation);
        for generation in self.fork_servers.iter().filter_map(asked).collect::<Vec<_>>() {
            // What the last one led to may have closed this one.
            if let Some(state) = self.fork_servers.get_mut(&generation) {
                *state = ForkServer::Up;
                self.say(Input::ForkServerUp { generation, pid: 1 });
                self.obey();
            }
        }
    }

    /// Every process in the pool is one that the world knows of, and the reverse.
    fn check(&self) {
        let mut living = self.bench.living();
        let mut known: Vec<_> = self.unborn.iter().chain(&self.alive).copied().collect();
        living.sort();
        known.sort();
        assert_eq!(living, known);
    }

    /// From here on the world is kind: whoever is asked for is born and ready, whoever drains leaves.
    fn be_kind(&mut self) {
        // Nor is anybody recycled any more.
        self.bench.pool.policy.recycling = Recycling::default();
        self.bench.pool.members.values_mut().for_each(|member| member.span = Span::default());
        for _ in 0..150 {
            while let Some(generation) = self.opening.pop() {
                self.open_well(generation);
            }
            self.raise_fork_servers();
            self.give_birth_to_all();
            for peer in self.alive.clone() {
                self.say(Input::Ready { peer });
                self.obey();
            }
            self.pass(Duration::from_secs(2));
            self.obey();
        }
    }
}

/// The seed, and how many steps it took, are printed where one fails.
fn schedules(cases: u32) -> Config {
    Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() }
}

#[test]
fn whatever_happens_the_wanted_number_serves_in_the_end() {
    proptest!(schedules(6_000), |(seed: u64, steps in 0..80_usize)| {
        let mut world = World::new(seed);
        world.obey();
        for _ in 0..steps {
            world.step();
            world.check();
        }
        world.be_kind();
        world.check();
        let wanted = usize::from(world.bench.pool.places.count());
        let directors = usize::from(world.bench.pool.policy.director);
        prop_assert_eq!(world.bench.pool.serving(), wanted);
        prop_assert_eq!(world.alive.len(), wanted + directors, "nobody beyond those");
        prop_assert!(world.asked.is_empty(), "all is answered: {:?}", world.asked);
        prop_assert_eq!(world.reloads, 0, "each reload has its end");
        prop_assert!(world.fork_servers.len() <= 1, "what is over is closed");
    });
}

#[test]
fn whatever_happens_a_stop_ends_everybody() {
    proptest!(schedules(4_000), |(seed: u64, steps in 0..60_usize)| {
        let mut world = World::new(seed);
        world.obey();
        for _ in 0..steps {
            world.step();
        }
        let director = world.alive.iter().find(|peer| matches!(peer, PeerId::Director(_))).copied();
        match (seed % 3, director) {
            (0, Some(director)) => world.ask(director, Command::Stop),
            (0 | 1, _) => world.say(Input::Stop),
            _ => world.say(Input::StopNow),
        }
        world.obey();
        for _ in 0..20 {
            // Nobody drains of its own will: the deadlines see to it. What is asked of a fork server is born.
            world.give_birth_to_all();
            world.pass(Duration::from_secs(5));
            world.obey();
        }
        prop_assert!(world.bench.verdict.is_some(), "{:?}", world.bench.pool.members);
        prop_assert!(world.alive.is_empty() && world.unborn.is_empty());
        prop_assert!(world.asked.is_empty(), "all is answered: {:?}", world.asked);
        prop_assert_eq!(world.reloads, 0, "each reload has its end");
    });
}

/// A healthy cluster: workers that serve go on serving. What is new may fail in any way.
#[test]
fn invariant_2_whatever_becomes_of_a_reload_no_slot_is_ever_without_a_ready_worker() {
    proptest!(schedules(2_000), |(seed: u64, steps in 0..120_usize)| {
        let mut world = World::new(seed);
        world.obey();
        world.be_kind();
        let wanted = usize::from(world.bench.pool.places.count());
        for _ in 0..steps {
            match world.rng.u32(..10) {
                0 => world.say(Input::Reload),
                1 => world.open(),
                2 => world.raise_fork_servers(),
                3 | 4 => world.give_some_birth(),
                5 | 6 => {
                    for peer in world.alive.clone() {
                        let phase = &world.bench.pool.members[&peer].phase;
                        if let Phase::Booting { .. } = phase {
                            if world.rng.u32(..4) > 0 {
                                world.say(Input::Ready { peer });
                            } else {
                                world.end(peer, CODE_1);
                            }
                        }
                    }
                }
                7 => {
                    // One that is still tried may fail, too.
                    let tried = world.bench.pool.awaited().into_iter().map(|(_, peer)| peer);
                    for peer in tried.collect::<Vec<_>>() {
                        if world.rng.u32(..4) == 0 {
                            world.end(peer, KILLED);
                        }
                    }
                }
                8 => world.weigh(),
                _ => {
                    let time = Duration::from_millis(world.rng.u64(..2_000));
                    world.pass(time);
                }
            }
            world.obey();
            let holders = world.bench.pool.places.slots.iter().filter(|place| match place.holder {
                Holder::Member(peer) => world.bench.pool.members[&peer].phase == Phase::Serving,
                Holder::Waiting(_) | Holder::Vacant => false,
            });
            prop_assert_eq!(holders.count(), wanted);
        }
    });
}

/// Whoever crashes again and again is not made again and again at once.
#[test]
fn restarts_stay_within_their_delays() {
    proptest!(schedules(500), |(seed: u64, workers in 1..5_u16, lives in 0..2_000_u64)| {
        let restart = Restart::default().limit(u32::MAX, Duration::from_secs(1));
        let mut bench = Bench::new(Policy { restart, seed, ..policy(workers) });
        bench.pool.budget.online();
        let mut rng = fastrand::Rng::with_seed(seed);
        let start = bench.now;
        while bench.now - start < Duration::from_secs(60) {
            for peer in bench.living() {
                bench.boot(peer);
            }
            bench.pass(Duration::from_millis(rng.u64(..=lives)));
            for peer in bench.living() {
                bench.exit(peer, KILLED);
            }
            let due = bench.pool.next_deadline().map_or(Duration::ZERO, |due| due.saturating_duration_since(bench.now));
            bench.pass(due);
        }
        // At once, then after 80 ms or more, doubling: the tenth is 20 s after the first, the others 12 s apart.
        for slot in 0..workers {
            let made = bench.spawned.iter().filter(|(_, at)| *at == seat(slot)).count();
            prop_assert!(made <= 15, "{} in a minute", made);
        }
    });
}
