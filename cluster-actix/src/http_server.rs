//! The builder, with actix-web's own generics and bounds.
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use actix_http::body::MessageBody;
use actix_http::{KeepAlive, Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::Error;
use actix_web::dev::AppConfig;
use cluster_core::adapter::{self, BACKLOG, BindKey, Reach, Wanted};
use cluster_core::{Addr, BoxError, Builder, Cluster, Inherited, Scheduling, Uds, Worker};

use crate::connection::{Settings, connections};
use crate::program::{self, Listener};
use crate::server::{Asked, Server};

/// As actix-web has it.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// As actix-web has it.
const MAX_CONNECTIONS: usize = 25_600;

/// An HTTP server of several worker processes, to be used as `actix_web::HttpServer` is.
///
/// # Example
/// ```no_run
/// use actix_web::{App, web};
/// use cluster_actix::HttpServer;
///
/// #[actix_web::main]
/// async fn main() -> std::io::Result<()> {
///     HttpServer::new(|| App::new().route("/", web::get().to(|| async { "hello" })))
///         .workers(4)
///         .bind(("127.0.0.1", 8080))?
///         .run()
///         .await
/// }
/// ```
#[must_use = "a server does nothing until `.run().await` or `.run().join()`"]
pub struct HttpServer<F, I, S, B>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig>,
    S::Error: Into<Error>,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>>,
    B: MessageBody,
{
    factory: F,
    settings: Settings,
    backlog: u32,
    listeners: Vec<(Listener, Source)>,
    cluster: Builder,
    _phantom: PhantomData<(S, B)>,
}

enum Source {
    Bound(BindKey),
    Given(OwnedFd),
}

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
    /// Begins with the application's factory, which runs in each worker once per listening address.
    ///
    /// A factory that panics, or whose application fails to start, fails the worker's boot.
    ///
    /// # Example
    /// ```
    /// use actix_web::App;
    /// let server = cluster_actix::HttpServer::new(|| App::new());
    /// ```
    pub fn new(factory: F) -> Self {
        Self {
            factory,
            settings: Settings::default(),
            backlog: BACKLOG,
            listeners: Vec::new(),
            cluster: Cluster::builder().drain_timeout(SHUTDOWN_TIMEOUT).max_connections(MAX_CONNECTIONS),
            _phantom: PhantomData,
        }
    }

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

    /// How many connections a worker has open at a time (default 25,600, as in actix-web); at least 1.
    ///
    /// A worker that has so many takes no more until one has ended: others do. Where none has room clients wait in the
    /// queue, or are refused: [`Builder::overload`]. [`Builder::max_cluster_connections`] limits all workers together.
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

    /// How long a client may take to send the head of its first request before it is answered 408 (default
    /// 5 s). Zero switches it off.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// # use std::time::Duration;
    /// cluster_actix::HttpServer::new(|| App::new()).client_request_timeout(Duration::from_secs(10));
    /// ```
    pub fn client_request_timeout(mut self, dur: Duration) -> Self {
        self.settings.client_request_timeout = dur;
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
        self.settings.client_disconnect_timeout = dur;
        self
    }

    /// How many seconds a worker that stops may take to finish what is open before it is killed (default 30).
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(|| App::new()).shutdown_timeout(10);
    /// ```
    pub fn shutdown_timeout(mut self, sec: u64) -> Self {
        self.cluster = self.cluster.drain_timeout(Duration::from_secs(sec));
        self
    }

    /// Which worker gets a connection (default: [`Scheduling::Shared`](crate::Scheduling::Shared)). A listener may
    /// have a rule of its own: [`Builder::listener_scheduling`] through [`cluster`](Self::cluster); listeners are
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

    /// Sets what actix-web has no name for, on the builder of the cluster.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// use cluster_actix::{HttpServer, Restart};
    /// HttpServer::new(|| App::new()).cluster(|cluster| cluster.name("shop").restart(Restart::never()));
    /// ```
    pub fn cluster(mut self, f: impl FnOnce(Builder) -> Builder) -> Self {
        self.cluster = f(self.cluster);
        self
    }

    /// Has an async function run in each worker before its applications are made; see [`Builder::on_worker_start`]. Any
    /// number, one after the other. Its future is `Send`, and runs on the worker's own thread.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// use cluster_actix::{HttpServer, Worker};
    /// HttpServer::new(|| App::new()).on_worker_start(|worker: Worker| async move {
    ///     println!("worker {} begins", worker.id());
    ///     Ok(())
    /// });
    /// ```
    pub fn on_worker_start<H, Fut>(mut self, hook: H) -> Self
    where
        H: FnOnce(Worker) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.cluster = self.cluster.on_worker_start(hook);
        self
    }

    /// The addresses that are bound so far. Unix sockets have none; actix-web lists each as `127.0.0.1:8080`.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// let server = cluster_actix::HttpServer::new(App::new).bind("127.0.0.1:0")?;
    /// assert_ne!(server.addrs()[0].port(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.listeners.iter().flat_map(|(listener, _)| listener.addrs.iter().flatten().copied()).collect()
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
        self.listen_to(Wanted::Tcp(addrs.into(), Reach::All))?;
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
        self.listen_to(Wanted::Uds(uds_path.into()))?;
        Ok(self)
    }

    /// Listens on a socket that the program was started with, by systemd socket activation or what speaks like it;
    /// as [`Builder::inherit`].
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
        self.listen_to(Wanted::Inherited(passed.into()))?;
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
        self.listen_to(Wanted::InheritedOr(passed.into(), addrs.into(), Reach::All))?;
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
        self.add(vec![Some(lst.local_addr()?)], Source::Given(lst.into()));
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
        self.add(vec![None], Source::Given(lst.into()));
        Ok(self)
    }

    fn listen_to(&mut self, wanted: Wanted) -> io::Result<()> {
        let (key, addrs) = adapter::bind(&adapter::with_backlog(wanted, self.backlog))?;
        self.add(addrs, Source::Bound(key));
        Ok(())
    }

    fn add(&mut self, addrs: Vec<Option<SocketAddr>>, source: Source) {
        let name = format!("http-{}", self.listeners.len() + 1);
        self.listeners.push((Listener { name, addrs }, source));
    }

    /// The server, which starts when it is awaited or joined.
    ///
    /// # Panics
    /// Without a listener, as actix-web's own.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// let server = cluster_actix::HttpServer::new(App::new).bind("127.0.0.1:0")?.run();
    /// let handle = server.handle();
    /// # drop((server, handle));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn run(self) -> Server {
        let Self { factory, settings, backlog: _, listeners, mut cluster, _phantom } = self;
        assert!(
            !listeners.is_empty(),
            "Server should have at least one bound socket: call bind(..) before run()"
        );
        let mut sites = Vec::new();
        for (listener, source) in listeners {
            cluster = match source {
                Source::Bound(key) => cluster.bound_as(&listener.name, "http", key),
                Source::Given(socket) => cluster.listen_as(&listener.name, "http", socket),
            };
            sites.push(listener);
        }
        let asked = Asked::new();
        let heard = asked.clone();
        let ready =
            cluster.stop_when(asked.clone().of_the_primary()).worker_blocking(move |worker, runtime| {
                program::run(worker, &runtime, &sites, heard, async |addr, worker| {
                    connections::<F, I, S, B>(&factory, &settings, addr, worker).await
                })
            });
        Server::new(ready, asked)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::{TestRequest, call_and_read_body, init_service};
    use actix_web::{App, web};
    use cluster_core::{Worker, testing};

    use super::*;

    async fn hello(worker: Worker) -> String {
        format!("hello from worker {} in slot {}", worker.id(), worker.slot())
    }

    #[actix_web::test]
    async fn the_worker_is_an_extractor() {
        testing::worker();
        let app = init_service(App::new().route("/", web::get().to(hello))).await;
        let body = call_and_read_body(&app, TestRequest::get().uri("/").to_request()).await;
        assert_eq!(body, "hello from worker 1 in slot 0");
    }

    #[test]
    fn the_worker_outside_of_one_is_an_error_that_says_so() {
        // A fresh thread: another test may have lent this one a worker.
        let body = std::thread::spawn(|| {
            actix_rt::System::new().block_on(async {
                let app = init_service(App::new().route("/", web::get().to(hello))).await;
                call_and_read_body(&app, TestRequest::get().uri("/").to_request()).await
            })
        });
        let body = body.join().unwrap();
        assert!(body.starts_with(b"this handler runs outside a worker"), "{body:?}");
    }

    #[test]
    fn an_address_that_is_taken_is_named_at_bind() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        let Err(err) = HttpServer::new(App::new).bind(addr) else { panic!("bound twice") };
        assert_eq!(err.kind(), io::ErrorKind::AddrInUse);
        assert!(err.to_string().contains(&addr.to_string()), "{err}");
    }

    #[test]
    fn each_address_of_each_bind_is_known_before_the_start() {
        let server = HttpServer::new(App::new).bind("127.0.0.1:0").unwrap().bind(("127.0.0.1", 0)).unwrap();
        let addrs = server.addrs();
        assert_eq!(addrs.len(), 2);
        assert_ne!(addrs[0], addrs[1]);
    }

    #[test]
    fn all_addresses_of_a_name_are_bound_and_have_one_port() {
        use std::net::ToSocketAddrs;
        let server = HttpServer::new(App::new).bind("localhost:0").unwrap();
        let mut bound: Vec<_> = server.addrs().iter().map(SocketAddr::ip).collect();
        let mut known: Vec<_> = "localhost:0".to_socket_addrs().unwrap().map(|addr| addr.ip()).collect();
        bound.sort();
        known.sort();
        known.dedup();
        // A name may have addresses of a family that this machine has not.
        known.retain(|ip| TcpListener::bind((*ip, 0)).is_ok());
        assert_eq!(bound, known);
        assert!(server.addrs().iter().all(|addr| addr.port() == server.addrs()[0].port()));
    }

    #[test]
    #[should_panic(expected = "at least one bound socket")]
    fn a_server_without_a_listener_is_refused() {
        drop(HttpServer::new(App::new).run());
    }

    #[test]
    fn zero_workers_are_refused_at_start() {
        let server = HttpServer::new(App::new).workers(0).bind("127.0.0.1:0").unwrap().run();
        let err = server.join().unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::InvalidInput);
        assert!(err.to_string().contains("0 workers"), "{err}");
    }
}
