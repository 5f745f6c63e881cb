//! From a stream to the application: actix-http's service, as actix-web's own server builds it.
//!
//! The only file that uses what actix hides from its documentation (`graceful_shutdown_signal` and
//! `AppConfig::__priv_test_new`), which is why actix-http is pinned to one minor version.
use std::cell::RefCell;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::body::{BoxBody, MessageBody};
use actix_http::error::DispatchError;
use actix_http::{HttpServiceBuilder, KeepAlive, Protocol, Request, Response};
use actix_rt::net::{TcpStream, UnixStream};
use actix_service::boxed::{self, BoxFuture, BoxService};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config,
};
use actix_web::Error;
use actix_web::dev::AppConfig;
use cluster_core::adapter::{Traffic, Watched};
use cluster_core::{BoxError, Stream, Worker};
use tokio::task::futures::TaskLocalFuture;

use crate::farewell::{farewell, may_close};

/// Serves one connection per call, of the kind of its listener.
pub(crate) enum Connections {
    Tcp(BoxService<Watched<TcpStream>, (), DispatchError>),
    Unix(BoxService<Watched<UnixStream>, (), DispatchError>),
}

impl Connections {
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), DispatchError>> {
        match self {
            Connections::Tcp(service) => service.poll_ready(cx),
            Connections::Unix(service) => service.poll_ready(cx),
        }
    }

    /// Serves a connection; None for one of the other kind.
    pub(crate) fn call(&self, stream: Stream) -> Option<Served> {
        match (self, stream) {
            (Connections::Tcp(service), Stream::Tcp(tcp)) => Some(serve(service, tcp)),
            (Connections::Unix(service), Stream::Unix(unix)) => Some(serve(service, unix)),
            (Connections::Tcp(_), Stream::Unix(_)) | (Connections::Unix(_), Stream::Tcp(_)) => None,
        }
    }
}

/// A connection that is served.
pub(crate) type Served = TaskLocalFuture<Arc<Traffic>, BoxFuture<Result<(), DispatchError>>>;

tokio::task_local! {
    /// What goes over the connection that this task serves.
    static TRAFFIC: Arc<Traffic>;
}

fn serve<S>(service: &BoxService<Watched<S>, (), DispatchError>, stream: S) -> Served {
    let stream = Watched::new(stream);
    let traffic = stream.traffic().clone();
    TRAFFIC.scope(traffic, service.call(stream))
}

/// What goes over the connection of this task; that of nobody where there is none.
pub(crate) fn traffic() -> Arc<Traffic> {
    TRAFFIC.try_with(Arc::clone).unwrap_or_default()
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
        // As `tcp()` is: only HTTP/1.
        Some(addr) => {
            let service = fn_service(|tcp: Watched<TcpStream>| async {
                let peer = tcp.io().peer_addr().ok();
                Ok::<_, DispatchError>((tcp, Protocol::Http1, peer))
            })
            .and_then(http(settings, worker).local_addr(addr).finish(app));
            service.new_service(()).await.map(|service| Connections::Tcp(boxed::service(service)))
        }
        None => {
            let service = fn_service(|unix: Watched<UnixStream>| async {
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
    let worker = worker.clone();
    HttpServiceBuilder::default()
        // Asked for once per connection, by its task.
        .graceful_shutdown_signal(move || may_close(worker.lame_duck_over(), traffic()))
        .keep_alive(settings.keep_alive)
        .client_request_timeout(settings.client_request_timeout)
        .client_disconnect_timeout(settings.client_disconnect_timeout)
}

#[cfg(test)]
mod tests;
