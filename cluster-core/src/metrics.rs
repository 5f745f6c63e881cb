//! What the whole cluster shows of itself to whoever collects metrics. The primary looks when a worker asks it to
//! (`supervise/driver/survey.rs`), the worker writes it down (`metrics/exposition.rs`).
pub(crate) mod exposition;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::counter::Counters;
use crate::event::{ConnectionCounts, ListenerStatus};
use crate::ipc::endpoint::Endpoint;

/// How long the primary may take. It answers at once, unless it is stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the cluster stands, and what it has counted since it began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    pub(crate) whole: Whole,
    pub(crate) listeners: Vec<ListenerStatus>,
    pub(crate) slots: Vec<SlotSurvey>,
}

/// What is of no slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whole {
    /// When the primary began, in milliseconds since 1970.
    pub(crate) started: u64,
    pub(crate) generation: u64,
    pub(crate) wanted: u16,
    pub(crate) stopping: bool,
    pub(crate) reloads: u64,
    pub(crate) failed_reloads: u64,
    pub(crate) fork_servers_lost: u64,
    pub(crate) director_exits: u64,
    /// By [`EXITS`].
    pub(crate) exits: [u64; EXITS.len()],
}

/// What may be the reason of an exit, as metrics call it.
pub(crate) const EXITS: [&str; 10] = [
    "finished",
    "stopped",
    "recycled",
    "boot_failed",
    "crashed",
    "hung",
    "boot_timeout",
    "drain_timeout",
    "superseded",
    "garbled",
];

/// What is of one slot: its workers together, those that are gone included where something was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotSurvey {
    pub(crate) slot: u16,
    /// How many of its workers start, serve and drain.
    pub(crate) starting: u32,
    pub(crate) serving: u32,
    pub(crate) draining: u32,
    /// How many serve and take no connection, because they have their fill.
    pub(crate) full: u32,
    /// Workers after the first.
    pub(crate) restarts: u64,
    /// Of its newest worker, if it has one.
    pub(crate) newest: Option<Newest>,
    /// `open` is that of the workers that there are.
    pub(crate) connections: ConnectionCounts,
    pub(crate) requests: u64,
    pub(crate) in_flight: u64,
    /// The largest, in nanoseconds.
    pub(crate) loop_delay: Option<u64>,
    /// In bytes.
    pub(crate) private_memory: Option<u64>,
}

/// The newest worker of a slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Newest {
    pub(crate) generation: u64,
    /// When it was born, in milliseconds since 1970.
    pub(crate) started: u64,
}

/// Why there are no metrics just now.
///
/// # Example
/// ```
/// # use cluster_core::MetricsError;
/// assert!(MetricsError::Gone.to_string().contains("primary"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// This worker's primary is gone, or it was never connected to one: a test's fake.
    #[error("there is no primary that could tell how the cluster stands")]
    Gone,
    /// The primary did not answer: it is stopped, or has no processor.
    #[error("the primary did not tell within {after:?} how the cluster stands")]
    TimedOut {
        /// How long it had.
        after: Duration,
    },
}

/// Metrics that were asked for: resolves to the text. See [`Worker::metrics`](crate::Worker::metrics).
///
/// # Example
/// ```no_run
/// # async fn handler() -> Result<String, cluster_core::MetricsError> {
/// let metrics: cluster_core::Metrics = cluster_core::worker().metrics();
/// metrics.await
/// # }
/// ```
#[must_use = "await it: that is the text"]
pub struct Metrics {
    text: Pin<Box<dyn Future<Output = Result<String, MetricsError>> + Send>>,
}

impl Metrics {
    /// Asks at once.
    pub(crate) fn ask(endpoint: &Endpoint, counters: Counters) -> Self {
        let survey = endpoint.survey();
        Self {
            text: Box::pin(async move {
                let told = tokio::time::timeout(PATIENCE, survey).await;
                let survey = told.map_err(|_| MetricsError::TimedOut { after: PATIENCE })?;
                let survey = survey.ok_or(MetricsError::Gone)?;
                Ok(exposition::text(&survey, &counters.all()))
            }),
        }
    }
}

impl Future for Metrics {
    type Output = Result<String, MetricsError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.text.as_mut().poll(cx)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
