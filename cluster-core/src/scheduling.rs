//! Which worker gets a connection.
use serde::{Deserialize, Serialize};

/// Who decides which worker gets a connection.
///
/// | | how | when |
/// |---|---|---|
/// | [`Shared`](Self::Shared) | workers accept from one queue; idle ones take turns, busy ones take nothing | the default: fastest, and nobody is in between |
/// | [`RoundRobin`](Self::RoundRobin) | the primary accepts and offers to one worker after the other; Node's default | connections that live long and cost alike |
/// | [`LeastConnections`](Self::LeastConnections) | as above, to the worker with the fewest open connections | connections that live long and cost unlike: WebSockets, uploads |
///
/// # Example
/// ```
/// use cluster_core::{Cluster, Scheduling};
/// Cluster::builder()
///     .bind("http", "127.0.0.1:3000")
///     .bind("chat", "127.0.0.1:3001")
///     .listener_scheduling("chat", Scheduling::LeastConnections);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Scheduling {
    /// Workers accept from one queue. Nothing is handed over: the fastest way.
    #[default]
    Shared,
    /// The primary accepts, and offers connections to the workers in turn.
    RoundRobin,
    /// The primary accepts, and offers each connection to the worker that has the fewest.
    LeastConnections,
}
