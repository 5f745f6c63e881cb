//! A cluster of pretended workers around the real decisions and the real pages.
mod judge;

use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::conn::handoff::offer::{Fate, Offers};
use crate::conn::handoff::passing::ToPrimary;
use crate::conn::handoff::ringing::Ringing;
use crate::id::WorkerId;

const LISTENERS: u16 = 2;
/// A socket takes no more packets.
const FULL: usize = 3;

/// What a worker does, as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Serves,
    /// Its loop is blocked, or it is stopped.
    Stalls,
    /// It drains, and takes in what it has claimed.
    Drains,
    /// It is gone, and the primary does not know yet.
    Dead,
}

/// What the primary sends.
#[derive(Debug)]
enum Packet {
    Ring,
    Connections(Vec<u32>),
}

/// A worker, and what the primary knows of it: `Desk`, `Guest` and `Intake` without their sockets.
struct Worker {
    mood: Mood,
    page: Offers,
    to_primary: VecDeque<ToPrimary>,
    to_worker: VecDeque<Packet>,
    owes_answer: bool,
    expected: usize,
    open: u64,
    /// It has written what no worker should, and may have got what it did not ask for, or not what it did.
    garbled: bool,
    /// The primary's view of it.
    ringing: Ringing,
    claimed: Vec<u32>,
}

pub(super) struct World {
    pub(super) rng: fastrand::Rng,
    seed: u64,
    now: Instant,
    dispatch: Dispatch<u32>,
    workers: BTreeMap<PeerId, Worker>,
    born: u64,
    /// Connections that came, in all; each has a number.
    came: u32,
    /// The kernel's queues.
    queued: [VecDeque<u32>; LISTENERS as usize],
    /// Who has got which.
    sent: HashMap<u32, PeerId>,
    closed: bool,
}

impl Loads for BTreeMap<PeerId, Worker> {
    fn open(&self, peer: PeerId) -> u64 {
        self.get(&peer).map_or(0, |worker| worker.open)
    }

    fn is_full(&self, peer: PeerId) -> bool {
        !self.contains_key(&peer)
    }
}

impl World {
    pub(super) fn new(seed: u64, scheduling: Scheduling) -> Self {
        let mut world = Self {
            rng: fastrand::Rng::with_seed(seed),
            seed,
            now: Instant::now(),
            dispatch: Dispatch::new(vec![Some(scheduling); usize::from(LISTENERS)]),
            workers: BTreeMap::new(),
            born: 0,
            came: 0,
            queued: Default::default(),
            sent: HashMap::new(),
            closed: false,
        };
        (0..world.rng.u16(1..5)).for_each(|_| world.give_birth());
        world
    }

    /// Anything that can happen.
    pub(super) fn step(&mut self) {
        let peer = self.rng.choice(self.workers.keys().copied().collect::<Vec<_>>());
        let (listener, most) = (self.rng.u16(..LISTENERS), self.rng.usize(1..5));
        let (burst, time) = (self.rng.u8(1..12), Duration::from_micros(self.rng.u64(..6000)));
        match (self.rng.u8(..40), peer) {
            (0..8, _) => (0..burst).for_each(|_| self.come(listener)),
            (8..12, _) => self.accept(listener),
            (12..18, Some(peer)) => self.work(peer, most),
            (18..24, Some(peer)) => self.hear(peer),
            (24..28, Some(peer)) => self.reach(peer),
            (28..31, _) => self.pass(time),
            (31, Some(peer)) => self.turn(peer, Mood::Stalls),
            (32 | 33, Some(peer)) => self.turn(peer, Mood::Serves),
            (34, Some(peer)) => self.turn(peer, Mood::Dead),
            (35, Some(peer)) => self.mourn(peer),
            (36, Some(peer)) => self.retire(peer),
            (37, Some(peer)) => self.garble(peer),
            (38, _) => self.give_birth(),
            (39, Some(peer)) => self.worker(peer).open = 0,
            (_, _) => {}
        }
        self.act();
    }

    fn worker(&mut self, peer: PeerId) -> &mut Worker {
        self.workers.get_mut(&peer).expect("it was chosen from them")
    }

