//! That log files shall be opened anew, as a worker hears it.
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

/// Says, each time, that log files were moved away and shall be opened anew; see
/// [`Worker::reopen_logs`](crate::Worker::reopen_logs). It ends with the worker.
///
/// # Example
/// ```no_run
/// use futures::StreamExt;
///
/// # async fn program(mut moved: cluster_core::ReopenLogs) {
/// while moved.next().await.is_some() {
///     // open the file anew
/// }
/// # }
/// ```
#[must_use = "a stream does nothing unless polled"]
#[derive(Debug)]
pub struct ReopenLogs {
    changes: WatchStream<u64>,
}

impl ReopenLogs {
    pub(crate) fn of(count: watch::Receiver<u64>) -> Self {
        Self { changes: WatchStream::from_changes(count) }
    }
}

impl Stream for ReopenLogs {
    type Item = ();

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<()>> {
        Pin::new(&mut self.changes).poll_next(cx).map(|next| next.map(drop))
    }
}
