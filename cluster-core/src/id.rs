//! What the processes of a cluster are called.
use serde::{Deserialize, Serialize};

/// A stable place in the cluster, 0 to the number of workers - 1. A successor takes its predecessor's slot.
///
/// # Example
/// ```
/// assert_eq!(cluster_core::Slot(3).to_string(), "3");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slot(pub u16);

/// A worker's number, unique in the life of a cluster, growing from 1.
///
/// # Example
/// ```
/// assert!(cluster_core::WorkerId(2) > cluster_core::WorkerId(1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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

/// A process that takes part in messages and is supervised: a worker, or a director. Directors have numbers of
/// their own, from 1: a program's first worker is worker 1 whether or not there is a director.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum PeerId {
    Worker(WorkerId),
    Director(u64),
}

/// The place that a process has, and its successor after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Seat {
    Slot(Slot),
    Director,
}

impl std::fmt::Display for PeerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PeerId::Worker(id) => write!(f, "worker {id}"),
            PeerId::Director(_) => f.write_str("the director"),
        }
    }
}
