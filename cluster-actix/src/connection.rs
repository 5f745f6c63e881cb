//! From a stream to the application: actix-http's service, as actix-web's own server builds it.
//!
//! The only file that uses what actix hides from its documentation (`graceful_shutdown_signal` and
//! `AppConfig::__priv_test_new`), which is why actix-http is pinned to one minor version.
use std::cell::RefCell;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::body::{BoxBody, MessageBody};
use actix_http::error::DispatchError;
use actix_http::{ConnectionType, HttpServiceBuilder, KeepAlive, Protocol, Request, Response, ResponseHead};
use actix_rt::net::{TcpStream, UnixStream};
use actix_service::boxed::{self, BoxFuture, BoxService};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config,
};
use actix_web::Error;
use actix_web::dev::AppConfig;
use cluster_core::{BoxError, Stream, Worker};

/// Serves one connection per call, of the kind of its listener.
pub(crate) enum Connections {
    Tcp(BoxService<TcpStream, (), DispatchError>),
    Unix(BoxService<UnixStream, (), DispatchError>),
}

impl Connections {
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), DispatchError>> {
        match self {
            Connections::Tcp(service) => service.poll_ready(cx),
            Connections::Unix(service) => service.poll_ready(cx),
        }
    }

    /// Serves a connection; None for one of the other kind.
    pub(crate) fn call(&self, stream: Stream) -> Option<BoxFuture<Result<(), DispatchError>>> {
        match (self, stream) {
            (Connections::Tcp(service), Stream::Tcp(tcp)) => Some(service.call(tcp)),
            (Connections::Unix(service), Stream::Unix(unix)) => Some(service.call(unix)),
            (Connections::Tcp(_), Stream::Unix(_)) | (Connections::Unix(_), Stream::Tcp(_)) => None,
        }
    }
}

/// What applications on a unix socket are told of their address, as actix-web tells it.
const NO_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// How connections are treated.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) keep_alive: KeepAlive,
    pub(crate) client_request_timeout: Duration,
    pub(crate) client_disconnect_timeout: Duration,
}

impl Default for Settings {
    /// As actix-web has them.
    fn default() -> Self {
        Self {
            keep_alive: KeepAlive::default(),
            client_request_timeout: Duration::from_secs(5),
            client_disconnect_timeout: Duration::from_secs(1),
        }
    }
}

/// Makes the application and the service around it, for the listener at `addr`; None is a unix socket.
pub(crate) async fn connections<F, I, S, B>(
    factory: &F,
    settings: &Settings,
    addr: Option<SocketAddr>,
    worker: &Worker,
) -> Result<Connections, BoxError>
where
    F: Fn() -> I,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    // actix-http reports a failed application as `()`; the reason is caught on its way.
    let reason = Rc::new(RefCell::new(None));
    let caught = reason.clone();
    let app = farewell(factory().into_factory(), worker.clone())
        .map_init_err(move |err| drop(caught.replace(Some(format!("{err:?}")))));
    let local = addr.unwrap_or(NO_ADDRESS);
    let app = map_config(app, move |()| AppConfig::__priv_test_new(false, local.to_string(), local));
    let made = match addr {
        Some(addr) => {
            let service = http(settings, worker).local_addr(addr).finish(app).tcp();
            service.new_service(()).await.map(|service| Connections::Tcp(boxed::service(service)))
        }
        None => {
            // As `tcp()` is for TCP: only HTTP/1, and no address of the client.
            let service = fn_service(|unix: UnixStream| async {
                Ok::<_, DispatchError>((unix, Protocol::Http1, None))
            })
            .and_then(http(settings, worker).finish(app));
            service.new_service(()).await.map(|service| Connections::Unix(boxed::service(service)))
        }
    };
    made.map_err(|()| {
        let reason: Option<String> = reason.take();
        // `App` has the error `()`, and has logged the true one.
        let told = reason.filter(|reason| reason != "()");
        let why = told.as_deref().unwrap_or("actix-web has logged why, through the crate `log`");
        let at = addr.map_or_else(|| "a unix socket".to_owned(), |addr| addr.to_string());
        format!("the application for {at} could not be made: {why}").into()
    })
}

fn http<T, S>(settings: &Settings, worker: &Worker) -> HttpServiceBuilder<T, S>
where
    S: ServiceFactory<Request, Config = ()>,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: fmt::Debug,
    <S::Service as Service<Request>>::Future: 'static,
{
    let lame_duck = worker.clone();
    HttpServiceBuilder::default()
        .graceful_shutdown_signal(move || lame_duck.lame_duck_over())
        .keep_alive(settings.keep_alive)
        .client_request_timeout(settings.client_request_timeout)
        .client_disconnect_timeout(settings.client_disconnect_timeout)
}

