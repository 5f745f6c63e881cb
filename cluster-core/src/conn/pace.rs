//! How fast connections come. Decides only.
//!
//! The doorbell shares out bursts exactly and keeps nobody waiting behind a loop that is blocked, and costs each
//! connection a turn of a thread. Where connections come fast, one after the other, that is not needed: whoever looks
//! into the queue next, soon, finds what another was woken for in vain. And where they come faster than that, those that
//! are handed out are handed out several at a time.
use std::time::{Duration, Instant};

/// So many connections in so much time are fast for a worker: more than anybody's share of a burst.
const WORKER: (u32, Duration) = (48, Duration::from_millis(48));
/// And for the primary, which hands them out to all.
const PRIMARY: (u32, Duration) = (100, Duration::from_millis(12));
/// Fast no more when none has come for so long. What was missed in between waits no longer than that.
pub(crate) const CALM: Duration = Duration::from_millis(3);

/// The pace at which connections are taken.
#[derive(Debug)]
pub(crate) struct Pace {
    fast: (u32, Duration),
    since: Option<Instant>,
    taken: u32,
    last: Option<Instant>,
    is_fast: bool,
}

impl Pace {
    /// That of a worker.
    pub(crate) fn of_worker() -> Self {
        Self::of(WORKER)
    }

    /// That of all workers together.
    pub(crate) fn of_primary() -> Self {
        Self::of(PRIMARY)
    }

    fn of(fast: (u32, Duration)) -> Self {
        Self { fast, since: None, taken: 0, last: None, is_fast: false }
    }

    /// A connection was taken.
    pub(crate) fn took(&mut self, now: Instant) {
        // Bursts with silence in between are not fast.
        let goes_on = self.last.replace(now).is_some_and(|last| now.saturating_duration_since(last) < CALM);
        match self.since {
            Some(since) if goes_on && now.saturating_duration_since(since) <= self.fast.1 => self.taken += 1,
            Some(_) | None => (self.since, self.taken) = (Some(now), 1),
        }
        self.is_fast |= self.taken >= self.fast.0;
    }

    /// They come fast to all workers together. One of many has long pauses then, because others have the processors.
    pub(crate) fn quicken(&mut self, now: Instant) {
        self.last = Some(now);
        self.is_fast = true;
    }

    /// Whether they come fast.
    pub(crate) fn is_fast(&self) -> bool {
        self.is_fast
    }

    /// When to [`look`](Self::look) whether they still do.
    pub(crate) fn calm_at(&self, now: Instant) -> Instant {
        self.last.unwrap_or(now) + CALM
    }

    /// Time has passed: whether they still come fast.
    pub(crate) fn look(&mut self, now: Instant) -> bool {
        if self.calm_at(now) <= now {
            self.slow_down();
        }
        self.is_fast
    }

    /// As if they came slowly.
    pub(crate) fn slow_down(&mut self) {
        *self = Self::of(self.fast);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections that come every so often.
    fn after(count: u32, every: Duration) -> (Pace, Instant) {
        let (mut pace, mut now) = (Pace::of_worker(), Instant::now());
        for _ in 0..count {
            now += every;
            pace.took(now);
        }
        (pace, now)
    }

    #[test]
    fn a_share_of_a_burst_is_not_fast() {
        let (pace, _) = after(32, Duration::ZERO);
        assert!(!pace.is_fast());
    }

    #[test]
    fn bursts_with_silence_in_between_are_not_fast() {
        let (mut pace, mut now) = after(0, Duration::ZERO);
        for _ in 0..10 {
            now += CALM;
            (0..16).for_each(|_| pace.took(now));
        }
        assert!(!pace.is_fast());
    }

    #[test]
    fn a_thousand_per_second_are_fast_and_a_hundred_are_not() {
        assert!(after(1000, Duration::from_micros(900)).0.is_fast());
        assert!(!after(1000, Duration::from_millis(10)).0.is_fast());
    }

    #[test]
    fn what_is_fast_for_all_is_fast_for_each() {
        let (mut pace, now) = after(1, Duration::ZERO);
        pace.quicken(now);
        assert!(pace.is_fast());
        // As long as it is.
        pace.quicken(now + 5 * CALM);
        assert!(pace.look(now + 5 * CALM));
        assert!(!pace.look(now + 6 * CALM));
    }

    #[test]
    fn after_a_silence_it_is_slow_again() {
        let (mut pace, now) = after(1000, Duration::from_micros(100));
        assert!(pace.look(now + CALM / 2));
        assert!(!pace.look(now + CALM));
        pace.took(now + CALM);
        assert!(!pace.is_fast(), "it begins anew");
    }
}
