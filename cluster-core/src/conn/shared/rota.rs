//! Whose turn it is, in memory that all workers share: idle workers take equal parts of a burst.
//!
//! The kernel wakes workers in turn, but not all of them run at once: one that has a processor would take what others
//! were woken for, and with connections that live long it would keep that share. So a worker that has taken more than
//! its part, while others want connections, leaves one to them; not for longer than [`LEAVES_FOR`].
//!
//! It is about fairness alone: whatever anybody writes in here, each connection is taken, a moment later at the most.
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::id::Slot;

/// How long a worker leaves a connection to others.
pub(crate) const LEAVES_FOR: Duration = Duration::from_millis(2);
/// In milliseconds: parts are reckoned over this time, from the first connection on. Who was busy for longer gets no
/// more than its part afterwards.
const WINDOW: u64 = 20;

/// So many in that time are fast for all workers together: more than several bursts of 64, 25,600 per second.
const FAST: u64 = 512;

/// One bit for each of the most slots that there can be.
const WORDS: usize = 1 << 10;
/// Of the window's word: the lower bits count, the others say when it began.
const COUNT: u32 = 24;

/// The memory.
#[repr(C)]
pub(crate) struct Rota {
    /// When the window began, and how many connections have been taken in it.
    window: AtomicU64,
    /// How many were taken in the window before, if there was one.
    before: AtomicU64,
    /// Slots whose workers want connections.
    wanting: [AtomicU64; WORDS],
    /// How many of these words have ever been used.
    used: AtomicU32,
}

/// What one worker has taken.
#[derive(Debug, Default)]
pub(crate) struct Part {
    /// In which window.
    began: u64,
    taken: u64,
}

impl Rota {
    /// A worker wants connections; whether that was not known.
    pub(crate) fn wants(&self, slot: Slot) -> bool {
        let (word, bit) = place(slot);
        let is_new = self.wanting[word].fetch_or(bit, Relaxed) & bit == 0;
        if is_new {
            self.used.fetch_max(word as u32 + 1, Relaxed);
        }
        is_new
    }

    /// It is busy, or gone.
    pub(crate) fn wants_no_more(&self, slot: Slot) {
        let (word, bit) = place(slot);
        self.wanting[word].fetch_and(!bit, Relaxed);
    }

    /// Nobody but this one is there to take any.
    pub(crate) fn forget_all_but(&self, slot: Slot) {
        let (own, bit) = place(slot);
        for (at, word) in self.wanting[..self.used()].iter().enumerate() {
            word.fetch_and(if at == own { bit } else { 0 }, Relaxed);
        }
    }

    /// A worker takes a connection. `now` is in milliseconds, of a clock that all share.
    pub(crate) fn takes(&self, part: &mut Part, now: u64) {
        let next = |word: u64| if is_over(word, now) { window(now, 1) } else { word + 1 };
        let old = match self.window.fetch_update(Relaxed, Relaxed, |word| Some(next(word))) {
            Ok(word) | Err(word) => word,
        };
        if is_over(old, now) {
            let counted = if is_recent(old, now) { count(old) } else { 0 };
            self.before.store(counted, Relaxed);
        }
        let began = began(next(old));
        if part.began != began {
            *part = Part { began, taken: 0 };
        }
        part.taken += 1;
    }

    /// Whether connections come fast, whoever takes them.
    pub(crate) fn is_fast(&self, now: u64) -> bool {
        let word = self.window.load(Relaxed);
        is_recent(word, now) && (count(word) >= FAST || self.before.load(Relaxed) >= FAST)
    }

    /// Whether a worker that wants one may take it: its part is no larger than that of all who want some.
    pub(crate) fn is_turn_of(&self, part: &Part, now: u64) -> bool {
        let word = self.window.load(Relaxed);
        if is_over(word, now) || part.began != began(word) {
            return true;
        }
        let wanting =
            self.wanting[..self.used()].iter().map(|word| u64::from(word.load(Relaxed).count_ones()));
        part.taken.saturating_mul(wanting.sum()) <= count(word)
    }
}

impl Rota {
    fn used(&self) -> usize {
        (self.used.load(Relaxed) as usize).min(WORDS)
    }
}

fn place(slot: Slot) -> (usize, u64) {
    (usize::from(slot.0) / 64, 1 << (slot.0 % 64))
}

fn window(began: u64, count: u64) -> u64 {
    began << COUNT | count
}

fn began(word: u64) -> u64 {
    word >> COUNT
}

fn count(word: u64) -> u64 {
    word & ((1 << COUNT) - 1)
}

