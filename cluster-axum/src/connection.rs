//! Serves one connection: hyper underneath, the application's service on top.
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Version, header};
use axum::response::Response;
use cluster_core::Worker;
use cluster_core::adapter::{InFlight, OpenRequest};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tower::{Service, ServiceExt};

use crate::drain::{Drain, Phase};
use crate::stream::Counted;

/// How long a client may take to send the head of a request.
pub(crate) const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// What all connections of a worker share.
#[derive(Debug)]
pub(crate) struct Protocol {
    builder: auto::Builder<TokioExecutor>,
    header_read_timeout: Duration,
    pub(crate) drain: Drain,
    /// Who counts its requests; None in a test of this file.
    worker: Option<Worker>,
}

impl Protocol {
    pub(crate) fn new(header_read_timeout: Duration, worker: Option<Worker>) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(header_read_timeout);
        // WebSockets over HTTP/2 (RFC 8441), as axum::serve has them.
        builder.http2().timer(TokioTimer::new()).enable_connect_protocol();
        Self { builder, header_read_timeout, drain: Drain::default(), worker }
    }

    /// Serves a connection until its client, its protocol or a drain ends it. `'static`, so that a request
    /// costs no reference count.
    pub(crate) async fn serve<H, S>(&'static self, stream: Counted<H>, service: S)
    where
        H: Send + Unpin + 'static,
        S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
    {
        let traffic = &stream.traffic().clone();
        let asked = &AtomicBool::new(false);
        let service = service_fn(move |request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            // Streams of HTTP/2 are the protocol's to count.
            let open = (request.version() <= Version::HTTP_11).then(|| traffic.begin());
            respond(self, service.clone(), request, open)
        });
        let mut connection = pin!(self.builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        // hyper-util waits for the first bytes without a limit, and only then does hyper's own begin.
        let mut first_request = pin!(tokio::time::sleep(self.header_read_timeout));
        let mut may_close = pin!(self.drain.may_close(traffic));
        let mut heeded = None;
        let mut told_to_end = false;
        poll_fn(|cx| {
            loop {
                // BEFORE the drain is heeded: what has come is read, and answered if it can be. An error is the
                // client's doing, or names it: nothing that this side could mend.
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                let phase = self.drain.phase();
                if told_to_end {
                    break;
                }
                if phase == Phase::Serving || !traffic.is_http2() {
                    if heeded == Some(phase) && phase != Phase::Closing {
                        break;
                    }
                    heeded = Some(phase);
                    match may_close.as_mut().poll(cx) {
                        // It began a request and did not go on.
                        Poll::Ready(()) if !traffic.is_quiet() => return Poll::Ready(()),
                        Poll::Ready(()) => {}
                        Poll::Pending if self.drain.phase() == phase => break,
                        Poll::Pending => continue,
                    }
                }
                // HTTP/2: GOAWAY, and what is open is finished. HTTP/1: it is idle, and closed.
                told_to_end = true;
                connection.as_mut().graceful_shutdown();
            }
            if asked.load(Ordering::Relaxed) { Poll::Pending } else { first_request.as_mut().poll(cx) }
        })
        .await;
    }
}

/// Answers one request.
async fn respond<S>(
    protocol: &'static Protocol,
    service: S,
    request: Request<Incoming>,
    open: Option<OpenRequest>,
) -> Result<hyper::Response<Answer>, Infallible>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let version = request.version();
    let in_flight = protocol.worker.as_ref().map(InFlight::begin);
    // A body of our own kind costs an allocation, an empty one does not.
    let request = request.map(|body| if body.is_end_stream() { Body::empty() } else { Body::new(body) });
    let mut response = service.oneshot(request).await?;
    if let Some(request) = &in_flight {
        request.worker().count_request();
    }
    if protocol.drain.says_close() {
        say_close(&mut response, version);
    }
    Ok(response.map(|body| Answer { body, _open: open, _in_flight: in_flight }))
}

/// An answer's body, on its way to the client for as long as it is there.
struct Answer {
    body: Body,
    /// None in HTTP/2.
    _open: Option<OpenRequest>,
    /// None in a test of this file.
    _in_flight: Option<InFlight<&'static Worker>>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Tells the client not to reuse the connection. HTTP/2 has no such header (RFC 9113, 8.2.2), and on a switch
/// of protocols it says that there is one.
#[cold]
fn say_close(response: &mut Response, version: Version) {
    if version <= Version::HTTP_11 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

#[cfg(test)]
mod tests;
