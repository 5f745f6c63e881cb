//! How many new connections a worker may take for now: so many per second, evenly. Decides only.
use std::time::{Duration, Instant};

/// A second's connections come in at least so many portions.
const PORTIONS: u32 = 10;

/// A bucket of tokens, one for each connection. It is kept as the time at which it would be full again, so that
/// nothing has to fill it.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// A token's share of a second.
    every: Duration,
    /// What a full bucket holds, as time.
    depth: Duration,
    full_at: Option<Instant>,
}

impl Bucket {
    /// So many per second, of which a tenth may come at once. At least one.
    pub(crate) fn new(per_second: u32) -> Self {
        let per_second = per_second.max(1);
        let every = (Duration::from_secs(1) / per_second).max(Duration::from_nanos(1));
        Self { every, depth: every * per_second.div_ceil(PORTIONS), full_at: None }
    }

    /// How many may be taken now.
    pub(crate) fn tokens(&self, now: Instant) -> u64 {
        let left = self.depth.saturating_sub(self.missing(now));
        u64::try_from(left.as_nanos() / self.every.as_nanos().max(1)).unwrap_or(u64::MAX)
    }

    /// So many are taken; those that are not there yet are owed.
    pub(crate) fn take(&mut self, now: Instant, tokens: u64) {
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.full_at = Some(now + self.missing(now) + self.every.saturating_mul(tokens));
    }

    /// One that was taken was not needed.
    pub(crate) fn give_back(&mut self) {
        self.full_at = self.full_at.and_then(|at| at.checked_sub(self.every));
    }

    /// When there is one again.
    pub(crate) fn next(&self, now: Instant) -> Instant {
        now + (self.missing(now) + self.every).saturating_sub(self.depth)
    }

    fn missing(&self, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are taken within `time` by somebody who always wants one.
    fn taken_within(time: Duration, bucket: &mut Bucket, begin: Instant) -> u64 {
        let (mut now, mut taken) = (begin, 0);
        while now < begin + time {
            if bucket.tokens(now) == 0 {
                now = bucket.next(now);
                continue;
            }
            bucket.take(now, 1);
            taken += 1;
        }
        taken
    }

    #[test]
    fn no_second_has_more_than_a_tenth_too_many() {
        let begin = Instant::now();
        for per_second in [1, 3, 10, 1000, 123_457] {
            let mut bucket = Bucket::new(per_second);
            // A nanosecond is the smallest share of a second.
            let rounding = 1 + u64::from(per_second) / 1000;
            let most = u64::from(per_second + per_second.div_ceil(PORTIONS)) + rounding;
            let taken = taken_within(Duration::from_secs(1), &mut bucket, begin);
            assert!((u64::from(per_second)..=most).contains(&taken), "{per_second}: {taken}");
            let taken = taken_within(Duration::from_secs(1), &mut bucket, begin + Duration::from_secs(1));
            assert!(
                taken.abs_diff(u64::from(per_second)) <= rounding,
                "{per_second}, the second one: {taken}"
            );
        }
    }

    #[test]
    fn after_a_pause_a_tenth_may_come_at_once_and_not_more() {
        let (mut bucket, now) = (Bucket::new(100), Instant::now());
        bucket.take(now, 10);
        assert_eq!(bucket.tokens(now), 0);
        assert_eq!(bucket.tokens(now + Duration::from_secs(3600)), 10);
    }

    #[test]
    fn the_next_one_is_there_when_it_was_said() {
        let (mut bucket, now) = (Bucket::new(7), Instant::now());
        bucket.take(now, 1);
        let next = bucket.next(now);
        assert_eq!(bucket.tokens(next - Duration::from_micros(1)), 0);
        assert_eq!(bucket.tokens(next), 1);
    }

    #[test]
    fn what_was_not_needed_is_there_again() {
        let (mut bucket, now) = (Bucket::new(100), Instant::now());
        bucket.take(now, 1);
        bucket.give_back();
        assert_eq!(bucket.tokens(now), 10);
        bucket.give_back();
        assert_eq!(bucket.tokens(now), 10, "no more than a full one");
    }

    #[test]
    fn no_rate_is_too_large() {
        let (mut bucket, now) = (Bucket::new(u32::MAX), Instant::now());
        assert!(bucket.tokens(now) > 0);
        bucket.take(now, u64::MAX);
        assert!(bucket.next(now) >= now);
    }
}