/// A clock that was set wrong by whoever wrote it counts as over, too.
fn is_over(word: u64, now: u64) -> bool {
    now.wrapping_sub(began(word)) >= WINDOW
}

/// Whether it began in this window or the one before.
fn is_recent(word: u64, now: u64) -> bool {
    now.wrapping_sub(began(word)) < 2 * WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    struct Worker {
        slot: Slot,
        part: Part,
    }

    fn rota() -> Box<Rota> {
        Box::new(Rota {
            window: AtomicU64::new(0),
            before: AtomicU64::new(0),
            wanting: std::array::from_fn(|_| AtomicU64::new(0)),
            used: AtomicU32::new(0),
        })
    }

    fn workers(rota: &Rota, count: u16) -> Vec<Worker> {
        let slots = (0..count).map(|slot| Slot(slot * 40));
        slots
            .map(|slot| {
                assert!(rota.wants(slot));
                Worker { slot, part: Part::default() }
            })
            .collect()
    }

    #[test]
    fn a_burst_is_taken_in_equal_parts_whoever_comes_first() {
        let rota = rota();
        let mut workers = workers(&rota, 4);
        let mut taken = 0;
        // Whoever the scheduler likes may ask as often as it wants.
        while taken < 64 {
            let eager = [0, 0, 0, 0, 1, 1, 2, 3][fastrand::usize(..8)];
            let worker = &mut workers[eager];
            if rota.is_turn_of(&worker.part, NOW) {
                rota.takes(&mut worker.part, NOW);
                taken += 1;
            }
        }
        let parts: Vec<u64> = workers.iter().map(|worker| worker.part.taken).collect();
        assert!(parts.iter().all(|part| (15..=17).contains(part)), "{parts:?}");
    }

    #[test]
    fn it_is_always_somebodys_turn() {
        let rota = rota();
        let mut workers = workers(&rota, 5);
        for _ in 0..2000 {
            let turns: Vec<usize> = (0..5).filter(|at| rota.is_turn_of(&workers[*at].part, NOW)).collect();
            let Some(&one) = fastrand::choice(&turns) else { panic!("nobody may take it") };
            rota.takes(&mut workers[one].part, NOW);
        }
    }

    #[test]
    fn nobody_waits_for_those_who_want_none() {
        let rota = rota();
        let mut workers = workers(&rota, 3);
        workers[1..].iter().for_each(|busy| rota.wants_no_more(busy.slot));
        for _ in 0..100 {
            assert!(rota.is_turn_of(&workers[0].part, NOW));
            rota.takes(&mut workers[0].part, NOW);
        }
        // They come back.
        rota.wants(workers[1].slot);
        assert!(!rota.is_turn_of(&workers[0].part, NOW));
        assert!(rota.is_turn_of(&workers[1].part, NOW));
    }

    #[test]
    fn what_was_long_ago_does_not_count() {
        let rota = rota();
        let mut workers = workers(&rota, 2);
        for _ in 0..10 {
            rota.takes(&mut workers[0].part, NOW);
        }
        assert!(!rota.is_turn_of(&workers[0].part, NOW + WINDOW - 1));
        assert!(rota.is_turn_of(&workers[0].part, NOW + WINDOW));
        rota.takes(&mut workers[0].part, NOW + WINDOW);
        assert_eq!(workers[0].part.taken, 1);
    }

    #[test]
    fn what_comes_to_all_together_is_fast_until_it_ends() {
        let rota = rota();
        let mut workers = workers(&rota, 16);
        let mut take = |count: u64, now: u64| {
            (0..count).for_each(|nth| rota.takes(&mut workers[nth as usize % 16].part, now));
            rota.is_fast(now)
        };
        assert!(!take(64, NOW), "a burst");
        assert!(!take(1, NOW + 10 * WINDOW));
        assert!(take(FAST, NOW + 10 * WINDOW));
        // Also at the beginning of the next window, which is hardly counted yet.
        assert!(take(1, NOW + 11 * WINDOW));
        assert!(!take(1, NOW + 12 * WINDOW), "hardly one has come in all that time");
        assert!(take(FAST, NOW + 12 * WINDOW));
        assert!(!rota.is_fast(NOW + 14 * WINDOW), "none at all has come");
        assert!(!take(1, NOW + 20 * WINDOW));
    }

    #[test]
    fn garbage_makes_nobody_wait_for_ever() {
        let rota = rota();
        let worker = workers(&rota, 1).remove(0);
        for garbage in [u64::MAX, window(NOW + 5, 0), 1] {
            rota.window.store(garbage, Relaxed);
            rota.used.store(u32::MAX, Relaxed);
            assert!(rota.is_turn_of(&worker.part, NOW));
        }
    }
}
