//! What becomes of what is sent: the futures of `send` and `broadcast`.
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use tokio::sync::oneshot;

use crate::ipc::endpoint::Endpoint;
use crate::ipc::error::SendError;
use crate::ipc::frame::{Address, Kind};
use crate::ipc::message::Message;
use crate::ipc::notice::Receipt;
use crate::ipc::outbox::{Admitted, Awaits, Prepared};
use crate::ipc::prepare::{prepare, recycle};
use crate::ipc::waiters::Place;

/// Waits for room.
pub(crate) struct Waits {
    endpoint: Endpoint,
    /// Since the first poll.
    place: Option<Place>,
}

impl Drop for Waits {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.endpoint.outbox().leave(place);
        }
    }
}

/// The way of one frame out of this process.
pub(crate) enum Course {
    /// There was no room yet.
    Waiting {
        prepared: Prepared,
        awaits: Awaits,
        waits: Waits,
    },
    /// It has gone; what comes back is known by the correlation.
    Gone {
        endpoint: Endpoint,
        correlation: u64,
    },
    /// It has gone, one of many: a task that only sends gives all others a turn now and then.
    Breather,
    Failed(SendError),
    /// There is nothing more to wait for.
    Over,
}

impl Course {
    /// Sends at once where there is room: then the frame is on its way, awaited or not.
    pub(crate) fn begin(endpoint: &Endpoint, prepared: Result<Prepared, SendError>, awaits: Awaits) -> Self {
        let mut prepared = match prepared {
            Ok(prepared) => prepared,
            Err(err) => return Course::Failed(err),
        };
        match endpoint.admit(&mut prepared, awaits, None) {
            Ok(Admitted::Yes { correlation, crowded }) => {
                Self::gone(endpoint, prepared, correlation, crowded)
            }
            Ok(Admitted::No(awaits)) => {
                let waits = Waits { endpoint: endpoint.clone(), place: None };
                Course::Waiting { prepared, awaits, waits }
            }
            Err(err) => Course::Failed(err),
        }
    }

    fn gone(endpoint: &Endpoint, prepared: Prepared, correlation: u64, crowded: bool) -> Self {
        recycle(prepared);
        match (correlation, crowded) {
            (0, false) => Course::Over,
            (0, true) => Course::Breather,
            _ => Course::Gone { endpoint: endpoint.clone(), correlation },
        }
    }

    /// Resolves when the frame has gone.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        match std::mem::replace(self, Course::Over) {
            Course::Over => Poll::Ready(Ok(())),
            Course::Breather => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            gone @ Course::Gone { .. } => {
                *self = gone;
                Poll::Ready(Ok(()))
            }
            Course::Failed(err) => Poll::Ready(Err(err)),
            Course::Waiting { mut prepared, awaits, mut waits } => {
                let Waits { endpoint, place } = &mut waits;
                match endpoint.admit(&mut prepared, awaits, Some((cx.waker(), place)))? {
                    Admitted::Yes { correlation, crowded: _ } => {
                        *self = Self::gone(endpoint, prepared, correlation, false);
                        Poll::Ready(Ok(()))
                    }
                    Admitted::No(awaits) => {
                        *self = Course::Waiting { prepared, awaits, waits };
                        Poll::Pending
                    }
                }
            }
        }
    }

    /// What was waited for has come.
    pub(crate) fn end(&mut self) {
        if let Course::Gone { .. } = std::mem::replace(self, Course::Over) {}
    }

    /// Nobody waits any more for what comes back.
    fn forget(&mut self) {
        if let Course::Gone { endpoint, correlation } = self {
            endpoint.outbox().forget(*correlation);
        }
    }
}

/// A course whose reply is forgotten when nobody waits for it.
pub(crate) struct Awaited(pub(crate) Course);

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.forget();
    }
}

/// A message on its way; see [`Worker::send`](crate::Worker::send).
///
/// The message is encoded at the call, and leaves at the call where there is room. Awaiting it waits for room
/// (the receiver has taken enough of what was sent before) and tells of errors. Dropped before it has
/// resolved, the message may have gone or not.
///
/// `Ok` says that it is on its way, in order: it arrives unless the receiver ends before it has taken it, or this
/// process is killed in the midst of a burst (the first of a burst is out of its hands when `send` returns). Of
/// several receivers each hears it that has room for it; what the others miss is told as
/// [`Event::Undelivered`](crate::Event::Undelivered).
///
/// # Example
/// ```no_run
/// # async fn handler() -> Result<(), cluster_core::SendError> {
/// cluster_core::worker().send(&"hello".to_string()).await?;
/// # Ok(()) }
/// ```
#[must_use = "await it, to wait for room and to hear of errors"]
pub struct Sending(Course);

