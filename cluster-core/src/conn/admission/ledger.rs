//! Who has how many connections open, so that all processes together have no more than the cluster may.
//!
//! One page of shared memory, in which each worker has a word of its own, and the primary one for what it has accepted
//! and not handed over. Whoever wants a connection adds one to its word first and then adds all words up: the last to
//! have added sees everybody else's, so that never too many get one (two who want the last at the same time may
//! both step back, and look again). One common count would be faster to read, but who is killed between counting and
//! noting that it has counted would leave it wrong for ever; a word is its process's alone, and when that has
//! ended the primary writes 0.
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// More processes than a cluster can have at a time: two for each slot, and the primary.
const PLACES: usize = 2 * (1 << 16) + 1;

/// The primary's place.
pub(crate) const PRIMARY: usize = 0;

/// The page. All access is in one order for all (SeqCst): each adds first and reads then.
#[repr(C)]
pub(crate) struct Ledger {
    /// As many as there may be; the primary's to write.
    limit: AtomicU64,
    /// Places that were ever used; the primary's to write.
    used: AtomicU64,
    /// Who waits for room: bits of [`Waiting`].
    waiting: AtomicU64,
    held: [AtomicU64; PLACES],
}

/// Who waits for room in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting(u64);

impl Waiting {
    #[cfg(test)]
    const NOBODY: Self = Self(0);
    /// Workers, where they help themselves: the bell wakes one.
    pub(crate) const WORKERS: Self = Self(1);
    /// The primary, for what it hands out.
    pub(crate) const PRIMARY: Self = Self(2);

    pub(crate) fn includes(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// It may have one more.
    Granted,
    /// There are too many; these may have seen the attempt, and shall look again.
    Refused(Waiting),
}

impl Ledger {
    /// By the primary, once.
    pub(crate) fn begin(&self, limit: u64) {
        self.limit.store(limit, SeqCst);
        self.use_place(PRIMARY);
    }

    /// By the primary, BEFORE a process has this place.
    pub(crate) fn use_place(&self, place: usize) {
        self.used.fetch_max(place as u64 + 1, SeqCst);
    }

    /// One more connection for this place, if there is room.
    pub(crate) fn try_take(&self, place: usize) -> Attempt {
        let mut taking = Taking::new(place);
        loop {
            if let Some(attempt) = taking.step(self) {
                return attempt;
            }
        }
    }

    /// So many are this place's now. They are another's until AFTER this, so that there are not too many.
    pub(crate) fn add(&self, place: usize, count: u64) {
        self.word(place).fetch_add(count, SeqCst);
    }

    /// One ends. Answers with who is to look again.
    pub(crate) fn give_back(&self, place: usize) -> Waiting {
        self.word(place).fetch_sub(1, SeqCst);
        self.take_waiting()
    }

    /// By the primary: the process has ended, and what it had with it.
    pub(crate) fn forget(&self, place: usize) -> Waiting {
        self.word(place).store(0, SeqCst);
        self.take_waiting()
    }

    /// Whether there are as many as there may be.
    pub(crate) fn is_full(&self) -> bool {
        self.held().fold(0, u64::saturating_add) >= self.limit.load(SeqCst)
    }

    /// Somebody will wait for room: whether there is still none. AFTER this whoever gives one back sees it.
    pub(crate) fn must_wait(&self, who: Waiting) -> bool {
        self.waiting.fetch_or(who.0, SeqCst);
        self.is_full()
    }

    fn take_waiting(&self) -> Waiting {
        // Mostly nobody does, and a look costs the others nothing.
        if self.waiting.load(SeqCst) == 0 { Waiting(0) } else { Waiting(self.waiting.swap(0, SeqCst)) }
    }

    fn held(&self) -> impl Iterator<Item = u64> {
        let used = usize::try_from(self.used.load(SeqCst)).unwrap_or(PLACES);
        self.held.iter().take(used).map(|word| word.load(SeqCst))
    }

    fn word(&self, place: usize) -> &AtomicU64 {
        // One that came as a number from elsewhere must not end the process.
        &self.held[place.min(PLACES - 1)]
    }
}

/// An attempt to take one, step by step, as other processes may see it.
#[derive(Debug)]
struct Taking {
    place: usize,
    /// The next word to read; None: it has not added its own yet.
    next: Option<usize>,
    sum: u64,
}

impl Taking {
    fn new(place: usize) -> Self {
        Self { place, next: None, sum: 0 }
    }

