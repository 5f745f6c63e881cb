//! How the server treats its clients, and how many processes and threads it has.
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix_http::body::MessageBody;
use actix_http::{Extensions, KeepAlive, Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::Error;
use actix_web::dev::AppConfig;
use cluster_core::{Scheduling, adapter};

use super::HttpServer;

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
    /// How many worker processes (default: the available parallelism, which knows cgroups). The environment
    /// overrides it: `CLUSTER_WORKERS`, else `WEB_CONCURRENCY`. 0 is an error at start, not a panic.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(App::new).workers(4);
    /// ```
    pub fn workers(mut self, num: usize) -> Self {
        self.cluster = self.cluster.workers(num);
        self
    }

    /// How many threads of each worker process serve (default 1). With more of them less memory is spent, and a crash costs
    /// more; each has an application of its own, as actix-web's workers have. 0 counts as 1.
    ///
    /// The first takes all connections and gives each to the thread that has fewest. It is the one whose silence the cluster
    /// [takes for a hang](cluster_core::Builder::hang_timeout).
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(App::new).workers(2).threads_per_worker(4);
    /// ```
    pub fn threads_per_worker(mut self, num: usize) -> Self {
        self.threads = num.max(1);
        self
    }

    /// How many threads a worker has at most for [`web::block`](actix_web::web::block) and the like (default: 512 divided by
    /// the available parallelism, as in actix-web); at least 1. Where [several threads serve](Self::threads_per_worker) they
    /// share them out evenly. A [custom runtime](cluster_core::Runtime::custom) has what it has.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(App::new).worker_max_blocking_threads(16);
    /// ```
    pub fn worker_max_blocking_threads(mut self, num: usize) -> Self {
        self.blocking = Some(num);
        self
    }

    /// How many connections a worker has open at a time (default 25,600, as in actix-web); at least 1.
    ///
    /// A worker that has so many takes no more until one has ended: others do. Where none has room clients wait in the
    /// queue, or are refused: [`Builder::overload`](crate::Builder::overload).
    /// [`Builder::max_cluster_connections`](crate::Builder::max_cluster_connections) limits all workers together.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(App::new).workers(4).max_connections(1000);
    /// ```
    pub fn max_connections(mut self, num: usize) -> Self {
        self.cluster = self.cluster.max_connections(num);
        self
    }

    /// How many handshakes of TLS each serving thread has under way at a time (default: no limit; actix-web has 256); at
    /// least 1. It leaves further connections of listeners with TLS to others, until one has ended. Each further listener with TLS
    /// may begin one more, and connections that are handed to another of [`threads_per_worker`](Self::threads_per_worker)
    /// are not held back there.
    ///
    /// There is no limit by default because a client that stops in the middle of its handshake would take one of the places,
    /// until [`tls_handshake_timeout`](Self::tls_handshake_timeout). How many connections are accepted per second is
    /// another matter: [`Builder::max_connection_rate`](cluster_core::Builder::max_connection_rate).
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(App::new).max_connection_rate(256);
    /// ```
    pub fn max_connection_rate(mut self, num: usize) -> Self {
        self.settings.handshakes = Some(num.max(1));
        self
    }

    /// Which worker gets a connection (default: [`Scheduling::Shared`](crate::Scheduling::Shared)). A listener may
    /// have a rule of its own: [`Builder::listener_scheduling`](crate::Builder::listener_scheduling) through [`cluster`](Self::cluster); listeners are
    /// named `http-1`, `http-2` and so on, in their order.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// use cluster_actix::{HttpServer, Scheduling};
    /// HttpServer::new(|| App::new()).scheduling(Scheduling::LeastConnections);
    /// ```
    pub fn scheduling(mut self, scheduling: Scheduling) -> Self {
        self.cluster = self.cluster.scheduling(scheduling);
        self
    }

    /// How long an idle connection stays open for another request (default 5 s).
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// # use std::time::Duration;
    /// cluster_actix::HttpServer::new(|| App::new()).keep_alive(Duration::from_secs(75));
    /// ```
    pub fn keep_alive<T: Into<KeepAlive>>(mut self, val: T) -> Self {
        self.settings.keep_alive = val.into();
        self
    }

    /// Sets `TCP_NODELAY` on accepted connections (default: as the system has it, which is off). With it small answers leave
    /// at once.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(App::new).tcp_nodelay(true);
    /// ```
    pub fn tcp_nodelay(mut self, enabled: bool) -> Self {
        self.settings.tcp_nodelay = Some(enabled);
        self
    }

    /// How long a client may take to send the head of a request (default 5 s). Zero switches it off.
    ///
    /// With the first of a connection it is answered 408; with a later one, for which actix-web has no limit, the connection is
    /// closed. A client of HTTP/2 has so long to introduce itself, and on a listener for
    /// [both versions](Self::bind_auto_h2c) one that says nothing is hung up on.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// # use std::time::Duration;
    /// cluster_actix::HttpServer::new(App::new).client_request_timeout(Duration::from_secs(10));
    /// ```
    pub fn client_request_timeout(mut self, dur: Duration) -> Self {
        self.settings.client_request_timeout = adapter::bounded(dur);
        self
    }

    /// The old name of [`client_request_timeout`](Self::client_request_timeout).
    #[doc(hidden)]
    #[deprecated(note = "Renamed to `client_request_timeout`.")]
    pub fn client_timeout(self, dur: Duration) -> Self {
        self.client_request_timeout(dur)
    }

    /// How long a handler waits for each 16 KiB of a request's body, or for what is left of it (default 30 s). Zero switches
    /// it off, for clients that send a little now and then on purpose. WebSockets are not concerned. actix-web has no such
    /// limit.
    ///
    /// The body then ends with [`PayloadError::Io`](actix_web::error::PayloadError::Io) of the kind `TimedOut`, and if that is
    /// answered with an error, as extractors do, the client is told 408 (Request Timeout) and the connection is closed. Only
    /// time in which somebody waits for the client counts.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// # use std::time::Duration;
    /// cluster_actix::HttpServer::new(App::new).client_body_timeout(Duration::from_secs(10));
    /// ```
    pub fn client_body_timeout(mut self, dur: Duration) -> Self {
        self.settings.client_body_timeout = adapter::bounded(dur);
        self
    }

    /// How long a client may take nothing of what is sent to it (default 60 s). Zero switches it off. Then the connection is
    /// closed, a WebSocket, too. An answer that has nothing to send waits for as long as it likes. That it has taken something shows
    /// when about a third of the system's send buffer is free again. actix-web has no such limit.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// # use std::time::Duration;
    /// cluster_actix::HttpServer::new(App::new).client_write_timeout(Duration::from_secs(20));
    /// ```
    pub fn client_write_timeout(mut self, dur: Duration) -> Self {
        self.settings.client_write_timeout = adapter::bounded(dur);
        self
    }

    /// How long closing a connection may take before it is dropped (default 1 s). Zero switches it off.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// # use std::time::Duration;
    /// cluster_actix::HttpServer::new(|| App::new()).client_disconnect_timeout(Duration::from_secs(5));
    /// ```
    pub fn client_disconnect_timeout(mut self, dur: Duration) -> Self {
        self.settings.client_disconnect_timeout = adapter::bounded(dur);
        self
    }

    /// The old name of [`client_disconnect_timeout`](Self::client_disconnect_timeout), in milliseconds.
    #[doc(hidden)]
    #[deprecated(note = "Renamed to `client_disconnect_timeout`.")]
    pub fn client_shutdown(self, dur: u64) -> Self {
        self.client_disconnect_timeout(Duration::from_millis(dur))
    }

    /// How long a handshake of TLS may take before the connection is closed (default 3 s). Nobody else waits for it.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// # use std::time::Duration;
    /// cluster_actix::HttpServer::new(App::new).tls_handshake_timeout(Duration::from_secs(10));
    /// ```
    #[cfg(any(feature = "rustls-0_23", feature = "openssl"))]
    pub fn tls_handshake_timeout(mut self, dur: Duration) -> Self {
        self.settings.tls_handshake_timeout = dur;
        self
    }

    /// Whether a client of HTTP/1 may close its side once it has asked, and be answered all the same (default `true`).
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(App::new).h1_allow_half_closed(false);
    /// ```
    pub fn h1_allow_half_closed(mut self, allow: bool) -> Self {
        self.settings.h1_allow_half_closed = allow;
        self
    }

    /// How many bytes of answers an HTTP/1 connection gathers before it sends them (default 32 KiB).
    ///
    /// # Panics
    /// `size` is 0.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(App::new).h1_write_buffer_size(64 * 1024);
    /// ```
    pub fn h1_write_buffer_size(mut self, size: usize) -> Self {
        assert!(size > 0, "HTTP/1 write buffer size must be greater than zero");
        self.settings.h1_write_buffer_size = Some(size);
        self
    }

    /// How many bytes of a request's body an HTTP/2 client may send ahead on one stream (default 1 MiB).
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(App::new).h2_initial_window_size(64 * 1024);
    /// ```
    pub fn h2_initial_window_size(mut self, size: u32) -> Self {
        self.settings.h2_initial_window_size = Some(size);
        self
    }

    /// The same on all streams of a connection together (default 2 MiB).
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(App::new).h2_initial_connection_window_size(256 * 1024);
    /// ```
    pub fn h2_initial_connection_window_size(mut self, size: u32) -> Self {
        self.settings.h2_initial_connection_window_size = Some(size);
        self
    }

    /// Calls a function before each connection is served, in its worker. What it puts into the [`Extensions`] its requests
    /// find with [`HttpRequest::conn_data`](actix_web::HttpRequest::conn_data).
    ///
    /// The connection is `actix_web::rt::net::TcpStream`; with TLS `actix_tls::accept::rustls_0_23::TlsStream` of that, or
    /// `actix_tls::accept::openssl::TlsStream`; on a unix socket `actix_web::rt::net::UnixStream`. It counts for all listeners,
    /// also those that are bound already.
    ///
    /// # Example
    /// ```
    /// use actix_web::App;
    /// use actix_web::rt::net::TcpStream;
    /// use cluster_actix::HttpServer;
    ///
    /// struct Ttl(u32);
    ///
    /// HttpServer::new(App::new).on_connect(|connection, data| {
    ///     if let Some(tcp) = connection.downcast_ref::<TcpStream>() {
    ///         data.insert(Ttl(tcp.ttl().unwrap_or(0)));
    ///     }
    /// });
    /// ```
    pub fn on_connect<CB>(mut self, f: CB) -> HttpServer<F, I, S, B>
    where
        CB: Fn(&dyn Any, &mut Extensions) + Send + Sync + 'static,
    {
        self.settings.on_connect = Some(Arc::new(f));
        self
    }

    /// The host name of URLs that the application makes, where the request names none (default: the listening address).
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(App::new).server_hostname("shop.example");
    /// ```
    pub fn server_hostname<T: AsRef<str>>(mut self, val: T) -> Self {
        self.settings.hostname = Some(val.as_ref().to_owned());
        self
    }
}
