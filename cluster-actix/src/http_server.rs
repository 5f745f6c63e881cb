//! The builder, with actix-web's own generics and bounds.
mod binding;
mod secured;
mod settings;
mod stopping;

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::time::Duration;

use actix_http::body::MessageBody;
use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::Error;
use actix_web::dev::AppConfig;
use cluster_core::adapter::{BACKLOG, BindKey};
use cluster_core::{BoxError, Builder, Cluster, Worker};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;

use crate::asked::Asked;
use crate::connection::{Address, Connections, connections};
use crate::plan::Plan;
use crate::program::{Apps, Listener, Serving};
use crate::server::Server;
use crate::settings::Settings;

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
    threads: usize,
    blocking: Option<usize>,
    stops_system: bool,
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
            threads: 1,
            blocking: None,
            stops_system: false,
            _phantom: PhantomData,
        }
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
        let Self { factory, settings, listeners, mut cluster, .. } = self;
        assert!(
            !listeners.is_empty(),
            "Server should have at least one bound socket: call bind(..) before run()"
        );
        let mut sites = Vec::new();
        for (listener, source) in listeners {
            let scheme = listener.transport.scheme();
            cluster = match source {
                Source::Bound(key) => cluster.bound_as(&listener.name, scheme, key),
                Source::Given(socket) => cluster.listen_as(&listener.name, scheme, socket),
            };
            sites.push(listener);
        }
        let asked = Asked::new();
        // What the factory makes need not live as long as it does; what that becomes has to.
        let factory = move || factory().into_factory();
        let apps = AppsOf { factory, settings, _phantom: PhantomData };
        let serving = Serving {
            listeners: sites,
            apps: vec![Box::new(apps)],
            asked: vec![asked.clone()],
            threads: self.threads,
            blocking: self.blocking,
        };
        Server::new(Plan { builder: cluster, serving }, asked, self.stops_system)
    }
}

/// Makes the applications of a server.
struct AppsOf<F, S, B> {
    factory: F,
    settings: Settings,
    // None of these is in it.
    _phantom: PhantomData<fn() -> (S, B)>,
}

impl<F, S, B> Apps for AppsOf<F, S, B>
where
    F: Fn() -> S + Send + Clone + 'static,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    fn make<'a>(
        &'a self,
        address: Address<'a>,
        worker: &'a Worker,
    ) -> LocalBoxFuture<'a, Result<Connections, BoxError>> {
        connections::<F, S, S, B>(&self.factory, &self.settings, address, worker).boxed_local()
    }

    fn copy(&self) -> Box<dyn Apps> {
        let Self { factory, settings, _phantom } = self;
        Box::new(Self { factory: factory.clone(), settings: settings.clone(), _phantom: PhantomData })
    }
}

#[cfg(test)]
mod tests;
