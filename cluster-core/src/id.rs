//! What workers are called.

/// A stable place in the cluster, 0 to the number of workers - 1. A successor takes its predecessor's slot.
///
/// # Example
/// ```
/// assert_eq!(cluster_core::Slot(3).to_string(), "3");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u16);

/// A worker's number, unique in the life of a cluster, growing from 1.
///
/// # Example
/// ```
/// assert!(cluster_core::WorkerId(2) > cluster_core::WorkerId(1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u64);

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Display for WorkerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
