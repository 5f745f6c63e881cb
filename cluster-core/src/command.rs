//! What the primary can be asked for while the cluster runs.
use serde::{Deserialize, Serialize};

use crate::id::Slot;

/// A wish of the director's. It is answered when it has happened.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) enum Command {
    /// Have so many slots.
    Scale { workers: u16 },
    /// Replace the worker of a slot.
    Restart { slot: Slot },
    /// Open the program anew, and replace all by what it is now.
    Reload,
    /// Stop gracefully.
    Stop,
}
