//! An answer's body on its way to its client.
use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use cluster_core::Worker;
use cluster_core::adapter::{InFlight, OpenRequest};
use hyper::body::{Frame, SizeHint};

/// So much of an answer is given to HTTP/2 at a time. What it has been given it keeps until the client takes it, and calls
/// the answer finished; so it must not be much.
const PIECE: usize = 64 * 1024;

/// Who was last waited for, by an answer that was asked for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The application: it has nothing to send yet.
    Application,
    /// The client: it has been given something, and is asked for more when that is taken.
    Client,
}

thread_local! {
    /// What the answer that was polled last did.
    static STEP: Cell<Option<Step>> = const { Cell::new(None) };
}

/// Runs a poll, and tells what the answer in it did, if it was asked.
pub(crate) fn watch<T>(poll: impl FnOnce() -> T) -> (T, Option<Step>) {
    STEP.set(None);
    (poll(), STEP.take())
}

/// An answer's body. The request is open for as long as it is there.
pub(crate) struct Answer {
    body: Body,
    /// What HTTP/2 has not been given yet; always empty in HTTP/1.
    rest: Bytes,
    is_http2: bool,
    _open: OpenRequest,
    /// None in a test of `connection.rs`.
    _in_flight: Option<InFlight<&'static Worker>>,
}

impl Answer {
    pub(crate) fn new(
        body: Body,
        is_http2: bool,
        open: OpenRequest,
        in_flight: Option<InFlight<&'static Worker>>,
    ) -> Self {
        Self { body, rest: Bytes::new(), is_http2, _open: open, _in_flight: in_flight }
    }

    /// The next piece of what is too much at once.
    fn piece(&mut self, mut data: Bytes) -> Frame<Bytes> {
        if data.len() > PIECE {
            self.rest = data.split_off(PIECE);
        }
        Frame::data(data)
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.is_http2 {
            return Pin::new(&mut self.body).poll_frame(cx);
        }
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            STEP.set(Some(Step::Client));
            return Poll::Ready(Some(Ok(self.piece(rest))));
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        STEP.set(Some(if polled.is_pending() { Step::Application } else { Step::Client }));
        polled.map_ok(|frame| match frame.into_data() {
            Ok(data) => self.piece(data),
            Err(trailers) => trailers,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if rest > 0 {
            let upper = hint.upper().map(|upper| upper + rest);
            hint.set_lower(hint.lower() + rest);
            upper.into_iter().for_each(|upper| hint.set_upper(upper));
        }
        hint
    }
}
