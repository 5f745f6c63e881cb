//! What happens, as streams.
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{Stream, StreamExt};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use crate::event::Event;

/// Events that a stream may be behind; further ones are counted for it.
const MOST_BEHIND: usize = 1024;

/// What happens in the cluster, as a stream; see [`ClusterHandle::events`](crate::ClusterHandle::events).
///
/// # Example
/// ```no_run
/// use cluster_core::Event;
/// use futures::StreamExt;
/// # async fn program(cluster: cluster_core::ClusterHandle) {
/// let mut exits = cluster.events().filter(|event| std::future::ready(matches!(event, Event::WorkerExited(_))));
/// let first = exits.next().await;
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a stream does nothing unless polled"]
pub struct Events {
    stream: BroadcastStream<Event>,
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        Poll::Ready(match ready!(self.stream.poll_next_unpin(cx)) {
            Some(Ok(event)) => Some(event),
            Some(Err(BroadcastStreamRecvError::Lagged(count))) => Some(Event::EventsLost { count }),
            None => None,
        })
    }
}

/// Fills all streams.
pub(super) struct Teller(broadcast::Sender<Event>);

impl Teller {
    pub(super) fn new() -> Self {
        Self(broadcast::channel(MOST_BEHIND).0)
    }

    pub(super) fn tell(&self, event: &Event) {
        // Nobody may be listening.
        let _ = self.0.send(event.clone());
    }

    /// Of what is told from now on.
    pub(super) fn stream(&self) -> Events {
        Events { stream: BroadcastStream::new(self.0.subscribe()) }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn take(stream: &mut Events) -> Option<Event> {
        stream.next().now_or_never().flatten()
    }

    #[test]
    fn a_stream_tells_what_happens_from_now_on_and_how_much_it_has_missed() {
        const MISSED: u64 = 476;
        let teller = Teller::new();
        teller.tell(&Event::StoppingNow);
        let mut stream = teller.stream();
        teller.tell(&Event::OomGroup);
        assert!(matches!(take(&mut stream), Some(Event::OomGroup)));
        assert!(take(&mut stream).is_none(), "that was all");
        (0..MISSED).for_each(|_| teller.tell(&Event::OomGroup));
        (0..MOST_BEHIND).for_each(|_| teller.tell(&Event::Stopped));
        let lost = take(&mut stream);
        assert!(matches!(lost, Some(Event::EventsLost { count: MISSED })), "{lost:?}");
        let rest: Vec<_> = std::iter::from_fn(|| take(&mut stream)).collect();
        assert_eq!(rest.len(), MOST_BEHIND);
        assert!(rest.iter().all(|event| matches!(event, Event::Stopped)), "in their order");
    }
}
