//! Where workers come from: the fork server's state, as the pool sees it.
use std::time::{Duration, Instant};

use crate::supervise::restart::Backoff;

/// How long a fork request may take; a fork server that takes longer is stuck and replaced.
pub(crate) const FORK_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether workers can be made now.
#[derive(Debug, Clone)]
pub(crate) enum Nursery {
    /// The exec method: always.
    Exec,
    /// The fork server takes requests.
    Up { since: Instant, backoff: Backoff },
    /// It has been killed; its end will be told by this time, or is not waited for.
    Killed { since: Instant, until: Instant, backoff: Backoff },
    /// It is gone; another is started at this time.
    Waiting { until: Instant, backoff: Backoff },
    /// It was executed and runs `main`; at this time it is given up.
    Booting { until: Instant, backoff: Backoff },
}

impl Nursery {
    pub(crate) fn can_spawn(&self) -> bool {
        match self {
            Nursery::Exec | Nursery::Up { .. } => true,
            Nursery::Killed { .. } | Nursery::Waiting { .. } | Nursery::Booting { .. } => false,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Nursery::Exec | Nursery::Up { .. } => None,
            Nursery::Killed { until, .. }
            | Nursery::Waiting { until, .. }
            | Nursery::Booting { until, .. } => Some(*until),
        }
    }

    /// The row of delays, and how long the last one lived.
    pub(crate) fn lost(&self, now: Instant) -> (Backoff, Duration) {
        match self {
            Nursery::Exec => (Backoff::default(), Duration::ZERO),
            Nursery::Up { since, backoff } | Nursery::Killed { since, backoff, .. } => {
                (backoff.clone(), now - *since)
            }
            Nursery::Waiting { backoff, .. } | Nursery::Booting { backoff, .. } => {
                (backoff.clone(), Duration::ZERO)
            }
        }
    }
}
