//! Workers around the real membership and the real watch: `Door`, `Chair` and `Acceptor` without their system calls.
use std::time::{Duration, Instant};

use crate::conn::shared::membership::tests::kernel::{BELL, Kernel, LISTENERS};
use crate::conn::shared::membership::{Membership, Ring, Rung, Seat, Turn};
use crate::conn::shared::watch::{EVERY, Looks, Verdict};

const TICK: Duration = Duration::from_micros(100);
/// So many ticks are between two that come, where few do.
const STRIKES: u32 = 1_300;

/// What happens to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disturbances {
    All,
    BlockedLoops,
}

impl Disturbances {
    /// How long a connection may wait while a worker is idle.
    fn bound(self) -> Duration {
        match self {
            Disturbances::All => Duration::from_millis(100),
            Disturbances::BlockedLoops => Duration::from_millis(10),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Up,
    Stopped,
    Dead,
}

/// An acceptor.
struct Acceptor {
    seat: Seat,
    /// It has taken one, and looks for the next without the wait set.
    comes_round: bool,
    /// Its task is to be polled.
    woken: bool,
}

struct Worker {
    life: Life,
    set: usize,
    membership: Membership,
    /// By listener; none once it has left.
    acceptors: [Option<Acceptor>; LISTENERS],
    bell_inside: bool,
    /// When its doorbell stops waiting for an answer.
    answer_by: Option<Instant>,
    /// Its loop is blocked until then, and it is idle since then.
    busy_until: Instant,
}

pub(super) struct World {
    seed: u64,
    rng: fastrand::Rng,
    disturbances: Disturbances,
    now: Instant,
    kernel: Kernel,
    workers: Vec<Worker>,
    /// When the primary hears of an exit or a stop.
    news: Vec<Instant>,
    looks: Looks,
    /// None while it sleeps.
    look_at: Option<Instant>,
    came: u64,
    taken: u64,
}

impl World {
    pub(super) fn new(seed: u64, disturbances: Disturbances) -> Self {
        let (rng, now) = (fastrand::Rng::with_seed(seed), Instant::now());
        let (kernel, looks) = (Kernel::new(), Looks::default());
        let mut world = Self {
            seed,
            rng,
            disturbances,
            now,
            kernel,
            workers: Vec::new(),
            news: Vec::new(),
            looks,
            look_at: None,
            came: 0,
            taken: 0,
        };
        (0..world.rng.u8(1..8)).for_each(|_| world.give_birth());
        world
    }

    pub(super) fn served(&self) -> u64 {
        self.taken
    }

    fn give_birth(&mut self) {
        let mut membership = Membership::default();
        let acceptors = std::array::from_fn(|_| {
            Some(Acceptor { seat: membership.seat(), comes_round: false, woken: true })
        });
        let set = self.kernel.open_set();
        let (life, busy_until) = (Life::Up, self.now);
        let worker =
            Worker { life, set, membership, acceptors, bell_inside: false, answer_by: None, busy_until };
        self.workers.push(worker);
    }

    /// Something happens now and then; or one comes now and then, and whoever is woken for it may not get that far.
    pub(super) fn disturb(&mut self, tick: u32) {
        let (listener, at) = (self.rng.usize(..LISTENERS), self.rng.usize(..self.workers.len()));
        let long = Duration::from_millis(self.rng.u64(1..200));
        let up = self.workers.iter().filter(|worker| worker.life == Life::Up).count();
        let all = self.disturbances == Disturbances::All;
        if self.seed.is_multiple_of(2) {
            return self.strike(tick, listener, up);
        }
        match (self.rng.u32(..4_000), self.workers[at].life) {
            (0..80, _) => self.come(listener),
            (80..84, _) => (0..self.rng.u8(2..20)).for_each(|_| self.come(listener)),
            (84..90, Life::Up) => self.workers[at].busy_until = self.now + long,
            (90..96, Life::Up) if all => self.stop(at),
            (96..110, Life::Stopped) => self.go_on(at),
            (110..115, Life::Up | Life::Stopped) if all && up > 1 => self.kill(at),
            (115..120, _) if all && self.workers.len() < 40 => self.give_birth(),
            (120..125, Life::Up) if all => self.leave(at, listener),
            (125..135, Life::Up) if all => self.sit(at, listener),
            (_, Life::Up | Life::Stopped | Life::Dead) => {}
        }
    }

    fn strike(&mut self, tick: u32, listener: usize, up: usize) {
        match (tick % STRIKES, self.disturbances) {
            (0, _) => self.come(listener),
            (1, Disturbances::All) => {
                if up < 4 {
                    self.give_birth();
                }
                (0..self.workers.len()).for_each(|at| self.sit(at, listener));
            }
            (_, _) => {}
        }
        let is_woken =
            |at: &usize| self.workers[*at].life == Life::Up && self.kernel.is_woken(self.workers[*at].set);
        let woken: Vec<usize> = (0..self.workers.len()).filter(is_woken).collect();
        let Some(at) = self.rng.choice(woken) else { return };
        match (self.rng.u8(..10), self.disturbances) {
            (0 | 1, Disturbances::All) if up > 2 => self.kill(at),
            (2 | 3, Disturbances::All) if up > 2 => self.stop(at),
            (4, Disturbances::All) if up > 2 => self.leave(at, listener),
            (5, _) => self.workers[at].busy_until = self.now + TICK * STRIKES,
            (_, Disturbances::All | Disturbances::BlockedLoops) => {}
        }
    }

    fn come(&mut self, listener: usize) {
        self.came += 1;
        self.kernel.come(listener, self.now);
    }

    fn stop(&mut self, at: usize) {
        self.workers[at].life = Life::Stopped;
        self.kernel.stop(self.workers[at].set);
        // Who is frozen or traced stands still, too, and nobody is told.
        if self.rng.bool() {
            self.tell();
        }
    }

    fn go_on(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        worker.life = Life::Up;
        worker.busy_until = worker.busy_until.max(self.now);
        self.kernel.go_on(worker.set);
    }

    fn kill(&mut self, at: usize) {
        self.workers[at].life = Life::Dead;
        self.kernel.die(self.workers[at].set);
        self.tell();
    }

    /// The primary hears of it soon, unless it is kept from running.
    fn tell(&mut self) {
        let late = if self.rng.u8(..4) == 0 { 300 } else { 20 };
        self.news.push(self.now + TICK * self.rng.u32(1..late));
    }

    /// An acceptor leaves for good: as `Chair::drop`.
    fn leave(&mut self, at: usize, listener: usize) {
        let worker = &mut self.workers[at];
        let Some(acceptor) = worker.acceptors[listener].take() else { return };
        let left = worker.membership.leave(acceptor.seat);
        if left.was_inside {
            worker.remove(&mut self.kernel, &[listener]);
        }
        if left.ring_neighbour {
            self.kernel.ring();
        }
    }

    fn sit(&mut self, at: usize, listener: usize) {
        let worker = &mut self.workers[at];
        if worker.acceptors[listener].is_none() {
            let seat = worker.membership.seat();
            worker.acceptors[listener] = Some(Acceptor { seat, comes_round: false, woken: true });
            worker.busy_until = worker.busy_until.max(self.now);
        }
    }

    /// A moment passes; everybody who can runs, soon, in any order.
    pub(super) fn tick(&mut self) {
        self.now += TICK;
        let mut order: Vec<usize> = (0..self.workers.len()).collect();
        self.rng.shuffle(&mut order);
        for at in order {
            if self.workers[at].life == Life::Up && self.rng.u8(..10) < 7 {
                self.workers[at].keep(&mut self.kernel, self.now);
            }
            if self.workers[at].life == Life::Up
                && self.workers[at].busy_until <= self.now
                && self.rng.u8(..10) < 7
            {
                (0..LISTENERS).for_each(|listener| self.poll(at, listener));
            }
        }
        self.watch();
    }

    /// An acceptor's turn: as `Acceptor::poll_source` with `Chair::answer`.
    fn poll(&mut self, at: usize, listener: usize) {
        let Worker { membership, acceptors, .. } = &mut self.workers[at];
        let Some(acceptor) = &mut acceptors[listener] else { return };
        if !std::mem::take(&mut acceptor.woken) {
            return;
        }
        loop {
            if !(std::mem::take(&mut acceptor.comes_round) && self.kernel.is_readable(listener)) {
                match membership.wait(acceptor.seat) {
                    Turn::Accept => {}
                    Turn::Join => return self.workers[at].join(&mut self.kernel, listener),
                    Turn::Stay => return,
                }
            }
            if self.kernel.queues[listener].pop_front().is_some() {
                break;
            }
        }
        self.taken += 1;
        (acceptor.comes_round, acceptor.woken) = (true, true);
        // What it serves may take long.
        let blocks = if self.rng.u8(..20) == 0 { self.rng.u64(..100_000) } else { self.rng.u64(..500) };
        self.workers[at].busy_until = self.now + Duration::from_micros(blocks);
    }

    /// The primary rings for exits and stops, and looks now and then: as `Watch`.
    fn watch(&mut self) {
        let waits = (0..LISTENERS).any(|listener| self.kernel.is_readable(listener));
        let told = self.news.iter().any(|at| *at <= self.now);
        self.news.retain(|at| *at > self.now);
        if told && waits {
            self.kernel.ring();
        }
        match self.look_at {
            Some(at) if at <= self.now => {
                let verdict = self.looks.look(waits, self.taken);
                self.look_at = (verdict != Verdict::Sleep).then_some(self.now + EVERY);
                if verdict == Verdict::Ring {
                    self.kernel.ring();
                }
            }
            // The next connection wakes it.
            None if waits => self.look_at = Some(self.now + EVERY),
            Some(_) | None => {}
        }
    }

    /// Nobody has waited for longer than the bound while somebody who could have taken it was idle all the time.
    pub(super) fn check(&self) {
        for (listener, queue) in self.kernel.queues.iter().enumerate() {
            let Some(came) = queue.front() else { continue };
            for worker in &self.workers {
                if worker.life != Life::Up || worker.acceptors[listener].is_none() {
                    continue;
                }
                let waits = self.now.saturating_duration_since(worker.busy_until.max(*came));
                assert!(waits <= self.disturbances.bound(), "seed {}: {waits:?}", self.seed);
            }
        }
    }

    /// From now on nothing happens but what has begun.
    pub(super) fn calm_down(&mut self) {
        self.give_birth();
        let stopped: Vec<usize> =
            (0..self.workers.len()).filter(|at| self.workers[*at].life == Life::Stopped).collect();
        stopped.into_iter().for_each(|at| self.go_on(at));
        for _ in 0..20_000 {
            if self.kernel.queues.iter().all(|queue| queue.is_empty()) {
                break;
            }
            self.tick();
            self.check();
        }
    }

    pub(super) fn check_end(&self) {
        assert_eq!(self.taken, self.came, "seed {}: each is taken once", self.seed);
    }
}

impl Worker {
    /// As `Door::join`.
    fn join(&mut self, kernel: &mut Kernel, listener: usize) {
        kernel.add(self.set, listener);
        if !self.bell_inside {
            kernel.add(self.set, BELL);
            self.bell_inside = true;
        }
    }

    /// As `Door::remove`.
    fn remove(&mut self, kernel: &mut Kernel, listeners: &[usize]) {
        listeners.iter().for_each(|listener| kernel.delete(self.set, *listener));
        if self.bell_inside && !self.membership.is_inside() {
            kernel.delete(self.set, BELL);
            self.bell_inside = false;
        }
    }

    fn listener_of(&self, seat: Seat) -> Option<usize> {
        self.acceptors.iter().position(|acceptor| acceptor.as_ref().is_some_and(|sits| sits.seat == seat))
    }

    /// One round of the doorbell's thread: as `Door::keep`.
    fn keep(&mut self, kernel: &mut Kernel, now: Instant) {
        if !kernel.is_woken(self.set) && self.answer_by.is_none_or(|by| by > now) {
            return;
        }
        for fd in kernel.events(self.set) {
            self.rung(kernel, fd, now);
        }
        if self.membership.time(now) {
            kernel.ring();
        }
        self.answer_by = self.membership.answer_by();
        kernel.wait(self.set);
    }

    /// As `Door::rung`.
    fn rung(&mut self, kernel: &mut Kernel, fd: usize, now: Instant) {
        let seat = if fd == BELL { None } else { self.acceptors[fd].as_ref().map(|acceptor| acceptor.seat) };
        let ring = match (fd, seat) {
            (BELL, _) => Ring::Bell,
            (_, Some(seat)) => Ring::Queue(seat),
            (_, None) => return,
        };
        let Rung { leave, wake } = self.membership.ring(now, ring);
        match (ring, leave.is_empty()) {
            (Ring::Bell, true) => return kernel.ring(),
            (Ring::Bell, false) => kernel.answer(),
            (Ring::Queue(_), true) => return,
            (Ring::Queue(_), false) => {}
        }
        let listeners: Vec<usize> = leave.iter().filter_map(|seat| self.listener_of(*seat)).collect();
        self.remove(kernel, &listeners);
        for seat in wake {
            let acceptor = self.listener_of(seat).and_then(|listener| self.acceptors[listener].as_mut());
            acceptor.into_iter().for_each(|acceptor| acceptor.woken = true);
        }
    }
}
