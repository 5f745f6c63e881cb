//! What a drain asks of a connection: to say goodbye, and to close when nobody waits for an answer.
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_http::{ConnectionType, Request, Response, ResponseHead, StatusCode};
use actix_service::{Service, ServiceFactory, ServiceFactoryExt as _, apply_fn_factory};
use actix_web::Error;
use actix_web::dev::AppConfig;
use actix_web::web::Bytes;
use cluster_core::adapter::{InFlight, OpenRequest};
use cluster_core::{Draining, Worker};
use pin_project_lite::pin_project;

use crate::connection::{Talk, paced, talk};

/// Resolves when a connection may be closed. actix-http then drops what has come and is not a whole request, and the
/// requests behind one that is being answered.
pub(crate) async fn may_close(lame_duck_over: Draining, talk: Rc<Talk>) {
    lame_duck_over.await;
    talk.may_close().await;
}

/// The application, whose answers ask the client to leave while the worker drains.
pub(crate) fn farewell<S, B>(
    app: S,
    worker: Worker,
    body_timeout: Duration,
) -> impl ServiceFactory<
    Request,
    Config = AppConfig,
    Response = Response<Answer<B>>,
    Error = Response<BoxBody>,
    InitError = S::InitError,
    Service: Service<Request, Future: 'static> + 'static,
> + 'static
where
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let app = app.map_err(|err| Response::from(err.into().error_response()));
    apply_fn_factory(app, move |request: Request, app: &_| {
        let (in_flight, open) = (InFlight::begin(worker.clone()), talk().begin());
        let (request, too_slow) = paced(request, body_timeout);
        let answered = app.call(request);
        async move {
            let answered = answered.await;
            let worker = in_flight.worker();
            worker.count_request();
            let is_late = || too_slow.is_some_and(|too_slow| too_slow.get());
            match answered {
                Ok(answer) => {
                    let mut answer: Response<B> = answer.into();
                    say_close(worker, answer.head_mut());
                    say_late(is_late, answer.head_mut());
                    Ok(answer.map_body(|_, body| Answer { body, _open: open, _in_flight: in_flight }))
                }
                Err(mut answer) => {
                    say_close(worker, answer.head_mut());
                    say_late(is_late, answer.head_mut());
                    Err(answer)
                }
            }
        }
    })
}

/// An upgraded connection is no longer HTTP's to close. In HTTP/2 actix-http leaves the header out.
fn say_close(worker: &Worker, head: &mut ResponseHead) {
    if worker.is_draining() && !head.upgrade() {
        head.set_connection_type(ConnectionType::Close);
    }
}

/// An error whose reason is a body that came too slowly is told as that.
fn say_late(is_late: impl FnOnce() -> bool, head: &mut ResponseHead) {
    if (head.status.is_client_error() || head.status.is_server_error()) && is_late() {
        head.status = StatusCode::REQUEST_TIMEOUT;
        head.set_connection_type(ConnectionType::Close);
    }
}

pin_project! {
    /// An answer's body, on its way to the client for as long as it is there.
    pub(crate) struct Answer<B> {
        #[pin]
        body: B,
        _open: OpenRequest,
        _in_flight: InFlight<Worker>,
    }
}

impl<B: MessageBody> MessageBody for Answer<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.project().body.poll_next(cx)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { body, _open, _in_flight } = self;
        body.try_into_bytes().map_err(|body| Self { body, _open, _in_flight })
    }
}
