//! How long a worker may serve before it is recycled. Decides only.
use std::time::{Duration, Instant};

use crate::config::Recycling;
use crate::supervise::input::Load;

/// Limits vary by up to this part, downwards, so that workers that began together do not leave together.
const JITTER: f64 = 0.1;
/// So many looks in a row must find too much memory: a peak is no leak.
const HEAVY_LOOKS: u32 = 3;

/// What one worker may do until it has served for long enough.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Span {
    until: Option<Instant>,
    requests: Option<u64>,
    memory: Option<u64>,
    /// Looks in a row that have found more memory than that.
    heavy: u32,
    answered: u64,
}

impl Span {
    /// One that begins now.
    pub(crate) fn begin(now: Instant, limits: Recycling, rng: &mut fastrand::Rng) -> Self {
        let mut part = || 1.0 - JITTER * rng.f64();
        Self {
            until: limits.lifetime.map(|lifetime: Duration| now + lifetime.mul_f64(part())),
            requests: limits.requests.map(|requests| (requests as f64 * part()).ceil() as u64),
            memory: limits.memory,
            heavy: 0,
            answered: 0,
        }
    }

    /// Takes in a look.
    pub(crate) fn weigh(&mut self, load: Load) {
        self.answered = load.requests;
        let (Some(limit), Some(memory)) = (self.memory, load.memory) else { return };
        self.heavy = if memory > limit { self.heavy + 1 } else { 0 };
    }

    pub(crate) fn is_spent(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
            || self.requests.is_some_and(|requests| self.answered >= requests)
            || self.heavy >= HEAVY_LOOKS
    }

    /// When it is spent by time alone.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(limits: Recycling) -> (Instant, Span) {
        let now = Instant::now();
        (now, Span::begin(now, limits, &mut fastrand::Rng::with_seed(3)))
    }

    #[test]
    fn memory_has_to_be_too_much_three_times_in_a_row() {
        let (now, mut span) = begin(Recycling { memory: Some(100), ..Recycling::default() });
        for (memory, spent) in
            [(Some(101), false), (Some(200), false), (Some(100), false), (Some(101), false)]
        {
            span.weigh(Load { requests: 0, memory });
            assert_eq!(span.is_spent(now), spent);
        }
        span.weigh(Load { requests: 0, memory: Some(101) });
        // One that could not be looked at says neither.
        span.weigh(Load { requests: 0, memory: None });
        assert!(!span.is_spent(now));
        span.weigh(Load { requests: 0, memory: Some(101) });
        assert!(span.is_spent(now));
    }

    #[test]
    fn limits_are_met_up_to_a_tenth_early_and_never_late() {
        for seed in 0..200 {
            let (now, hour) = (Instant::now(), Duration::from_secs(3600));
            let limits = Recycling { requests: Some(1000), lifetime: Some(hour), ..Recycling::default() };
            let mut span = Span::begin(now, limits, &mut fastrand::Rng::with_seed(seed));
            assert!(!span.is_spent(now + hour.mul_f64(0.89)) && span.is_spent(now + hour));
            span.weigh(Load { requests: 899, memory: None });
            assert!(!span.is_spent(now));
            span.weigh(Load { requests: 1000, memory: None });
            assert!(span.is_spent(now));
        }
    }

    #[test]
    fn without_limits_nobody_has_served_for_long_enough() {
        let (now, mut span) = begin(Recycling::default());
        span.weigh(Load { requests: u64::MAX, memory: Some(u64::MAX) });
        assert!(!span.is_spent(now + Duration::from_secs(1 << 30)));
        assert_eq!(span.until(), None);
    }
}
