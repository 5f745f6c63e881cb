//! When an ended worker is replaced: delays that grow, and a budget of crashes.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::Restart;

/// A life as long as this starts the row of delays anew.
const HEALTHY: Duration = Duration::from_secs(30);
/// Delays vary by this part either way, so that slots do not restart in step.
const JITTER: f64 = 0.2;
/// Failed boots, where none was ever online, after which a program is taken to be broken.
const HOPELESS_BOOTS: u32 = 3;

/// The row of delays of one slot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The delay before the next start, after a life of `uptime`.
    pub(crate) fn next(&mut self, policy: &Restart, uptime: Duration, rng: &mut fastrand::Rng) -> Duration {
        if uptime >= HEALTHY {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let Some(doublings) = self.failures.checked_sub(2) else { return Duration::ZERO };
        let delay =
            policy.min.saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(policy.max);
        delay.mul_f64(1.0 + JITTER * (2.0 * rng.f64() - 1.0))
    }
}

/// All crashes of the cluster, to see when it is beyond hope.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    crashes: VecDeque<Instant>,
    failed_boots: u32,
    was_online: bool,
}

impl Budget {
    pub(crate) fn online(&mut self) {
        self.was_online = true;
    }

    pub(crate) fn crashed(&mut self, now: Instant, policy: &Restart, booting: bool) {
        self.failed_boots += u32::from(booting && !self.was_online);
        self.crashes.push_back(now);
        // No more than the limit are ever needed: older ones cannot matter.
        while self.crashes.len() > policy.times as usize
            || self.crashes.front().is_some_and(|at| now - *at > policy.window)
        {
            self.crashes.pop_front();
        }
    }

    /// Why to give up, in a cluster with no worker online.
    pub(crate) fn spent(&self, policy: &Restart) -> Option<String> {
        if !self.was_online && self.failed_boots >= HOPELESS_BOOTS {
            return Some(format!("{} boots failed and no worker was ever ready", self.failed_boots));
        }
        if self.crashes.len() >= policy.times as usize {
            return Some(format!("{} crashes in {:?} and no worker is ready", policy.times, policy.window));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(5);

    fn delays(count: usize) -> Vec<Duration> {
        let (mut backoff, mut rng) = (Backoff::default(), fastrand::Rng::with_seed(1));
        (0..count).map(|_| backoff.next(&Restart::default(), SHORT, &mut rng)).collect()
    }

    #[test]
    fn the_first_restart_is_at_once_and_the_delays_double_up_to_the_largest() {
        let delays = delays(40);
        assert_eq!(delays[0], Duration::ZERO);
        for (at, expected) in [(1, 100), (2, 200), (3, 400), (8, 12_800), (9, 15_000), (39, 15_000)] {
            let (low, high) = (expected as f64 * 0.8, expected as f64 * 1.2);
            let millis = delays[at].as_secs_f64() * 1000.0;
            assert!(
                (low..=high).contains(&millis),
                "restart {at} after {millis} ms, wanted {expected} +-20 %"
            );
        }
    }

    #[test]
    fn a_healthy_life_starts_the_row_anew() {
        let (mut backoff, mut rng) = (Backoff::default(), fastrand::Rng::with_seed(1));
        for _ in 0..5 {
            backoff.next(&Restart::default(), SHORT, &mut rng);
        }
        assert_eq!(backoff.next(&Restart::default(), HEALTHY, &mut rng), Duration::ZERO);
    }

    #[test]
    fn the_budget_forgets_what_is_older_than_its_window() {
        let (start, policy) = (Instant::now(), Restart::default());
        let mut budget = Budget::default();
        budget.online();
        for second in 0..100 {
            budget.crashed(start + Duration::from_secs(second * 5), &policy, false);
            assert_eq!(budget.spent(&policy), None, "12 crashes a minute are within the budget");
        }
        for _ in 0..16 {
            budget.crashed(start + Duration::from_secs(1000), &policy, false);
        }
        assert!(budget.spent(&policy).is_some());
    }

    #[test]
    fn three_failed_boots_are_enough_only_where_none_was_ever_online() {
        let (now, policy) = (Instant::now(), Restart::default());
        let mut budget = Budget::default();
        for _ in 0..3 {
            assert_eq!(budget.spent(&policy), None);
            budget.crashed(now, &policy, true);
        }
        assert!(budget.spent(&policy).is_some());
        let mut budget = Budget::default();
        budget.online();
        for _ in 0..3 {
            budget.crashed(now, &policy, true);
        }
        assert_eq!(budget.spent(&policy), None);
    }
}
