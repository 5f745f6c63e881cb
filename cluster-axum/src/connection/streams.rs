//! Runs the streams of HTTP/2, and ends those whose client takes nothing.
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

use crate::connection::answer::{self, Step};

/// What hyper has its tasks run by: the type parameter of [`HttpBuilder`](crate::HttpBuilder).
///
/// # Example
/// ```
/// use cluster_axum::{Executor, HttpBuilder};
/// use hyper_util::server::conn::auto;
///
/// fn the_same(builder: auto::Builder<Executor>) -> HttpBuilder {
///     builder
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Executor {
    limit: Option<Duration>,
}

impl Executor {
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        Self { limit }
    }
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        match self.limit {
            Some(limit) => drop(tokio::spawn(Taken { stream, limit, last: Step::Application, timer: None })),
            None => drop(tokio::spawn(stream)),
        }
    }
}

pin_project! {
    /// A stream for as long as its client takes what it is given. Dropped, it is reset (CANCEL); nobody else can do that.
    struct Taken<F> {
        #[pin]
        stream: F,
        limit: Duration,
        last: Step,
        // While the client is waited for.
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future> Future for Taken<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let (polled, step) = answer::watch(|| this.stream.poll(cx));
        if polled.is_ready() {
            return Poll::Ready(());
        }
        if let Some(step) = step {
            // It took what there was: the wait is a new one.
            *this.timer = None;
            *this.last = step;
        }
        match this.last {
            Step::Application => Poll::Pending,
            Step::Client => {
                let limit = *this.limit;
                this.timer.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx)
            }
        }
    }
}
