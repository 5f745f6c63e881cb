//! What the world does: whatever it likes, in whatever order; and then what is kind.
use super::*;
use crate::supervise::input::Load;

impl World {
    pub(in crate::supervise::pool::tests) fn step(&mut self) {
        let someone = (!self.alive.is_empty()).then(|| self.alive[self.rng.usize(..self.alive.len())]);
        match (self.rng.u32(..24), someone) {
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
            (19, Some(peer)) if self.rng.u32(..4) == 0 => {
                self.say(Input::Garbled { peer, why: "broke the control protocol".into() });
            }
            (22, Some(peer)) => {
                let director = self.rng.bool();
                self.say(Input::Directed { peer, director });
            }
            (20, _) => {
                let is_open = |(generation, state): (&u64, &ForkServer)| {
                    (*state == ForkServer::Asked && *generation > 1).then_some(*generation)
                };
                let open: Vec<u64> = self.fork_servers.iter().filter_map(is_open).collect();
                if let Some(generation) = self.rng.choice(open).filter(|open| !self.prepared.contains(open)) {
                    self.leave_unprepared(generation);
                }
            }
            // It dies after all, long after its end was told.
            (21, _) if !self.given_up.is_empty() => {
                let peer = self.given_up.swap_remove(self.rng.usize(..self.given_up.len()));
                let words = self.bench.words.len();
                self.say(Input::Exited { peer, end: End::default() });
                assert_eq!(self.bench.words.len(), words, "each end is told once");
            }
            _ => {
                let time = Duration::from_millis(self.rng.u64(..20_000));
                self.pass(time);
            }
        }
        self.obey();
    }

    pub(in crate::supervise::pool::tests) fn pass(&mut self, time: Duration) {
        self.bench.now += time;
        self.say(Input::Time);
        let due = self.bench.pool.next_deadline();
        assert!(due.is_none_or(|due| due > self.bench.now), "no time that is over is waited for");
    }

    /// For a while no runtime turns.
    pub(in crate::supervise::pool::tests) fn stand_still(&mut self) {
        for _ in 0..self.rng.u32(..80) {
            self.pass(Duration::from_millis(500));
            let beats = self.alive.iter().map(|peer| (*peer, 1)).collect();
            self.say(Input::Looked { beats });
            self.obey();
        }
    }

    pub(in crate::supervise::pool::tests) fn weigh(&mut self) {
        for _ in 0..3 {
            let load = Load { requests: self.rng.u64(..150), memory: Some(self.rng.u64(..2000)) };
            self.say(Input::Weighed { loads: self.alive.iter().map(|peer| (*peer, load)).collect() });
            self.obey();
        }
    }

    /// A director asks for something, if there is one.
    pub(in crate::supervise::pool::tests) fn command(&mut self) {
        let director = |peer: &&PeerId| matches!(peer, PeerId::Director(_));
        let Some(from) = self.alive.iter().rev().find(director).copied() else { return };
        let command = match self.rng.u32(..6) {
            0 | 1 => Command::Scale { workers: self.rng.u16(..7) },
            2 => Command::Reload,
            _ => Command::Restart { slot: Slot(self.rng.u16(..6)) },
        };
        self.ask(from, command);
    }

    pub(in crate::supervise::pool::tests) fn ask(&mut self, from: PeerId, command: Command) {
        self.last_command += 1;
        self.asked.insert(self.last_command, from);
        self.say(Input::Command { from, id: self.last_command, command });
    }

    /// The program is opened, or cannot be.
    pub(in crate::supervise::pool::tests) fn open(&mut self) {
        let Some(generation) = self.opening.pop() else { return };
        if self.prepares && self.rng.u32(..4) == 0 {
            return self.leave_unprepared(generation);
        }
        // The first is open: the program runs.
        if generation > 1 && self.rng.u32(..4) == 0 {
            return self.say(Input::NotOpened { generation, why: "no file".into() });
        }
        self.open_well(generation);
    }

    pub(in crate::supervise::pool::tests) fn open_well(&mut self, generation: u64) {
        if self.forks {
            self.fork_servers.insert(generation, ForkServer::Asked);
        } else {
            self.say(Input::Opened { generation });
        }
    }

