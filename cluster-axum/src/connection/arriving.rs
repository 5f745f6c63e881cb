//! A request's body on its way to the application, and how long its client may take.
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use hyper::body::{Frame, Incoming, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::connection::patience::PROGRESS;

/// Whether a request's body is waited for without end; an extractor.
///
/// A body that makes no progress for [`Serve::body_timeout`](crate::Serve::body_timeout) is an error for its handler,
/// and the answer is 408. A handler whose clients may be silent while they send (a stream of events, gRPC) lifts that
/// for its request.
///
/// # Example
/// ```
/// use axum::body::Body;
/// use cluster_axum::BodyTimeout;
/// use futures::StreamExt;
///
/// async fn events(timeout: BodyTimeout, body: Body) {
///     timeout.lift();
///     let mut events = body.into_data_stream();
///     while let Some(Ok(event)) = events.next().await {
///         println!("{} bytes", event.len());
///     }
/// }
/// ```
#[derive(Debug, Clone, Default)]
pub struct BodyTimeout {
    /// None where the request has no body, or was not served by this crate.
    state: Option<Arc<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_lifted: AtomicBool,
    has_passed: AtomicBool,
}

impl BodyTimeout {
    /// From now on this request's body is waited for without end. Its connection is still closed when the client is
    /// gone.
    ///
    /// # Example
    /// ```
    /// # fn f(timeout: cluster_axum::BodyTimeout) {
    /// timeout.lift();
    /// # }
    /// ```
    pub fn lift(&self) {
        if let Some(state) = &self.state {
            state.is_lifted.store(true, Relaxed);
        }
    }

    /// Whether there is a body that is waited for.
    pub(crate) fn is_set(&self) -> bool {
        self.state.is_some()
    }

    /// Whether the body has made no progress for too long.
    pub(crate) fn has_passed(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.has_passed.load(Relaxed))
    }
}

impl<S: Sync> FromRequestParts<S> for BodyTimeout {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// Time that a body has made its handler wait, since it last made progress.
#[derive(Debug)]
struct Wait {
    limit: Duration,
    /// Before the present wait.
    so_far: Duration,
    /// The present wait's begin.
    since: Option<Instant>,
    /// Bytes that have come.
    came: usize,
}

impl Wait {
    fn new(limit: Duration) -> Self {
        Self { limit, so_far: Duration::ZERO, since: None, came: 0 }
    }

    /// Somebody waits; until when?
    fn deadline(&mut self, now: Instant) -> Instant {
        *self.since.get_or_insert(now) + (self.limit - self.so_far)
    }

    /// Bytes have come. What the application takes its time for is not held against the client.
    fn came(&mut self, bytes: usize, now: impl FnOnce() -> Instant) {
        self.came += bytes;
        if self.came >= PROGRESS {
            (self.came, self.so_far, self.since) = (0, Duration::ZERO, None);
        } else if let Some(since) = self.since.take() {
            self.so_far = (self.so_far + (now() - since)).min(self.limit);
        }
    }
}

pin_project! {
    /// A body that ends with an error when its client is too slow.
    pub(crate) struct Arriving {
        // None after the error: what has come and was not read is let go.
        body: Option<Incoming>,
        wait: Wait,
        timeout: BodyTimeout,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl Arriving {
    pub(crate) fn new(body: Incoming, limit: Duration) -> Self {
        let timeout = BodyTimeout { state: Some(Arc::default()) };
        Self { body: Some(body), wait: Wait::new(limit), timeout, timer: None }
    }

    /// What its handler may have it do.
    pub(crate) fn timeout(&self) -> &BodyTimeout {
        &self.timeout
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut this = self.project();
        let Some(body) = this.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            let bytes = match &frame {
                Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) | None => 0,
            };
            this.wait.came(bytes, Instant::now);
            return Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)));
        }
        let state = this.timeout.state.as_ref().expect("`new` has made it");
        if state.is_lifted.load(Relaxed) {
            return Poll::Pending;
        }
        let deadline = this.wait.deadline(Instant::now());
        match this.timer.as_mut().as_pin_mut() {
            Some(timer) if timer.deadline() == deadline => {}
            Some(timer) => timer.reset(deadline),
            None => this.timer.set(Some(sleep_until(deadline))),
        }
        let timer = this.timer.as_pin_mut().expect("it is set");
        timer.poll(cx).map(|()| {
            state.has_passed.store(true, Relaxed);
            *this.body = None;
            Some(Err(axum::Error::new(TooSlow)))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

/// Why a body ends.
#[derive(Debug)]
struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client did not go on sending the body of its request in time")
    }
}

impl std::error::Error for TooSlow {}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_trickle_adds_up_and_progress_clears_it() {
        let mut now = Instant::now();
        let mut wait = Wait::new(LIMIT);
        for second in 0..20 {
            assert_eq!(wait.deadline(now), now + (LIMIT - second * SECOND));
            now += SECOND;
            wait.came(1, || now);
        }
        assert_eq!(wait.deadline(now), now + 10 * SECOND);
        wait.came(PROGRESS, || now + SECOND);
        assert_eq!(wait.deadline(now), now + LIMIT);
    }

    #[test]
    fn time_in_which_nobody_reads_is_not_the_clients() {
        let mut now = Instant::now();
        let mut wait = Wait::new(LIMIT);
        wait.deadline(now);
        now += 5 * SECOND;
        wait.came(10, || now);
        now += 100 * SECOND;
        assert_eq!(wait.deadline(now), now + 25 * SECOND);
        // It is asked once more, by whoever else was woken.
        assert_eq!(wait.deadline(now + SECOND), now + 25 * SECOND);
    }
}
