//! What a drain asks of a connection: to say goodbye, and to close when nobody waits for an answer.
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_http::{ConnectionType, Method, Request, Response, ResponseHead, StatusCode};
use actix_service::{Service, ServiceFactory, fn_factory_with_config};
use actix_web::Error;
use actix_web::dev::AppConfig;
use actix_web::web::Bytes;
use cluster_core::adapter::InFlight;
use cluster_core::{Draining, Worker};
use pin_project_lite::pin_project;

use crate::connection::{OpenRequest, Pace, Talk, paced, talk};

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
    // All on one thread: it costs a request no atomic operation.
    let worker = Rc::new(worker);
    fn_factory_with_config(move |config| {
        let (made, worker) = (app.new_service(config), worker.clone());
        async move { Ok(Farewell { app: made.await?, worker, body_timeout, body: PhantomData }) }
    })
}

struct Farewell<S, B> {
    app: S,
    worker: Rc<Worker>,
    body_timeout: Duration,
    body: PhantomData<fn() -> B>,
}

impl<S, B> Service<Request> for Farewell<S, B>
where
    S: Service<Request>,
    S::Error: Into<Error>,
    S::Response: Into<Response<B>>,
{
    type Response = Response<Answer<B>>;
    type Error = Response<BoxBody>;
    type Future = Answering<S::Future, B>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.app.poll_ready(cx).map_err(refusal)
    }

    fn call(&self, mut request: Request) -> Self::Future {
        let held =
            Held { _open: OpenRequest::begin(talk()), in_flight: InFlight::begin(self.worker.clone()) };
        let is_connect = *request.method() == Method::CONNECT;
        let pace = paced(&mut request, self.body_timeout);
        Answering { answered: self.app.call(request), is_connect, pace, held: Some(held), body: PhantomData }
    }
}

/// How an error of the application is told.
fn refusal(err: impl Into<Error>) -> Response<BoxBody> {
    err.into().error_response().into()
}

/// What is held while a request is open: for the drain, and for the count.
struct Held {
    _open: OpenRequest,
    in_flight: InFlight<Rc<Worker>>,
}

pin_project! {
    /// A request that the application has. No async block: that would have the application's future twice, and move it from
    /// one place to the other with each request.
    struct Answering<F, B> {
        #[pin]
        answered: F,
        is_connect: bool,
        pace: Option<Rc<Pace>>,
        held: Option<Held>,
        body: PhantomData<fn() -> B>,
    }
}

impl<F, R, E, B> Future for Answering<F, B>
where
    F: Future<Output = Result<R, E>>,
    R: Into<Response<B>>,
    E: Into<Error>,
{
    type Output = Result<Response<Answer<B>>, Response<BoxBody>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answered = ready!(this.answered.poll(cx));
        let held = this.held.take().expect("a future that has resolved is not polled again");
        let worker = held.in_flight.worker();
        worker.count_request();
        let pace = this.pace.as_deref();
        let is_late = || pace.is_some_and(Pace::is_too_slow);
        Poll::Ready(match answered {
            Ok(answer) => {
                let mut answer: Response<B> = answer.into();
                if becomes_another_protocol(answer.status(), *this.is_connect) {
                    pace.into_iter().for_each(Pace::let_go);
                }
                say_close(worker, answer.head_mut());
                say_late(is_late, answer.head_mut());
                Ok(answer.map_body(|_, body| Answer { body, _held: held }))
            }
            Err(err) => {
                let mut answer = refusal(err);
                say_close(worker, answer.head_mut());
                say_late(is_late, answer.head_mut());
                Err(answer)
            }
        })
    }
}

/// What a request asks for is not enough: any can, with a header.
fn becomes_another_protocol(status: StatusCode, is_connect: bool) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (is_connect && status.is_success())
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
        _held: Held,
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
        let Self { body, _held } = self;
        body.try_into_bytes().map_err(|body| Self { body, _held })
    }
}