/// The application, whose answers ask the client to leave while the worker drains.
fn farewell<S, B>(
    app: S,
    worker: Worker,
) -> impl ServiceFactory<
    Request,
    Config = AppConfig,
    Response = Response<B>,
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
    let (answering, failing) = (worker.clone(), worker);
    app.map(move |answer| {
        let mut answer: Response<B> = answer.into();
        say_close(&answering, answer.head_mut());
        answer
    })
    .map_err(move |err| {
        let mut answer = Response::from(err.into().error_response());
        say_close(&failing, answer.head_mut());
        answer
    })
}

/// An upgraded connection is no longer HTTP's to close. In HTTP/2 actix-http leaves the header out.
fn say_close(worker: &Worker, head: &mut ResponseHead) {
    if worker.is_draining() && !head.upgrade() {
        head.set_connection_type(ConnectionType::Close);
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{App, HttpResponse, web};
    use cluster_core::testing;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A client whose connection the application serves, and the application's listener.
    async fn client<F, I, S, B>(factory: F, worker: &Worker) -> (TcpStream, SocketAddr)
    where
        F: Fn() -> I,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<Error> + 'static,
        S::InitError: fmt::Debug,
        S::Response: Into<Response<B>> + 'static,
        <S::Service as Service<Request>>::Future: 'static,
        S::Service: 'static,
        B: MessageBody + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let settings = Settings { keep_alive: KeepAlive::Os, ..Settings::default() };
        let service = connections(&factory, &settings, Some(addr), worker).await.unwrap();
        let client = TcpStream::connect(addr).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        actix_rt::spawn(service.call(stream.into()).unwrap());
        (client, addr)
    }

    async fn ask(client: &mut TcpStream, request: &str) {
        client.write_all(request.as_bytes()).await.unwrap();
    }

    async fn rest(client: &mut TcpStream) -> String {
        let mut text = String::new();
        tokio::time::timeout(LIMIT, client.read_to_string(&mut text)).await.expect("it closes").unwrap();
        text
    }

    async fn where_am_i(worker: Worker, request: actix_web::HttpRequest) -> String {
        let config = request.app_config();
        format!("worker {} at {} as {}", worker.id(), config.local_addr(), config.host())
    }

    #[actix_web::test]
    async fn a_request_is_served_with_the_listeners_address() {
        let worker = testing::worker();
        let app = || App::new().route("/", web::get().to(where_am_i));
        let (mut client, addr) = client(app, &worker).await;
        ask(&mut client, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        let answer = rest(&mut client).await;
        assert!(answer.ends_with(&format!("worker 1 at {addr} as {addr}")), "{answer}");
    }

    #[actix_web::test]
    async fn a_request_on_a_unix_socket_is_served_without_an_address_of_the_client() {
        async fn who(request: actix_web::HttpRequest) -> String {
            format!("{:?} at {}", request.peer_addr(), request.app_config().local_addr())
        }
        let app = || App::new().route("/", web::get().to(who));
        let service = connections(&app, &Settings::default(), None, &testing::worker()).await.unwrap();
        let (mut client, ours) = UnixStream::pair().unwrap();
        actix_rt::spawn(service.call(ours.into()).unwrap());
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("None at 127.0.0.1:8080"), "{answer}");
    }

    #[actix_web::test]
    async fn an_idle_connection_is_closed_when_the_lame_duck_is_over() {
        let worker = testing::worker();
        let app = || App::new().route("/", web::get().to(HttpResponse::NoContent));
        let (mut client, _) = client(app, &worker).await;
        ask(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 204"));
        // Without the signal it would stay: keep-alive has no end here.
        worker.end_lame_duck();
        assert_eq!(rest(&mut client).await, "");
    }

    #[actix_web::test]
    async fn an_application_that_fails_to_start_is_an_error_that_names_its_address() {
        let worker = testing::worker();
        let app = || App::new().data_factory(|| async { Err::<(), _>("no database") });
        let addr = SocketAddr::from(([127, 0, 0, 1], 8080));
        let made = connections(&app, &Settings::default(), Some(addr), &worker).await;
        let Err(err) = made else { panic!("made although its data could not be") };
        assert!(err.to_string().contains("127.0.0.1:8080"), "{err}");
    }

    #[actix_web::test]
    async fn a_reason_for_a_failed_start_is_told() {
        let worker = testing::worker();
        let app = || {
            actix_service::fn_factory_with_config(|_: AppConfig| async {
                let never: Result<actix_web::dev::AppService, _> = Err("no database");
                never
                    .map(|_| actix_service::fn_service(|_: Request| async { Ok::<_, Error>(Response::ok()) }))
            })
        };
        let addr = SocketAddr::from(([127, 0, 0, 1], 8080));
        let made = connections(&app, &Settings::default(), Some(addr), &worker).await;
        let Err(err) = made else { panic!("made although it could not be") };
        assert!(err.to_string().contains("no database"), "{err}");
    }
}