    fn come(&mut self, listener: u16) {
        self.came += 1;
        self.queued[usize::from(listener)].push_back(self.came);
    }

    fn give_birth(&mut self) {
        self.born += 1;
        let peer = PeerId::Worker(WorkerId(self.born));
        let worker = Worker {
            mood: Mood::Serves,
            page: Offers::empty(),
            to_primary: VecDeque::new(),
            to_worker: VecDeque::new(),
            owes_answer: true,
            expected: 0,
            open: 0,
            garbled: false,
            ringing: Ringing::default(),
            claimed: Vec::new(),
        };
        self.workers.insert(peer, worker);
        self.dispatch.join(peer);
    }

    /// A worker changes its mind; who drains or is dead does not.
    fn turn(&mut self, peer: PeerId, mood: Mood) {
        let worker = self.worker(peer);
        match (worker.mood, mood) {
            (Mood::Serves | Mood::Stalls, _) | (Mood::Drains, Mood::Dead) => worker.mood = mood,
            (Mood::Drains | Mood::Dead, _) => {}
        }
    }

    /// It writes into its page what no worker should.
    fn garble(&mut self, peer: PeerId) {
        let (at, word) = (self.rng.usize(..MOST), self.rng.u64(..));
        let how = self.rng.u8(..3);
        self.worker(peer).garbled = true;
        self.worker(peer).page.scribble(at, |old| match how {
            0 => 0,
            1 => old | 1,
            _ => word,
        });
    }

    /// The worker's acceptors come round: as `Intake::wait`, and `leave` while it drains.
    fn work(&mut self, peer: PeerId, most: usize) {
        let closed = self.closed;
        let worker = self.worker(peer);
        let most = match worker.mood {
            Mood::Serves => most,
            Mood::Drains if closed => usize::MAX,
            Mood::Stalls | Mood::Dead | Mood::Drains => return,
        };
        let before = worker.expected;
        let listeners: Vec<u16> = (0..LISTENERS).collect();
        worker.expected += worker.page.claim(&listeners, most.saturating_sub(worker.expected));
        let has_room = worker.to_primary.len() < FULL;
        if worker.expected > before {
            worker.owes_answer = false;
            worker.open += (worker.expected - before) as u64;
            // It does not matter where the socket is full: then there is a packet to hear already.
            has_room.then(|| worker.to_primary.push_back(ToPrimary::Claims));
        } else if std::mem::take(&mut worker.owes_answer) {
            has_room.then(|| worker.to_primary.push_back(ToPrimary::Here));
        }
    }

    /// A packet reaches the worker.
    fn reach(&mut self, peer: PeerId) {
        let worker = self.worker(peer);
        if matches!(worker.mood, Mood::Stalls | Mood::Dead) {
            return;
        }
        match worker.to_worker.pop_front() {
            Some(Packet::Ring) => worker.owes_answer = true,
            Some(Packet::Connections(connections)) => {
                worker.expected = worker.expected.saturating_sub(connections.len());
            }
            None => {}
        }
    }

    /// The primary accepts: as `Desk::accept`.
    fn accept(&mut self, listener: u16) {
        while !self.closed && self.dispatch.has_room(listener, &self.workers) {
            let Some(connection) = self.queued[usize::from(listener)].pop_front() else { return };
            self.dispatch.add(Accepted { connection, listener });
            self.offer();
        }
    }

    fn offer(&mut self) {
        while let Some(Placed { peer, at, offer }) = self.dispatch.place(self.now, &self.workers) {
            let worker = self.worker(peer);
            worker.page.put(at, offer);
            worker.ringing.offered();
        }
    }

    /// The primary hears a worker: as `Desk::hear_worker`.
    fn hear(&mut self, peer: PeerId) {
        while self.worker(peer).to_primary.pop_front().is_some() {
            self.worker(peer).ringing.answered();
            self.dispatch.is_here(peer);
        }
        for placed in self.dispatch.made_to(peer) {
            let worker = self.worker(peer);
            match worker.page.fate(placed.at, placed.offer) {
                Fate::Open => worker.ringing.left_open(placed.offer.number()),
                fate @ (Fate::Claimed | Fate::Garbled) => self.settle(placed, fate),
            }
        }
    }

