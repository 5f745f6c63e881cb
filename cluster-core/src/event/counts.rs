//! What is counted: connections of a worker, and the queues of listeners.
use serde::{Deserialize, Serialize};

use crate::scheduling::Scheduling;

/// What a worker has counted of its connections since it was born.
///
/// A worker counts in a page of memory that it shares with the primary, which believes none of it: one that is broken
/// may show any numbers.
///
/// # Example
/// ```
/// fn line(worker: &cluster_core::WorkerStatus) -> String {
///     let counts = worker.connections;
///     format!("worker {}: {} open, {} in all", worker.id, counts.open, counts.total)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConnectionCounts {
    /// Connections that it has open now.
    pub open: u64,
    /// Connections that it has accepted or claimed so far.
    pub total: u64,
    /// Connections that the primary has offered it so far; 0 where workers help themselves
    /// ([`Scheduling::Shared`]).
    pub offered: u64,
    /// Offers that it has claimed so far.
    pub claimed: u64,
    /// Offers that were taken back so far, because it left them unclaimed while others had nothing to do.
    pub revoked: u64,
    /// How often it was woken for a connection so far, where workers help themselves. One that another was faster
    /// to take counts as well, so this may be more than `total`.
    pub rings: u64,
}

impl ConnectionCounts {
    /// The sum of both. Numbers that are no counts end at the largest one.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            open: self.open.saturating_add(other.open),
            total: self.total.saturating_add(other.total),
            offered: self.offered.saturating_add(other.offered),
            claimed: self.claimed.saturating_add(other.claimed),
            revoked: self.revoked.saturating_add(other.revoked),
            rings: self.rings.saturating_add(other.rings),
        }
    }
}

/// All that is counted of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct WorkerCounts {
    pub(crate) connections: ConnectionCounts,
    /// In bytes, if it was measured yet.
    pub(crate) private_memory: Option<u64>,
}

/// How a listening socket of the cluster stands.
///
/// # Example
/// ```
/// fn is_behind(listener: &cluster_core::ListenerStatus) -> bool {
///     match (listener.queued, listener.backlog) {
///         (Some(queued), Some(backlog)) => queued > backlog / 2,
///         _ => false, // a unix socket does not tell
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListenerStatus {
    /// Where it listens: `127.0.0.1:3000`, `[::1]:3000`, `unix:/run/app.sock`.
    pub address: String,
    /// Who decides which worker gets its connections.
    pub scheduling: Scheduling,
    /// Connections that nobody has accepted yet. `None` of a unix socket: the kernel does not tell.
    pub queued: Option<u32>,
    /// As many as may wait there, after what the kernel has cut off (`net.core.somaxconn`). `None` as above.
    pub backlog: Option<u32>,
    /// Connections that were refused here so far, because no worker had room
    /// ([`Overload::Refuse`](crate::Overload::Refuse)).
    pub refused: u64,
}