impl Sending {
    pub(crate) fn send<T: Message>(endpoint: &Endpoint, to: Address, message: &T) -> Self {
        Self(begin(endpoint, to, message))
    }

    /// Sends a frame that is prepared, or says why it could not be.
    pub(crate) fn of(endpoint: &Endpoint, prepared: Result<Prepared, SendError>) -> Self {
        Self(Course::begin(endpoint, prepared, Awaits::Nothing))
    }

    pub(crate) fn failed(err: SendError) -> Self {
        Self(Course::Failed(err))
    }
}

/// Sends a message if there is room now.
pub(crate) fn try_send<T: Message>(endpoint: &Endpoint, to: Address, message: &T) -> Result<(), SendError> {
    match begin(endpoint, to, message) {
        Course::Over | Course::Breather | Course::Gone { .. } => Ok(()),
        Course::Failed(err) => Err(err),
        Course::Waiting { .. } => Err(SendError::Full { to: to.to_string() }),
    }
}

fn begin<T: Message>(endpoint: &Endpoint, to: Address, message: &T) -> Course {
    // A message to several comes back as a receipt, which frees its window.
    let awaits = if to.is_one() { Awaits::Nothing } else { Awaits::Receipt(Box::new(|_| {})) };
    Course::begin(endpoint, prepare_message(endpoint, to, message), awaits)
}

fn prepare_message<T: Message>(endpoint: &Endpoint, to: Address, message: &T) -> Result<Prepared, SendError> {
    prepare(Kind::Message, endpoint.me().into(), to, message, &[])
}

impl Future for Sending {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx)
    }
}

/// Whom a broadcast has reached.
///
/// # Example
/// ```no_run
/// # async fn handler() -> Result<(), cluster_core::SendError> {
/// let delivery = cluster_core::worker().broadcast(&"hello".to_string()).await?;
/// println!("{} workers will hear it, {} have no room", delivery.reached, delivery.missed);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// Workers that it is on its way to.
    pub reached: usize,
    /// Workers that have not taken enough of earlier broadcasts to have room for this one: they will not get
    /// it, and [`Event::Undelivered`](crate::Event::Undelivered) tells so. One that is stopped, or whose handler
    /// hangs, keeps nobody else waiting.
    pub missed: usize,
}

/// A broadcast on its way; see [`Worker::broadcast`](crate::Worker::broadcast). It is encoded once, at the
/// call, and leaves at the call where there is room; it resolves when the primary has passed it on.
///
/// # Example
/// ```no_run
/// # async fn handler() -> Result<(), cluster_core::SendError> {
/// let delivery = cluster_core::worker().broadcast(&"hello".to_string()).await?;
/// # Ok(()) }
/// ```
#[must_use = "await it, to wait for room and to hear of errors"]
pub struct Broadcasting {
    course: Awaited,
    receipt: oneshot::Receiver<Receipt>,
    to: Address,
}

impl Broadcasting {
    pub(crate) fn send<T: Message>(endpoint: &Endpoint, to: Address, message: &T) -> Self {
        let (tell, receipt) = oneshot::channel();
        let awaits = Awaits::Receipt(Box::new(move |receipt| {
            // Nobody waits for it where it was dropped.
            let _ = tell.send(receipt);
        }));
        let course = Course::begin(endpoint, prepare_message(endpoint, to, message), awaits);
        Self { course: Awaited(course), receipt, to }
    }

    pub(crate) fn failed(err: SendError) -> Self {
        let (_, receipt) = oneshot::channel();
        Self { course: Awaited(Course::Failed(err)), receipt, to: Address::Others }
    }
}

impl Future for Broadcasting {
    type Output = Result<Delivery, SendError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        std::task::ready!(this.course.0.poll(cx))?;
        let receipt = std::task::ready!(this.receipt.poll_unpin(cx));
        this.course.0.end();
        Poll::Ready(match receipt {
            Ok(Receipt { reached, missed }) => {
                Ok(Delivery { reached: reached as usize, missed: missed as usize })
            }
            Err(_) => Err(SendError::PeerGone { to: this.to.to_string() }),
        })
    }
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sending")
    }
}

impl std::fmt::Debug for Broadcasting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Broadcasting")
    }
}
