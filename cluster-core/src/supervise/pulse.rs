//! The pulse of one process: since when its runtime has been silent, and what follows. Decides only.
use std::time::{Duration, Instant};

use crate::config::HangLimit;
use crate::supervise::input::Condition;

/// Silences that are told, where the limit is longer.
const WARNINGS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// What looks at one page have shown. What a page says is not trusted: any change counts as a beat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pulse {
    beats: u64,
    /// When the next beat was due, at the latest: it is silent since then, for longer rather than shorter.
    due: Instant,
    /// How many of the warnings this silence has had.
    warned: usize,
    /// It could not turn when it was examined last.
    held: bool,
}

/// What follows from a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Somebody should know.
    Stalls { silent: Duration },
    /// It will not turn again.
    Hangs,
}

impl Pulse {
    pub(crate) fn new(now: Instant, beats: u64, limit: HangLimit) -> Self {
        Self { beats, due: now + limit.beat_every(), warned: 0, held: false }
    }

    /// Takes in a look: whether something would follow, unless there is a good reason for the silence.
    pub(crate) fn is_suspect(&mut self, now: Instant, beats: u64, limit: HangLimit) -> bool {
        if beats != self.beats {
            *self = Self::new(now, beats, limit);
        }
        self.finding(now, limit).is_some()
    }

    /// What follows, by what the process does.
    pub(crate) fn judge(&mut self, now: Instant, condition: Condition, limit: HangLimit) -> Option<Finding> {
        match condition {
            Condition::Runs if !self.held => {}
            // It was let go since then, and nobody knows when: it may not have had a processor yet.
            Condition::Runs => *self = Self::new(now, self.beats, limit),
            // It cannot turn, and that is not its fault: it begins anew when it can.
            Condition::Stopped | Condition::Traced | Condition::DumpsCore => {
                *self = Self { held: true, ..Self::new(now, self.beats, limit) };
            }
        }
        self.finding(now, limit).inspect(|_| self.warned = warnings(self.silent(now)))
    }

    fn finding(&self, now: Instant, limit: HangLimit) -> Option<Finding> {
        let silent = self.silent(now);
        if silent >= limit.limit() {
            return Some(Finding::Hangs);
        }
        (warnings(silent) > self.warned).then_some(Finding::Stalls { silent })
    }

    fn silent(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.due)
    }
}

/// How many warnings a silence is worth.
fn warnings(silent: Duration) -> usize {
    WARNINGS.iter().filter(|after| **after <= silent).count()
}
