//! What replaces workers that serve: reloads, and recycling.
use std::time::Duration;

/// How a new generation takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rollout {
    /// How long its first worker has to serve before others are replaced.
    pub(crate) health: Duration,
    /// How many workers are replaced at a time.
    pub(crate) batch: u16,
}

impl Default for Rollout {
    fn default() -> Self {
        Self { health: Duration::from_secs(1), batch: 1 }
    }
}

/// When a worker has served for long enough. None: never for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Recycling {
    pub(crate) requests: Option<u64>,
    /// Of private memory, in bytes.
    pub(crate) memory: Option<u64>,
    pub(crate) lifetime: Option<Duration>,
}

impl Recycling {
    /// Whether somebody has to look at what workers use and do.
    pub(crate) fn weighs(self) -> bool {
        self.requests.is_some() || self.memory.is_some()
    }
}