    fn step(&mut self, ledger: &Ledger) -> Option<Attempt> {
        let Some(next) = self.next else {
            ledger.word(self.place).fetch_add(1, SeqCst);
            self.next = Some(0);
            return None;
        };
        if (next as u64) < ledger.used.load(SeqCst).min(PLACES as u64) {
            // The words are their workers': what they say need not add up.
            self.sum = self.sum.saturating_add(ledger.held[next].load(SeqCst));
            self.next = Some(next + 1);
            return None;
        }
        if self.sum <= ledger.limit.load(SeqCst) {
            return Some(Attempt::Granted);
        }
        Some(Attempt::Refused(ledger.give_back(self.place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::page::Mapped;

    fn ledger(limit: u64, places: usize) -> Mapped<Ledger> {
        let (ledger, _) = Mapped::<Ledger>::create(c"test").unwrap();
        ledger.begin(limit);
        (0..places).for_each(|place| ledger.use_place(place));
        ledger
    }

    /// A worker of the model: what it was granted, and what it is about.
    #[derive(Default)]
    struct Model {
        granted: u64,
        taking: Option<Taking>,
        waits: bool,
    }

    /// Runs a random course of steps; checks after each.
    fn run(seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (limit, count) = (random.u64(1..6), random.usize(1..6));
        let ledger = ledger(limit, count + 1);
        let mut workers: Vec<Model> = (0..count).map(|_| Model::default()).collect();
        let look_again = |workers: &mut Vec<Model>, waiting: Waiting| {
            if waiting.includes(Waiting::WORKERS) {
                workers.iter_mut().for_each(|worker| worker.waits = false);
            }
        };
        for _ in 0..400 {
            let at = random.usize(..count);
            let worker = &mut workers[at];
            match random.u8(..20) {
                // It is killed, wherever it is; its successor has its place.
                0 => {
                    *worker = Model::default();
                    let waiting = ledger.forget(at + 1);
                    look_again(&mut workers, waiting);
                }
                1..=4 if worker.granted > 0 && worker.taking.is_none() => {
                    worker.granted -= 1;
                    let waiting = ledger.give_back(at + 1);
                    look_again(&mut workers, waiting);
                }
                _ if worker.waits => {}
                _ => match worker.taking.get_or_insert_with(|| Taking::new(at + 1)).step(&ledger) {
                    None => {}
                    Some(Attempt::Granted) => {
                        worker.taking = None;
                        worker.granted += 1;
                    }
                    Some(Attempt::Refused(waiting)) => {
                        worker.taking = None;
                        worker.waits = true;
                        look_again(&mut workers, waiting);
                        workers[at].waits = ledger.must_wait(Waiting::WORKERS);
                    }
                },
            }
            let open: u64 = workers.iter().map(|worker| worker.granted).sum();
            assert!(open <= limit, "{open} of {limit}, seed {seed}");
            let busy = workers.iter().any(|worker| worker.taking.is_some());
            assert!(
                busy || open == limit || workers.iter().all(|worker| !worker.waits),
                "somebody waits while there is room, seed {seed}"
            );
        }
        // All are killed: nothing of their share is lost.
        for at in 0..count {
            ledger.forget(at + 1);
        }
        assert!((0..limit).all(|_| ledger.try_take(1) == Attempt::Granted), "seed {seed}");
        assert!(ledger.is_full());
    }

    #[test]
    fn never_too_many_and_nobody_waits_beside_room_however_workers_interleave_and_die() {
        (0..3000).for_each(run);
    }

    #[test]
    fn threads_that_take_and_give_back_never_have_too_many() {
        const LIMIT: u64 = 5;
        let ledger = ledger(LIMIT, 5);
        let open = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for place in 1..5 {
                let (ledger, open) = (&ledger, &open);
                scope.spawn(move || {
                    for _ in 0..20_000 {
                        if ledger.try_take(place) == Attempt::Granted {
                            assert!(open.fetch_add(1, SeqCst) < LIMIT);
                            open.fetch_sub(1, SeqCst);
                            ledger.give_back(place);
                        }
                    }
                });
            }
        });
        assert!(!ledger.is_full());
    }

    #[test]
    fn invariant_8_words_that_are_no_counts_are_survived() {
        let ledger = ledger(10, 3);
        ledger.add(1, u64::MAX);
        ledger.add(2, u64::MAX);
        assert!(ledger.is_full());
        assert_eq!(ledger.try_take(PRIMARY), Attempt::Refused(Waiting::NOBODY));
        ledger.use_place(usize::MAX >> 1);
        assert!(ledger.is_full());
        ledger.forget(1);
        ledger.forget(2);
        assert_eq!(ledger.try_take(usize::MAX), Attempt::Granted, "and the place that is none");
    }

    #[test]
    fn who_waits_is_told_once() {
        let ledger = ledger(1, 2);
        assert_eq!(ledger.try_take(1), Attempt::Granted);
        assert!(ledger.must_wait(Waiting::WORKERS) && ledger.must_wait(Waiting::PRIMARY));
        let waiting = ledger.give_back(1);
        assert!(waiting.includes(Waiting::WORKERS) && waiting.includes(Waiting::PRIMARY));
        assert!(!ledger.must_wait(Waiting::WORKERS), "there is room");
        assert_eq!(ledger.try_take(1), Attempt::Granted);
        assert_eq!(ledger.give_back(1), Waiting::WORKERS);
        assert_eq!(ledger.forget(1), Waiting::NOBODY);
    }
}
