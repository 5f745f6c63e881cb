//! Random schedules: whatever the world does, in whatever order.
use std::collections::HashMap;

use super::*;
use crate::supervise::input::Condition;

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
    /// None in the exec method.
    fork_server: Option<ForkServer>,
    unborn: Vec<PeerId>,
    alive: Vec<PeerId>,
    /// Open commands, and who asked.
    asked: HashMap<u64, PeerId>,
    last_command: u64,
    /// How the world believes that the cluster stands, from events alone.
    replica: Status,
    /// Words of the pool that have been looked at.
    seen: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let fork_server = rng.bool();
        let restart = Restart::default().limit(u32::MAX, Duration::from_secs(1));
        let policy = Policy { fork_server, seed, restart, director: rng.bool(), ..policy(rng.u16(1..6)) };
        let replica = Status { generation: 1, slots: policy.workers, ..Status::default() };
        let mut bench = Bench::new(policy);
        // Somebody was online once, so that no failed boot ends it all.
        bench.pool.budget.online();
        Self {
            bench,
            rng,
            fork_server: fork_server.then_some(ForkServer::Asked),
            unborn: Vec::new(),
            alive: Vec::new(),
            asked: HashMap::new(),
            last_command: 0,
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
                    self.replica.apply(&event);
                    again.apply(&event);
                }
                Action::Reply { to, id, .. } => {
                    assert_eq!(self.asked.remove(&id), Some(to), "each is answered once");
                }
                Action::Dismiss { .. } => {
                    let workers = |peer: &PeerId| matches!(peer, PeerId::Worker(_));
                    assert!(!self.bench.living().iter().any(workers), "the workers first");
                }
                other => panic!("no word: {other:?}"),
            }
        }
        self.asked.retain(|_, asking| Some(*asking) != gone);
        assert_eq!(self.replica, self.bench.pool.status());
        assert_eq!(again, self.replica, "a picture taken meanwhile is not spoilt by what led to it");
    }

    /// Does what the pool has asked for since the last call.
    fn obey(&mut self) {
        loop {
            let (killed, spawned) =
                (std::mem::take(&mut self.bench.killed), std::mem::take(&mut self.bench.spawned));
            let lost = std::mem::take(&mut self.bench.fork_servers_killed) > 0;
            if std::mem::take(&mut self.bench.fork_servers_started) > 0 {
                self.fork_server = Some(ForkServer::Asked);
            }
            for peer in std::mem::take(&mut self.bench.examined) {
                let condition = if self.rng.bool() { Condition::Runs } else { Condition::Stopped };
                self.say(Input::Examined { peer, condition });
            }
            self.unborn.extend(spawned.iter().map(|(peer, _)| *peer));
            for peer in &killed {
                self.end(*peer, KILLED);
            }
            if lost {
                self.lose_fork_server();
            }
            if killed.is_empty() && spawned.is_empty() && !lost {
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

    fn lose_fork_server(&mut self) {
        if self.fork_server.is_some() {
            let unborn = std::mem::take(&mut self.unborn);
            self.fork_server = Some(ForkServer::Gone);
            self.say(Input::ForkServerLost { why: "lost".into() });
            // Of a fork server that is gone nothing is asked.
            assert!(self.bench.spawned.is_empty());
            for peer in unborn {
                self.say(Input::Stillborn { peer, error: "lost".into() });
            }
        }
    }

    fn step(&mut self) {
        let someone = (!self.alive.is_empty()).then(|| self.alive[self.rng.usize(..self.alive.len())]);
        let unborn = (!self.unborn.is_empty()).then(|| self.rng.usize(..self.unborn.len()));
        match (self.rng.u32(..16), someone, unborn) {
            (0 | 1, _, Some(at)) => self.give_birth(at),
            (2, _, Some(at)) => {
                let peer = self.unborn.swap_remove(at);
                self.say(Input::Stillborn { peer, error: "no memory".into() });
            }
            (3 | 4, Some(peer), _) => self.say(Input::Ready { peer }),
            (5, Some(peer), _) => self.end(peer, KILLED),
            (6, Some(peer), _) => self.say(Input::Draining { peer }),
            (7, Some(peer), _) => self.say(Input::Finished { peer, error: None }),
            (8, _, _) if self.fork_server != Some(ForkServer::Gone) && self.rng.u32(..8) == 0 => {
                self.lose_fork_server()
            }
            (9, _, _) if self.fork_server == Some(ForkServer::Asked) => self.raise_fork_server(),
            (10, Some(peer), _) => self.say(Input::Online { peer }),
            (11 | 12, _, _) => self.command(),
            (15, _, _) => self.stand_still(),
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

    /// A director asks for something, if there is one.
    fn command(&mut self) {
        let director = |peer: &&PeerId| matches!(peer, PeerId::Director(_));
        let Some(from) = self.alive.iter().rev().find(director).copied() else { return };
        let command = match self.rng.u32(..5) {
            0 | 1 => Command::Scale { workers: self.rng.u16(..7) },
            _ => Command::Restart { slot: Slot(self.rng.u16(..6)) },
        };
        self.ask(from, command);
    }

    fn ask(&mut self, from: PeerId, command: Command) {
        self.last_command += 1;
        self.asked.insert(self.last_command, from);
        self.say(Input::Command { from, id: self.last_command, command });
    }

    fn give_birth(&mut self, at: usize) {
        let peer = self.unborn.swap_remove(at);
        self.alive.push(peer);
        self.say(Input::Born { peer, pid: 1 });
    }

    fn raise_fork_server(&mut self) {
        self.fork_server = Some(ForkServer::Up);
        self.say(Input::ForkServerUp { pid: 1 });
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
        for _ in 0..150 {
            if self.fork_server == Some(ForkServer::Asked) {
                self.raise_fork_server();
            }
            while let Some(peer) = self.unborn.first().copied() {
                self.give_birth(0);
                self.say(Input::Ready { peer });
            }
            for peer in self.alive.clone() {
                self.say(Input::Ready { peer });
            }
            self.pass(Duration::from_secs(2));
            self.obey();
        }
    }
}

#[test]
fn whatever_happens_the_wanted_number_serves_in_the_end() {
    for seed in 0..2_000 {
        let mut world = World::new(seed);
        world.obey();
        for _ in 0..60 {
            world.step();
            world.check();
        }
        world.be_kind();
        world.check();
        let wanted = usize::from(world.bench.pool.places.count());
        let directors = usize::from(world.bench.pool.policy.director);
        assert_eq!(world.bench.pool.serving(), wanted, "seed {seed}");
        assert_eq!(world.alive.len(), wanted + directors, "seed {seed}: nobody beyond those");
        assert!(world.asked.is_empty(), "seed {seed}: all is answered: {:?}", world.asked);
    }
}

#[test]
fn whatever_happens_a_stop_ends_everybody() {
    for seed in 0..2_000 {
        let mut world = World::new(seed);
        world.obey();
        for _ in 0..40 {
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
            while !world.unborn.is_empty() && matches!(world.fork_server, None | Some(ForkServer::Up)) {
                world.give_birth(0);
                world.obey();
            }
            world.pass(Duration::from_secs(5));
            world.obey();
        }
        assert!(world.bench.verdict.is_some(), "seed {seed}: {:?}", world.bench.pool.members);
        assert!(world.alive.is_empty() && world.unborn.is_empty(), "seed {seed}");
        assert!(world.asked.is_empty(), "seed {seed}: all is answered: {:?}", world.asked);
    }
}