    fn settle(&mut self, placed: Placed, fate: Fate) {
        self.worker(placed.peer).page.clear(placed.at);
        if fate == Fate::Garbled {
            return self.dispatch.revoked(placed);
        }
        if let Some(Accepted { connection, .. }) = self.dispatch.claimed(placed) {
            self.worker(placed.peer).claimed.push(connection);
        }
    }

    fn revoke(&mut self, offers: Vec<Placed>) {
        for placed in offers {
            match self.worker(placed.peer).page.revoke(placed.at, placed.offer) {
                Fate::Open => self.dispatch.revoked(placed),
                fate @ (Fate::Claimed | Fate::Garbled) => self.settle(placed, fate),
            }
        }
    }

    fn retire(&mut self, peer: PeerId) {
        self.turn(peer, Mood::Drains);
        let made = self.dispatch.retire(peer);
        self.revoke(made);
    }

    /// The primary learns that a worker is gone. What it was sent is gone, too, and no more.
    fn mourn(&mut self, peer: PeerId) {
        if self.worker(peer).mood != Mood::Dead {
            return;
        }
        let worker = self.workers.remove(&peer).expect("it was chosen from them");
        self.dispatch.leave(peer);
        for connection in worker.claimed {
            // Its listener makes no difference any more.
            self.dispatch.add(Accepted { connection, listener: 0 });
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        let peers: Vec<PeerId> = self.workers.keys().copied().collect();
        for peer in peers {
            if self
                .dispatch
                .takers
                .iter()
                .any(|taker| taker.peer == peer && taker.standing != Standing::Retired)
            {
                self.turn(peer, Mood::Drains);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// What the primary does after each event: as `Desk::run`.
    fn act(&mut self) {
        let overdue = self.dispatch.overdue(self.now, &self.workers);
        overdue.iter().for_each(|placed| self.worker(placed.peer).ringing.taken_back());
        self.revoke(overdue);
        self.offer();
        let newest = self.dispatch.newest();
        for (peer, worker) in &mut self.workers {
            if !worker.claimed.is_empty() && worker.to_worker.len() < FULL {
                for connection in &worker.claimed {
                    let before = self.sent.insert(*connection, *peer);
                    assert!(before.is_none(), "seed {}: {connection} is sent twice", self.seed);
                }
                worker.to_worker.push_back(Packet::Connections(std::mem::take(&mut worker.claimed)));
            }
            if worker.ringing.is_due() && worker.to_worker.len() < FULL {
                worker.to_worker.push_back(Packet::Ring);
                worker.ringing.rang(newest);
            }
        }
    }

    /// From now on nobody dies, stalls or garbles, and everything arrives.
    pub(super) fn be_kind(&mut self) {
        let retired = |peer: &PeerId| {
            self.dispatch
                .takers
                .iter()
                .any(|taker| taker.peer == *peer && taker.standing == Standing::Retired)
        };
        let can_serve = |(peer, worker): (&PeerId, &Worker)| match worker.mood {
            Mood::Serves | Mood::Stalls => !worker.garbled,
            Mood::Drains => self.closed && !worker.garbled && !retired(peer),
            Mood::Dead => false,
        };
        if !self.workers.iter().any(can_serve) {
            self.give_birth();
        }
        let peers: Vec<PeerId> = self.workers.keys().copied().collect();
        for peer in peers {
            self.turn(peer, Mood::Serves);
            self.mourn(peer);
        }
        (0..10).for_each(|_| self.round());
        // Whoever says that it is there and claims nothing has each of them for a moment, more than once.
        let mut more = 20 * self.came;
        while more > 0 && !self.is_served() {
            more -= 1;
            self.round();
        }
    }

    /// Everybody has a turn.
    fn round(&mut self) {
        self.act();
        (0..LISTENERS).for_each(|listener| self.accept(listener));
        self.act();
        let peers: Vec<PeerId> = self.workers.keys().copied().collect();
        for peer in peers {
            (0..FULL).for_each(|_| self.reach(peer));
            self.work(peer, 1);
            self.hear(peer);
            self.act();
        }
        self.pass(Duration::from_millis(1));
    }
}
