//! Streams that end when their worker is to leave.
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use cluster_core::{Draining, try_worker};
use futures::Stream;
use pin_project_lite::pin_project;

/// A stream that ends when this worker [drains](crate::Worker::draining), or with the one inside. For what would otherwise
/// go on for ever, and hold its worker until the drain's deadline: server-sent events, what comes from a WebSocket.
///
/// What the stream has ready when the drain begins is not taken any more. Outside a worker (in a test of a handler)
/// it is the stream as it was; [`testing::worker()`](cluster_core::testing) makes a worker for tests, and
/// `testing::drain()` drains it.
///
/// # Example
/// ```
/// use std::convert::Infallible;
/// use std::time::Duration;
///
/// use axum::response::sse::{Event, Sse};
/// use cluster_axum::until_draining;
/// use futures::{Stream, StreamExt, stream};
///
/// async fn clock() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
///     let ticks = stream::repeat(()).then(|()| async {
///         tokio::time::sleep(Duration::from_secs(1)).await;
///         Ok(Event::default().data("tick"))
///     });
///     Sse::new(until_draining(ticks))
/// }
/// ```
pub fn until_draining<S: Stream>(stream: S) -> UntilDraining<S> {
    UntilDraining { stream, draining: try_worker().map(|worker| worker.draining()), is_cut: false }
}

pin_project! {
    /// See [`until_draining`].
    ///
    /// # Example
    /// ```
    /// use cluster_axum::{UntilDraining, until_draining};
    /// use futures::stream;
    /// let numbers: UntilDraining<_> = until_draining(stream::iter(0..3));
    /// assert!(!numbers.is_cut());
    /// ```
    #[must_use = "streams do nothing unless polled"]
    pub struct UntilDraining<S> {
        #[pin]
        stream: S,
        // None outside a worker, and after it has resolved.
        draining: Option<Draining>,
        is_cut: bool,
    }
}

impl<S> UntilDraining<S> {
    /// Whether the drain has ended it, and not the stream itself.
    ///
    /// # Example
    /// ```
    /// use futures::{StreamExt, stream};
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let mut numbers = cluster_axum::until_draining(stream::iter(0..3));
    /// while numbers.next().await.is_some() {}
    /// assert!(!numbers.is_cut()); // it has come to its own end
    /// # });
    /// ```
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The stream inside: what the drain left in it can still be read.
    ///
    /// # Example
    /// ```
    /// use futures::{StreamExt, stream};
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let numbers = cluster_axum::until_draining(stream::iter(0..3));
    /// assert_eq!(numbers.into_inner().next().await, Some(0));
    /// # });
    /// ```
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: Stream> Stream for UntilDraining<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        if let Some(draining) = this.draining
            && Pin::new(draining).poll(cx).is_ready()
        {
            *this.draining = None;
            *this.is_cut = true;
        }
        if *this.is_cut { Poll::Ready(None) } else { this.stream.poll_next(cx) }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.stream.size_hint().1)
    }
}

impl<S> fmt::Debug for UntilDraining<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntilDraining").field("is_cut", &self.is_cut).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use cluster_core::testing;
    use futures::{FutureExt, StreamExt, stream};

    use super::*;

    #[tokio::test]
    async fn a_stream_without_an_end_ends_with_the_worker() {
        testing::worker();
        let mut words = until_draining(stream::iter(["one"]).chain(stream::pending()));
        assert_eq!(words.next().await, Some("one"));
        assert_eq!(words.next().now_or_never(), None);
        testing::drain();
        assert_eq!(words.next().await, None);
        assert!(words.is_cut());
        assert_eq!(words.next().await, None, "it may be asked again");
    }

    #[tokio::test]
    async fn who_waits_for_it_is_woken_by_the_drain() {
        testing::worker();
        let mut silence = until_draining(stream::pending::<()>());
        let (ended, ()) = tokio::join!(silence.next(), async {
            tokio::task::yield_now().await;
            testing::drain();
        });
        assert_eq!(ended, None);
    }

    #[tokio::test]
    async fn what_is_left_can_be_read_after_the_drain() {
        testing::worker();
        testing::drain();
        let mut words = until_draining(stream::iter(["left"]));
        assert_eq!(words.next().await, None);
        assert_eq!(words.into_inner().next().await, Some("left"));
    }

    #[tokio::test]
    async fn its_own_end_is_its_end_and_outside_a_worker_it_is_what_it_was() {
        let words = until_draining(stream::iter(["one", "two"]));
        assert_eq!(words.collect::<Vec<_>>().await, ["one", "two"]);
    }
}
