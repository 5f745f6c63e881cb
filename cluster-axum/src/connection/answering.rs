//! A request that the application has, until its answer begins.
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use cluster_core::Worker;
use cluster_core::adapter::{InFlight, OpenRequest};
use futures::future::Either;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::util::Oneshot;
use tower::{Service, ServiceExt as _};

use super::answer::Answer;
use super::{BodyTimeout, Protocol};

/// What is held while a request is open: for the drain, and for the count.
type Held = (OpenRequest, Option<InFlight<&'static Worker>>);

/// An answer to come: from a service that has been called, or is called when this is polled and it is ready.
type Answered<S> = Either<<S as Service<Request>>::Future, Pin<Box<Oneshot<S, Request>>>>;

pin_project! {
    /// Written by hand: an async block would have each request moved from one of its states to the next.
    pub(super) struct Answering<S: Service<Request>> {
        #[pin]
        answered: Answered<S>,
        protocol: &'static Protocol,
        version: Version,
        is_connect: bool,
        timeout: BodyTimeout,
        held: Option<Held>,
    }
}

impl<S> Answering<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    /// Asks the application.
    pub(super) fn new(
        protocol: &'static Protocol,
        mut service: S,
        request: Request<Incoming>,
        open: OpenRequest,
    ) -> Self {
        let version = request.version();
        let is_connect = request.method() == Method::CONNECT;
        let held = Some((open, protocol.worker.as_ref().map(InFlight::begin)));
        let (request, timeout) = protocol.receive(request);
        // In HTTP/2 that is for the stream's own task: what the call of one panics with, or waits for, concerns no other. In
        // HTTP/1 a service that is ready, as axum's own always are, is called at once.
        let is_ready = version <= Version::HTTP_11
            && service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready();
        let answered = if is_ready {
            Either::Left(service.call(request))
        } else {
            Either::Right(Box::pin(service.oneshot(request)))
        };
        Self { answered, protocol, version, is_connect, timeout, held }
    }
}

impl<S> Future for Answering<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Output = Result<hyper::Response<Answer>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.answered.poll(cx))?;
        let version = *this.version;
        if this.timeout.has_passed() {
            response = too_late(response, version);
        }
        let (open, in_flight) = this.held.take().expect("a future that has resolved is not polled again");
        if let Some(request) = &in_flight {
            request.worker().count_request();
        }
        if this.protocol.drain.says_close() {
            say_close(&mut response, version);
        }
        // A WebSocket over HTTP/2: hyper lets the answer go at once.
        if *this.is_connect && version > Version::HTTP_11 && response.status().is_success() {
            open.never_ends();
        }
        Poll::Ready(Ok(response.map(|body| Answer::new(body, version > Version::HTTP_11, open, in_flight))))
    }
}

/// What is answered where the body did not come in time. Handlers and extractors blame the request, or themselves; a
/// handler that has something good to say all the same says it.
#[cold]
fn too_late(response: Response, version: Version) -> Response {
    if !response.status().is_client_error() && !response.status().is_server_error() {
        return response;
    }
    let mut response = StatusCode::REQUEST_TIMEOUT.into_response();
    say_close(&mut response, version);
    response
}

/// Tells the client not to reuse the connection. HTTP/2 has no such header (RFC 9113, 8.2.2), and on a switch
/// of protocols it says that there is one.
#[cold]
fn say_close(response: &mut Response, version: Version) {
    if version <= Version::HTTP_11 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}
