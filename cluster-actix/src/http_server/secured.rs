//! Listeners with TLS.
#![cfg(any(feature = "rustls-0_23", feature = "openssl"))]
use std::fmt;
use std::io;
use std::net::TcpListener;

use actix_http::body::MessageBody;
use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::Error;
use actix_web::dev::AppConfig;
use cluster_core::adapter::{Reach, Wanted};
use cluster_core::{Addr, Inherited};

use super::HttpServer;
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
    /// As [`bind`](Self::bind), with TLS by rustls 0.23: HTTP/2 or HTTP/1.1, as ALPN chooses, before what `config` offers
    /// itself. What encrypts, ring or aws-lc, is in the configuration.
    ///
    /// Handshakes are made beside each other and hold up nobody. A session that one worker has begun can be taken up again on
    /// any of them.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    ///
    /// # Example
    /// ```no_run
    /// # use actix_web::App;
    /// # fn f(config: rustls::ServerConfig) -> std::io::Result<()> {
    /// cluster_actix::HttpServer::new(App::new).bind_rustls_0_23(("0.0.0.0", 443), config)?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "rustls-0_23")]
    pub fn bind_rustls_0_23<A: Into<Addr>>(
        mut self,
        addrs: A,
        config: actix_tls::accept::rustls_0_23::reexports::ServerConfig,
    ) -> io::Result<Self> {
        let transport = Transport::Rustls(crate::transport::rustls::complete(config));
        self.listen_to(Wanted::Tcp(addrs.into(), Reach::All), transport)?;
        Ok(self)
    }

    /// As [`bind`](Self::bind), with TLS by OpenSSL: HTTP/2 or HTTP/1.1, as ALPN chooses. The protocols that `builder` chooses
    /// itself are replaced, as actix-web does it.
    ///
    /// A session can be taken up again on another worker where the program calls [`Server::join`](crate::Server::join), because
    /// its keys are made in `main`; with `.await` each worker has its own, and clients shake hands anew.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); or OpenSSL refuses the protocols.
    ///
    /// # Example
    /// ```no_run
    /// # use actix_web::App;
    /// # fn f() -> Result<(), Box<dyn std::error::Error>> {
    /// use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod};
    ///
    /// let mut tls = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls())?;
    /// tls.set_private_key_file("key.pem", SslFiletype::PEM)?;
    /// tls.set_certificate_chain_file("cert.pem")?;
    /// cluster_actix::HttpServer::new(App::new).bind_openssl(("0.0.0.0", 443), tls)?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "openssl")]
    pub fn bind_openssl<A: Into<Addr>>(
        mut self,
        addrs: A,
        builder: actix_tls::accept::openssl::reexports::SslAcceptorBuilder,
    ) -> io::Result<Self> {
        let transport = Transport::Openssl(crate::transport::openssl::complete(builder)?);
        self.listen_to(Wanted::Tcp(addrs.into(), Reach::All), transport)?;
        Ok(self)
    }

    /// As [`inherit`](Self::inherit), with TLS by rustls 0.23 as [`bind_rustls_0_23`](Self::bind_rustls_0_23) has it, also
    /// where what was passed is a unix socket. There `on_connect` gets the TLS stream around an `rt::net::UnixStream`.
    ///
    /// # Errors
    /// As [`inherit`](Self::inherit).
    ///
    /// # Example
    /// ```no_run
    /// # use actix_web::App;
    /// # fn f(config: rustls::ServerConfig) -> std::io::Result<()> {
    /// cluster_actix::HttpServer::new(App::new).inherit_rustls_0_23("web", config)?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "rustls-0_23")]
    pub fn inherit_rustls_0_23(
        mut self,
        passed: impl Into<Inherited>,
        config: actix_tls::accept::rustls_0_23::reexports::ServerConfig,
    ) -> io::Result<Self> {
        let transport = Transport::Rustls(crate::transport::rustls::complete(config));
        self.listen_to(Wanted::Inherited(passed.into()), transport)?;
        Ok(self)
    }

    /// As [`inherit_rustls_0_23`](Self::inherit_rustls_0_23) where such a socket was passed, and otherwise as
    /// [`bind_rustls_0_23`](Self::bind_rustls_0_23).
    ///
    /// # Errors
    /// As those two.
    ///
    /// # Example
    /// ```no_run
    /// # use actix_web::App;
    /// # fn f(config: rustls::ServerConfig) -> std::io::Result<()> {
    /// cluster_actix::HttpServer::new(App::new).inherit_or_bind_rustls_0_23("web", ("127.0.0.1", 8443), config)?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "rustls-0_23")]
    pub fn inherit_or_bind_rustls_0_23(
        mut self,
        passed: impl Into<Inherited>,
        addrs: impl Into<Addr>,
        config: actix_tls::accept::rustls_0_23::reexports::ServerConfig,
    ) -> io::Result<Self> {
        let transport = Transport::Rustls(crate::transport::rustls::complete(config));
        self.listen_to(Wanted::InheritedOr(passed.into(), addrs.into(), Reach::All), transport)?;
        Ok(self)
    }

    /// As [`inherit`](Self::inherit), with TLS by OpenSSL as [`bind_openssl`](Self::bind_openssl) has it, also where what was
    /// passed is a unix socket. There `on_connect` gets the TLS stream around an `rt::net::UnixStream`.
    ///
    /// # Errors
    /// As [`inherit`](Self::inherit); or OpenSSL refuses the protocols.
    ///
    /// # Example
    /// ```no_run
    /// # use actix_web::App;
    /// # fn f(tls: openssl::ssl::SslAcceptorBuilder) -> std::io::Result<()> {
    /// cluster_actix::HttpServer::new(App::new).inherit_openssl("web", tls)?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "openssl")]
    pub fn inherit_openssl(
        mut self,
        passed: impl Into<Inherited>,
        builder: actix_tls::accept::openssl::reexports::SslAcceptorBuilder,
    ) -> io::Result<Self> {
        let transport = Transport::Openssl(crate::transport::openssl::complete(builder)?);
        self.listen_to(Wanted::Inherited(passed.into()), transport)?;
        Ok(self)
    }

    /// As [`inherit_openssl`](Self::inherit_openssl) where such a socket was passed, and otherwise as
    /// [`bind_openssl`](Self::bind_openssl).
    ///
    /// # Errors
    /// As those two.
    ///
    /// # Example
    /// ```no_run
    /// # use actix_web::App;
    /// # fn f(tls: openssl::ssl::SslAcceptorBuilder) -> std::io::Result<()> {
    /// cluster_actix::HttpServer::new(App::new).inherit_or_bind_openssl("web", ("127.0.0.1", 8443), tls)?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "openssl")]
    pub fn inherit_or_bind_openssl(
        mut self,
        passed: impl Into<Inherited>,
        addrs: impl Into<Addr>,
        builder: actix_tls::accept::openssl::reexports::SslAcceptorBuilder,
    ) -> io::Result<Self> {
        let transport = Transport::Openssl(crate::transport::openssl::complete(builder)?);
        self.listen_to(Wanted::InheritedOr(passed.into(), addrs.into(), Reach::All), transport)?;
        Ok(self)
    }

    /// As [`listen`](Self::listen), with TLS by rustls 0.23; see [`bind_rustls_0_23`](Self::bind_rustls_0_23).
    ///
    /// # Errors
    /// The socket has no address.
    ///
    /// # Example
    /// ```no_run
    /// # use actix_web::App;
    /// # fn f(config: rustls::ServerConfig) -> std::io::Result<()> {
    /// let listener = cluster_actix::bind_tcp(("0.0.0.0", 443))?;
    /// cluster_actix::HttpServer::new(App::new).listen_rustls_0_23(listener, config)?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "rustls-0_23")]
    pub fn listen_rustls_0_23(
        mut self,
        lst: TcpListener,
        config: actix_tls::accept::rustls_0_23::reexports::ServerConfig,
    ) -> io::Result<Self> {
        self.listen_on(lst, Transport::Rustls(crate::transport::rustls::complete(config)))?;
        Ok(self)
    }

    /// As [`listen`](Self::listen), with TLS by OpenSSL; see [`bind_openssl`](Self::bind_openssl).
    ///
    /// # Errors
    /// The socket has no address, or OpenSSL refuses the protocols.
    ///
    /// # Example
    /// ```no_run
    /// # use actix_web::App;
    /// # fn f(tls: openssl::ssl::SslAcceptorBuilder) -> std::io::Result<()> {
    /// let listener = cluster_actix::bind_tcp(("0.0.0.0", 443))?;
    /// cluster_actix::HttpServer::new(App::new).listen_openssl(listener, tls)?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "openssl")]
    pub fn listen_openssl(
        mut self,
        lst: TcpListener,
        builder: actix_tls::accept::openssl::reexports::SslAcceptorBuilder,
    ) -> io::Result<Self> {
        self.listen_on(lst, Transport::Openssl(crate::transport::openssl::complete(builder)?))?;
        Ok(self)
    }
}