    /// Whether whoever makes it can answer.
    pub(in crate::supervise::pool::tests) fn can_be_born(&self, peer: PeerId) -> bool {
        let generation = self.bench.pool.members[&peer].generation;
        !self.forks || self.fork_servers.get(&generation) == Some(&ForkServer::Up)
    }

    pub(in crate::supervise::pool::tests) fn give_some_birth(&mut self) {
        let can: Vec<PeerId> = self.unborn.iter().copied().filter(|peer| self.can_be_born(*peer)).collect();
        if let Some(peer) = self.rng.choice(can) {
            self.give_birth(peer);
        }
    }

    pub(in crate::supervise::pool::tests) fn give_birth(&mut self, peer: PeerId) {
        self.unborn.retain(|unborn| *unborn != peer);
        self.alive.push(peer);
        self.say(Input::Born { peer, pid: 1 });
    }

    /// All that can be are born.
    pub(in crate::supervise::pool::tests) fn give_birth_to_all(&mut self) {
        while let Some(peer) = self.unborn.iter().copied().find(|peer| self.can_be_born(*peer)) {
            self.give_birth(peer);
            self.obey();
        }
    }

    pub(in crate::supervise::pool::tests) fn raise_fork_servers(&mut self) {
        let asked =
            |(generation, state): (&u64, &ForkServer)| (*state == ForkServer::Asked).then_some(*generation);
        for generation in self.fork_servers.iter().filter_map(asked).collect::<Vec<_>>() {
            // What the last one led to may have closed this one.
            if let Some(state) = self.fork_servers.get_mut(&generation) {
                *state = ForkServer::Up;
                self.prepared.insert(generation);
                self.say(Input::ForkServerUp { generation, pid: 1 });
                self.obey();
            }
        }
    }

    /// Every process in the pool is one that the world knows of, and the reverse.
    pub(in crate::supervise::pool::tests) fn check(&self) {
        let mut living = self.bench.living();
        let mut known: Vec<_> = self.unborn.iter().chain(&self.alive).copied().collect();
        living.sort();
        known.sort();
        assert_eq!(living, known);
    }

    /// A generation of which nothing works: the one that is tried, or would be the next.
    pub(in crate::supervise::pool::tests) fn choose_bad(&mut self) {
        let next = self.bench.pool.reloads.last + 1;
        let tried = (1..next).rev().find(|generation| self.bench.pool.reloads.tries(*generation));
        self.bad = self.rng.choice([tried, Some(next), None]).flatten();
    }

    /// From here on the world is kind: whoever is asked for is born and ready, whoever drains leaves. But of what is bad
    /// nothing ever serves.
    pub(in crate::supervise::pool::tests) fn be_kind(&mut self) {
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
                self.treat_well(peer);
                self.obey();
            }
            self.pass(Duration::from_secs(2));
            self.obey();
        }
    }

    /// It gets on with what it is at.
    pub(in crate::supervise::pool::tests) fn treat_well(&mut self, peer: PeerId) {
        let Some(member) = self.bench.pool.members.get(&peer) else { return };
        let is_bad = Some(member.generation) == self.bad;
        match member.phase {
            Phase::Booting { .. } if is_bad => match self.rng.u32(..3) {
                // It hangs.
                0 => {}
                1 => self.end(peer, CODE_1),
                _ => self.say(Input::BootFailed { peer, error: "no database".into() }),
            },
            Phase::Booting { .. } => {
                self.say(Input::Online { peer });
                self.say(Input::Ready { peer });
            }
            // Some take longer than their deadline.
            Phase::Draining { .. } | Phase::Parting { .. } | Phase::Leaving { .. } => {
                if self.rng.bool() {
                    self.end(peer, 0);
                }
            }
            Phase::Serving if is_bad => self.end(peer, KILLED),
            Phase::Forking { .. }
            | Phase::Serving
            | Phase::Asking { .. }
            | Phase::Dumping { .. }
            | Phase::Killed { .. } => {}
        }
    }
}
