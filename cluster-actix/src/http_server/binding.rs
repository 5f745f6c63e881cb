//! Where the server listens.
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use actix_http::body::MessageBody;
use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::Error;
use actix_web::dev::AppConfig;
use cluster_core::adapter::{self, Reach, Wanted};
use cluster_core::{Addr, Inherited, Uds};

use super::{HttpServer, Source};
use crate::connection::NO_ADDRESS;
use crate::program::Listener;
use crate::transport::Transport;

impl<F, I, S, B> HttpServer<F, I, S, B>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    /// The length of the accept queue that is asked for (default 4096, not actix-web's 1024: the queue belongs
    /// to all workers). The kernel cuts it to `net.core.somaxconn`, and the log says so then. Has no effect on what is
    /// bound already, nor where an address says it itself ([`Addr::backlog`]).
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(|| App::new()).backlog(1024).bind("127.0.0.1:0")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// The addresses that are bound so far. A unix socket is listed as `127.0.0.1:8080`, as actix-web does it.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// let server = cluster_actix::HttpServer::new(App::new).bind("127.0.0.1:0")?;
    /// assert_ne!(server.addrs()[0].port(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.addrs_with_scheme().into_iter().map(|(addr, _)| addr).collect()
    }

    /// The same, each with `http` or `https`.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// let server = cluster_actix::HttpServer::new(App::new).bind("127.0.0.1:0")?;
    /// assert_eq!(server.addrs_with_scheme()[0].1, "http");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn addrs_with_scheme(&self) -> Vec<(SocketAddr, &str)> {
        let listeners = self.listeners.iter().map(|(listener, _)| listener);
        let each = |listener: &Listener| {
            let scheme = listener.transport.scheme();
            let addrs = listener.addrs.iter().map(move |addr| (addr.unwrap_or(NO_ADDRESS), scheme));
            addrs.collect::<Vec<_>>()
        };
        listeners.flat_map(each).collect()
    }

    /// Binds at once, to all addresses that a name resolves to. Only the first primary does bind; in the
    /// other processes in which `main` runs, the same line means the same sockets.
    ///
    /// It takes what an [`Addr`] is made from, because a socket's identity is its address as written:
    /// `"127.0.0.1:8080"`, `("localhost", 8080)`, a `SocketAddr`. Give several addresses by several calls.
    ///
    /// # Errors
    /// One of the addresses is in use, none could be bound, or there is none; the error names the address. (actix-web
    /// itself goes on where another program has one of several; the program's second copy must not.)
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(App::new).bind(("127.0.0.1", 0))?.bind("[::1]:0").ok();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind<A: Into<Addr>>(mut self, addrs: A) -> io::Result<Self> {
        self.listen_to(Wanted::Tcp(addrs.into(), Reach::All), Transport::Http1)?;
        Ok(self)
    }

    /// As [`bind`](Self::bind), for HTTP/1 and HTTP/2 in the clear: a connection speaks what it begins with.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(App::new).bind_auto_h2c(("127.0.0.1", 0))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind_auto_h2c<A: Into<Addr>>(mut self, addrs: A) -> io::Result<Self> {
        self.listen_to(Wanted::Tcp(addrs.into(), Reach::All), Transport::AutoH2c)?;
        Ok(self)
    }

    /// Makes a unix socket at once; see [`Uds`] for its permissions. As in actix-web, `peer_addr()` of its requests is
    /// none, and the application's own address is `127.0.0.1:8080`.
    ///
    /// # Errors
    /// Somebody answers on it already, what is there is no socket, or its directory does not let us; the error names
    /// the path.
    ///
    /// # Example
    /// ```no_run
    /// # use actix_web::App;
    /// use cluster_actix::{HttpServer, Uds};
    /// HttpServer::new(App::new).bind_uds("run/http.sock")?.bind_uds(Uds::new("run/2.sock").mode(0o660))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind_uds<A: Into<Uds>>(mut self, uds_path: A) -> io::Result<Self> {
        self.listen_to(Wanted::Uds(uds_path.into()), Transport::Http1)?;
        Ok(self)
    }

    /// Listens on a socket that the program was started with, by systemd socket activation or what speaks like it;
    /// as [`Builder::inherit`](crate::Builder::inherit).
    ///
    /// # Errors
    /// No such one was passed, or it is no socket that listens.
    ///
    /// # Example
    /// ```no_run
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(App::new).inherit("web")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn inherit(mut self, passed: impl Into<Inherited>) -> io::Result<Self> {
        self.listen_to(Wanted::Inherited(passed.into()), Transport::Http1)?;
        Ok(self)
    }

    /// As [`inherit`](Self::inherit) where such a socket was passed, and otherwise as [`bind`](Self::bind).
    ///
    /// # Errors
    /// As those two.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(App::new).inherit_or_bind("web", ("127.0.0.1", 0))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn inherit_or_bind(
        mut self,
        passed: impl Into<Inherited>,
        addrs: impl Into<Addr>,
    ) -> io::Result<Self> {
        let wanted = Wanted::InheritedOr(passed.into(), addrs.into(), Reach::All);
        self.listen_to(wanted, Transport::Http1)?;
        Ok(self)
    }

    /// Listens on a socket that [`bind_tcp`](crate::bind_tcp) made. Any other is an error at start, because
    /// `main` runs more than once and could not bind it again.
    ///
    /// # Errors
    /// The socket has no address.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// let listener = cluster_actix::bind_tcp("127.0.0.1:0")?;
    /// cluster_actix::HttpServer::new(|| App::new()).listen(listener)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn listen(mut self, lst: TcpListener) -> io::Result<Self> {
        self.listen_on(lst, Transport::Http1)?;
        Ok(self)
    }

    /// As [`listen`](Self::listen), for HTTP/1 and HTTP/2 in the clear.
    ///
    /// # Errors
    /// The socket has no address.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// let listener = cluster_actix::bind_tcp("127.0.0.1:0")?;
    /// cluster_actix::HttpServer::new(App::new).listen_auto_h2c(listener)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn listen_auto_h2c(mut self, lst: TcpListener) -> io::Result<Self> {
        self.listen_on(lst, Transport::AutoH2c)?;
        Ok(self)
    }

    /// Listens on a socket that [`bind_uds`](crate::bind_uds) made; as [`listen`](Self::listen).
    ///
    /// # Errors
    /// None: what is wrong with it is told at start.
    ///
    /// # Example
    /// ```no_run
    /// # use actix_web::App;
    /// let listener = cluster_actix::bind_uds("run/http.sock")?;
    /// cluster_actix::HttpServer::new(App::new).listen_uds(listener)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn listen_uds(mut self, lst: UnixListener) -> io::Result<Self> {
        self.add(vec![None], "a unix socket".to_owned(), Source::Given(lst.into()), Transport::Http1);
        Ok(self)
    }

    pub(super) fn listen_to(&mut self, wanted: Wanted, transport: Transport) -> io::Result<()> {
        let (key, addrs) = adapter::bind(&adapter::with_backlog(wanted, self.backlog))?;
        self.add(addrs, key.to_string(), Source::Bound(key), transport);
        Ok(())
    }

    pub(super) fn listen_on(&mut self, listener: TcpListener, transport: Transport) -> io::Result<()> {
        let addr = listener.local_addr()?;
        self.add(vec![Some(addr)], addr.to_string(), Source::Given(listener.into()), transport);
        Ok(())
    }

    fn add(&mut self, addrs: Vec<Option<SocketAddr>>, written: String, source: Source, transport: Transport) {
        let name = format!("http-{}", self.listeners.len() + 1);
        self.listeners.push((Listener { name, addrs, transport, written, app: 0 }, source));
    }
}
