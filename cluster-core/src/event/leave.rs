//! Why a worker leaves.
use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a worker leaves.
///
/// # Example
/// ```
/// use cluster_core::Leave;
/// let has_successor = |why| matches!(why, Leave::Itself | Leave::Restart | Leave::Reload);
/// assert!(!has_successor(Leave::Scaled));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Leave {
    /// Of its own accord: it retired, or had a signal of its own. A successor starts.
    Itself,
    /// Its slot is restarted. A successor starts.
    Restart,
    /// A worker of a newer generation serves in its slot.
    Reload,
    /// It has served for long enough, by the limits that are set; its successor serves already.
    Recycled,
    /// Its slot is given up.
    Scaled,
    /// Its program has ended unasked, and what that began (handlers, spawned tasks) has still to finish. A
    /// successor starts where the restart policy does not wait for the exit code.
    Ended,
    /// The cluster stops.
    Stop,
}

impl fmt::Display for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Leave::Itself => "of its own accord; a successor starts",
            Leave::Restart => "to be restarted; a successor starts",
            Leave::Reload => "because a newer generation serves in its slot",
            Leave::Recycled => "to be recycled; its successor serves",
            Leave::Scaled => "because its slot is given up",
            Leave::Ended => "because its program has ended",
            Leave::Stop => "because the cluster stops",
        })
    }
}
