//! From a stream to the application: actix-http's service, as actix-web's own server builds it.
//!
//! The only file that uses what actix hides from its documentation (`graceful_shutdown_signal` and
//! `AppConfig::__priv_test_new`), which is why actix-http is pinned to one minor version.
mod arrival;
mod body;
mod care;
mod frames;
mod wire;

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_http::body::{BoxBody, MessageBody};
use actix_http::error::DispatchError;
use actix_http::{HttpServiceBuilder, Protocol, Request, Response};
use actix_rt::net::ActixStream;
use actix_service::boxed::{self, BoxService};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, map_config};
use actix_web::Error;
use actix_web::dev::AppConfig;
use cluster_core::{BoxError, Worker};
use tokio::io::{AsyncRead, AsyncWrite};

use self::arrival::{Door, Way};
pub(crate) use self::body::{Pace, paced};
use self::wire::Wire;
pub(crate) use self::wire::{OpenRequest, Talk, talk};
use crate::farewell::{farewell, may_close};
use crate::settings::Settings;
use crate::transport::Transport;

/// What serves connections with streams of this kind: each with its protocol, and where its client is.
type Http<T> = BoxService<(Wire<T>, Protocol, Option<SocketAddr>), (), DispatchError>;

/// Serves the connections of a listener's address.
pub(crate) struct Connections {
    door: Door,
    settings: Settings,
    worker: Worker,
}

impl Connections {
    /// Whether the application takes another connection.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), DispatchError>> {
        ready!(self.door.poll_room(self.settings.handshakes, cx));
        self.door.poll_ready(cx)
    }
}

/// What applications on a unix socket are told of their address, as actix-web tells it.
pub(crate) const NO_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Where an application is served.
#[derive(Clone, Copy)]
pub(crate) struct Address<'a> {
    /// None is a unix socket.
    pub(crate) addr: Option<SocketAddr>,
    pub(crate) transport: &'a Transport,
    /// Whose address it is, by the same word in each process.
    pub(crate) listener: &'a str,
}

/// Makes the application and the service around it, for an address of a listener.
pub(crate) async fn connections<F, I, S, B>(
    factory: &F,
    settings: &Settings,
    address: Address<'_>,
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
    let app = farewell(factory().into_factory(), worker.clone(), settings.client_body_timeout)
        .map_init_err(move |err| drop(caught.replace(Some(format!("{err:?}")))));
    let Address { addr, transport, .. } = address;
    let local = addr.unwrap_or(NO_ADDRESS);
    let host = settings.hostname.clone().unwrap_or_else(|| local.to_string());
    let secure = transport.is_secure();
    let app = map_config(app, move |()| AppConfig::__priv_test_new(secure, host.clone(), local));
    let made = match (addr, transport) {
        (None, _) => way(app, settings, address, worker).await.map(Door::Unix),
        (Some(_), Transport::AutoH2c) => service(app, settings, addr, worker).await.map(Door::Auto),
        (Some(_), _) => way(app, settings, address, worker).await.map(Door::Tcp),
    };
    let door = made.map_err(|()| {
        let reason: Option<String> = reason.take();
        // `App` has the error `()`, and has logged the true one.
        let told = reason.filter(|reason| reason != "()");
        let why = told.as_deref().unwrap_or("actix-web has logged why, through the crate `log`");
        let at = addr.map_or_else(|| "a unix socket".to_owned(), |addr| addr.to_string());
        format!("the application for {at} could not be made: {why}")
    })?;
    Ok(Connections { door, settings: settings.clone(), worker: worker.clone() })
}

/// What is between streams of the kind `S` and the application.
#[cfg_attr(not(feature = "rustls-0_23"), expect(unused_variables, reason = "it is for tickets of rustls"))]
async fn way<S, A, B>(
    app: A,
    settings: &Settings,
    Address { addr, transport, listener }: Address<'_>,
    worker: &Worker,
) -> Result<Way<S>, ()>
where
    S: ActixStream + 'static,
    A: ServiceFactory<Request, Config = (), Response = Response<B>, Error = Response<BoxBody>> + 'static,
    A::Service: 'static,
    A::Future: 'static,
    A::InitError: fmt::Debug,
    <A::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    match transport {
        Transport::Http1 | Transport::AutoH2c => service(app, settings, addr, worker).await.map(Way::Plain),
        #[cfg(feature = "rustls-0_23")]
        Transport::Rustls(config) => {
            let acceptor = crate::transport::rustls::acceptor(config, listener, worker);
            service(app, settings, addr, worker).await.map(|http| Way::Rustls(acceptor, http))
        }
        #[cfg(feature = "openssl")]
        Transport::Openssl(acceptor) => {
            let acceptor = acceptor.clone();
            service(app, settings, addr, worker).await.map(|http| Way::Openssl(acceptor, http))
        }
    }
}

/// actix-http's service, for streams of the kind `T`.
async fn service<T, A, B>(
    app: A,
    settings: &Settings,
    addr: Option<SocketAddr>,
    worker: &Worker,
) -> Result<Http<T>, ()>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
    A: ServiceFactory<Request, Config = (), Response = Response<B>, Error = Response<BoxBody>> + 'static,
    A::Service: 'static,
    A::Future: 'static,
    A::InitError: fmt::Debug,
    <A::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let mut builder: HttpServiceBuilder<Wire<T>, A> = http(settings, worker);
    if let Some(addr) = addr {
        builder = builder.local_addr(addr);
    }
    if let Some(on_connect) = settings.on_connect.clone() {
        builder = builder.on_connect_ext(move |wire, data| on_connect(wire.io() as &dyn Any, data));
    }
    builder.finish(app).new_service(()).await.map(boxed::service)
}

fn http<T, S>(settings: &Settings, worker: &Worker) -> HttpServiceBuilder<T, S>
where
    S: ServiceFactory<Request, Config = ()>,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: fmt::Debug,
    <S::Service as Service<Request>>::Future: 'static,
{
    let worker = worker.clone();
    let mut builder = HttpServiceBuilder::default()
        // Asked for once per connection, by its task.
        .graceful_shutdown_signal(move || may_close(worker.lame_duck_over(), talk()))
        .keep_alive(settings.keep_alive)
        .client_request_timeout(settings.client_request_timeout)
        .client_disconnect_timeout(settings.client_disconnect_timeout)
        .h1_allow_half_closed(settings.h1_allow_half_closed);
    if let Some(size) = settings.h1_write_buffer_size {
        builder = builder.h1_write_buffer_size(size);
    }
    if let Some(size) = settings.h2_initial_window_size {
        builder = builder.h2_initial_window_size(size);
    }
    if let Some(size) = settings.h2_initial_connection_window_size {
        builder = builder.h2_initial_connection_window_size(size);
    }
    builder
}

#[cfg(test)]
mod tests;
