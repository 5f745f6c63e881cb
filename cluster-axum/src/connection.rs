//! Serves one connection: hyper underneath, the application's service on top.
mod alarm;
mod answer;
mod answering;
mod arriving;
mod course;
mod lingering;
mod patience;
mod patient;
mod streams;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::Version;
use axum::response::Response;
use cluster_core::Worker;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tower::Service;

use crate::connection::answering::Answering;
use crate::connection::arriving::Arriving;
use crate::connection::course::{Course, Next};
use crate::connection::lingering::{Close, Lingering};
use crate::connection::patient::Patient;
use crate::drain::Drain;
use crate::settings::{HttpBuilder, Settings};
use crate::stream::Counted;

pub use crate::connection::arriving::BodyTimeout;
pub(crate) use crate::connection::patience::Timeouts;
pub use crate::connection::streams::Executor;

/// What all connections of a worker share.
#[derive(Debug)]
pub(crate) struct Protocol {
    builder: HttpBuilder,
    timeouts: Timeouts,
    /// Whether small answers leave at once.
    pub(crate) tcp_nodelay: bool,
    pub(crate) drain: Drain,
    /// Who counts its requests; None in a test of this file.
    worker: Option<Worker>,
}

impl Protocol {
    pub(crate) fn new(settings: Settings, worker: Option<Worker>) -> Self {
        let (timeouts, tcp_nodelay) = (settings.timeouts, settings.tcp_nodelay);
        Self { builder: settings.builder(), timeouts, tcp_nodelay, drain: Drain::default(), worker }
    }

    /// Serves a connection until its client, its protocol, a deadline or a drain ends it. `'static`, so that a request
    /// costs no reference count.
    pub(crate) async fn serve<H, S>(&'static self, stream: Counted<H>, service: S)
    where
        H: Send + Unpin + 'static,
        S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
    {
        let traffic = &stream.traffic().clone();
        let requests = &AtomicU32::new(0);
        let stream = Patient::new(stream, self.timeouts.write);
        let mut course = Course::new(&self.drain, self.timeouts, traffic, stream.waits().clone());
        let stream = Lingering::new(stream);
        let closing = &stream.closing().clone();
        let service = service_fn(move |request: Request<Incoming>| {
            requests.fetch_add(1, Ordering::Relaxed);
            let may_send = request.version() > Version::HTTP_11 || !request.body().is_end_stream();
            closing.set(if may_send { Close::Wait } else { Close::LookFirst });
            Answering::new(self, service.clone(), request, traffic.begin())
        });
        let mut connection = pin!(self.builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let mut may_close = pin!(self.drain.may_close(traffic));
        poll_fn(|cx| {
            loop {
                // BEFORE drain and deadlines are heeded: what has come is read, and answered if it can be. An error is
                // the client's doing, or names it: nothing that this side could mend.
                if connection.as_mut().poll(cx).is_ready() {
                    // Where it was upgraded its stream goes on elsewhere.
                    closing.set(Close::AtOnce);
                    return Poll::Ready(());
                }
                match course.look(may_close.as_mut(), requests.load(Ordering::Relaxed), cx) {
                    Next::Wait => return Poll::Pending,
                    Next::Again => {}
                    Next::Tell => {
                        // HTTP/1 that is idle has nothing on its way, or is about to ask elsewhere.
                        if !traffic.is_http2() && course.is_idle() {
                            closing.set(Close::LookFirst);
                        }
                        connection.as_mut().graceful_shutdown();
                    }
                    Next::Cut => return Poll::Ready(()),
                }
            }
        })
        .await;
    }
}

impl Protocol {
    /// A request as the application gets it.
    fn receive(&self, request: Request<Incoming>) -> (Request, BodyTimeout) {
        let mut timeout = BodyTimeout::default();
        let mut request = request.map(|body| match self.timeouts.body {
            // A body of our own kind costs an allocation, an empty one does not.
            _ if body.is_end_stream() => Body::empty(),
            None => Body::new(body),
            Some(limit) => {
                let body = Arriving::new(body, limit);
                timeout = body.timeout().clone();
                Body::new(body)
            }
        });
        if timeout.is_set() {
            request.extensions_mut().insert(timeout.clone());
        }
        (request, timeout)
    }
}

#[cfg(test)]
mod tests;
