//! Why the primary did not do what the director asked for.
use serde::{Deserialize, Serialize};

use crate::id::Slot;

/// Why the cluster did not do what it was asked for.
///
/// # Example
/// ```
/// use cluster_core::CommandError;
/// let err = CommandError::TooManyWorkers { asked: 100_000, limit: 60 };
/// assert!(err.to_string().contains("ask for at most 60"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CommandError {
    /// Scaled to 0.
    #[error("0 workers cannot serve: ask for at least 1, or stop the cluster")]
    NoWorkers,
    /// Scaled to more than the primary has slots or descriptors for.
    #[error(
        "{asked} workers are more than this primary can have: ask for at most {limit}, or raise its limit of descriptors (ulimit -n, LimitNOFILE=) and start it again"
    )]
    TooManyWorkers {
        /// How many were asked for.
        asked: u64,
        /// How many there can be.
        limit: u64,
    },
    /// The slot is none, or is no more.
    #[error("there is no slot {slot}: there are {slots}, from 0")]
    NoSuchSlot {
        /// The slot that was asked for.
        slot: Slot,
        /// How many there are.
        slots: u16,
    },
    /// Another `scale` came before this one was done; that one counts.
    #[error("a later command has asked for another number of workers, which counts: wait for that one")]
    Superseded,
    /// The cluster stops.
    #[error("the cluster is stopping: start it again for anything else")]
    Stopping,
    /// The new worker ended before it was ready.
    #[error(
        "the new worker never served: {why}; look into that, the cluster goes on with its restarts meanwhile"
    )]
    SuccessorFailed {
        /// How it ended, and what happens next.
        why: String,
    },
    /// The primary, or the process that asked, is gone before the answer came: whether it was done is unknown.
    #[error("the primary is gone, or is letting this process go: nobody is left to ask")]
    Gone,
    /// So many commands wait for what they asked for already; this one changed nothing. A `stop` is refused
    /// only where that many others wait, which means that the cluster stops.
    #[error("{limit} commands wait already for what they have asked for: wait for some of them first")]
    TooMany {
        /// How many may wait.
        limit: u64,
    },
}

/// Why a reload has changed nothing.
///
/// # Example
/// ```no_run
/// # async fn program(cluster: cluster_core::ClusterHandle) {
/// use cluster_core::ReloadError;
/// if let Err(ReloadError::Failed { why, last_stderr, .. }) = cluster.reload().await {
///     eprintln!("the deploy did not work: {why}\n{}", last_stderr.join("\n"));
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ReloadError {
    /// The new program did not come up.
    #[error("{why}; the old generation serves on: mend the program, then reload again")]
    #[non_exhaustive]
    Failed {
        /// What did not work: the file, its fork server, or its first worker.
        why: String,
        /// The last lines that it wrote to standard error.
        last_stderr: Vec<String>,
    },
    /// The cluster stops.
    #[error("the cluster is stopping: start it again, which takes the new program")]
    Stopping,
    /// So many commands wait already.
    #[error("{limit} commands wait already for what they have asked for: wait for some of them first")]
    TooMany {
        /// How many may wait.
        limit: u64,
    },
    /// The primary, or the process that asked, is gone before the answer came: whether it was done is unknown.
    #[error("the primary is gone, or is letting this process go: nobody is left to ask")]
    Gone,
}
