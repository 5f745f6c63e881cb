//! The builder that users hold: `serve(app).bind(addr).run()`.
#[cfg(feature = "tls")]
mod tls;

use std::fmt;
use std::future::{Future, IntoFuture, Ready as Immediately, ready};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use cluster_core::adapter::{Reach, Wanted};
use cluster_core::{
    Addr, BoxError, Builder, Cluster, Error, Inherited, Ready, Running, Runtime, Scheduling, StartError, Uds,
    Worker,
};
use futures::future::Either;

use crate::app::App;
use crate::entrance::Plans;
use crate::program::{self, Make, Site};

/// Serves an application from several worker processes. Say where with [`Serve::bind`], then
/// [`run()`](Serve::run) it in a plain `main`, or `.await` it in an async one.
///
/// The application is made once, in `main`, and each worker has a copy. Where it must be made inside a worker,
/// because it needs a Tokio runtime or the worker's number, use [`serve_with`].
///
/// # Example
/// ```no_run
/// use axum::{Router, routing::get};
/// fn main() -> Result<(), cluster_axum::Error> {
///     let app = Router::new().route("/", get(|| async { "hello" }));
///     cluster_axum::serve(app).bind("127.0.0.1:3000").run()
/// }
/// ```
pub fn serve<K: 'static>(app: impl App<K>) -> Serve {
    Serve::new(as_it_is(app))
}

/// An application that `main` has made.
fn as_it_is<K: 'static>(app: impl App<K>) -> Make {
    Box::new(move |worker, shared, listeners| {
        Box::pin(async move { program::accept_all(&worker, app, shared, &listeners) })
    })
}

/// Serves the application that `make` makes in each worker, on the runtime that will serve it. A worker whose
/// `make` fails or panics did not boot: the error is in the log, and the worker is tried again as
/// [`Restart`](crate::Restart) says.
///
/// # Example
/// ```no_run
/// use axum::{Router, routing::get};
/// fn main() -> Result<(), cluster_axum::Error> {
///     cluster_axum::serve_with(|worker| async move {
///         let greeting = std::fs::read_to_string("greeting.txt")?;
///         println!("worker {} has read {greeting:?}", worker.id());
///         Ok(Router::new().route("/", get(|| async { greeting })))
///     })
///     .bind("127.0.0.1:3000")
///     .run()
/// }
/// ```
pub fn serve_with<F, Fut, A, K>(make: F) -> Serve
where
    F: FnOnce(Worker) -> Fut + Send + 'static,
    Fut: Future<Output = Result<A, BoxError>> + Send + 'static,
    A: App<K>,
    K: 'static,
{
    Serve::new(Box::new(move |worker, shared, listeners| {
        Box::pin(async move {
            let app = make(worker.clone()).await?;
            program::accept_all(&worker, app, shared, &listeners)
        })
    }))
}

/// An application that is about to be served; see [`serve`].
///
/// # Example
/// ```no_run
/// # let app = axum::Router::new();
/// cluster_axum::serve(app).bind("127.0.0.1:3000").workers(4).run()?;
/// # Ok::<(), cluster_axum::Error>(())
/// ```
#[must_use = "nothing is served until `run()` or `.await`"]
pub struct Serve {
    builder: Builder,
    /// The application; those of `also` are behind it.
    sites: Vec<Site>,
    plans: Plans,
}

impl Serve {
    fn new(make: Make) -> Self {
        Self {
            builder: Cluster::builder(),
            sites: vec![Site { make, listeners: Vec::new() }],
            plans: Plans::default(),
        }
    }

    /// Listens on an address; several calls, several listeners. Bound at start, once, by the primary. Without
    /// any, the start is [`StartError::NoListener`].
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// cluster_axum::serve(app).bind("127.0.0.1:3000").bind(("::1", 3000));
    /// ```
    pub fn bind(self, addr: impl Into<Addr>) -> Self {
        self.listen_to(0, Wanted::Tcp(addr.into(), Reach::First))
    }

    /// Listens on a unix socket; see [`Uds`] for its permissions. Handlers know their clients by
    /// `ConnectInfo<`[`UnixPeer`](crate::UnixPeer)`>`.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// use cluster_axum::Uds;
    /// cluster_axum::serve(app).bind_uds("/run/shop/http.sock").bind_uds(Uds::new("/run/shop/2.sock").mode(0o660));
    /// ```
    pub fn bind_uds(self, path: impl Into<Uds>) -> Self {
        self.listen_to(0, Wanted::Uds(path.into()))
    }

    /// Listens on a socket that the program was started with, by systemd socket activation or what speaks like it;
    /// as [`Builder::inherit`].
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// cluster_axum::serve(app).inherit("web");
    /// ```
    pub fn inherit(self, passed: impl Into<Inherited>) -> Self {
        self.listen_to(0, Wanted::Inherited(passed.into()))
    }

    /// As [`inherit`](Self::inherit) where such a socket was passed, and otherwise as [`bind`](Self::bind).
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// cluster_axum::serve(app).inherit_or_bind(0, "127.0.0.1:3000");
    /// ```
    pub fn inherit_or_bind(self, passed: impl Into<Inherited>, addr: impl Into<Addr>) -> Self {
        self.listen_to(0, Wanted::InheritedOr(passed.into(), addr.into(), Reach::First))
    }

    /// Serves another application on an address of its own, in the same workers: one for operators, or one that
    /// redirects to HTTPS. Several calls, several applications. A drain is one for all of them.
    ///
    /// # Example
    /// ```
    /// use axum::{Router, routing::get};
    /// let app = Router::new().route("/", get(|| async { "hello" }));
    /// let admin = Router::new().route("/health", get(|| async { "fine" }));
    /// cluster_axum::serve(app).bind("0.0.0.0:3000").also(admin, "127.0.0.1:3001");
    /// ```
    pub fn also<K: 'static>(self, app: impl App<K>, addr: impl Into<Addr>) -> Self {
        self.and(as_it_is(app), Wanted::Tcp(addr.into(), Reach::First))
    }

    /// As [`also`](Self::also), on a unix socket.
    ///
    /// # Example
    /// ```
    /// # let (app, admin) = (axum::Router::new(), axum::Router::new());
    /// use cluster_axum::Uds;
    /// cluster_axum::serve(app).bind("0.0.0.0:3000").also_uds(admin, Uds::new("/run/shop/admin.sock").mode(0o600));
    /// ```
    pub fn also_uds<K: 'static>(self, app: impl App<K>, path: impl Into<Uds>) -> Self {
        self.and(as_it_is(app), Wanted::Uds(path.into()))
    }

    /// Listens on a socket that [`bind_tcp`](crate::bind_tcp) made. Any other is an error at start, because
    /// `main` runs more than once and could not bind it again.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// let listener = cluster_axum::bind_tcp("127.0.0.1:0")?;
    /// println!("will serve on {}", listener.local_addr()?);
    /// cluster_axum::serve(app).listen(listener);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn listen(mut self, listener: TcpListener) -> Self {
        let name = self.name_listener(0);
        self.builder = self.builder.listen_as(&name, "http", listener);
        self
    }

    /// Listens on a socket that [`bind_uds`](crate::bind_uds) made; as [`listen`](Self::listen).
    ///
    /// # Example
    /// ```no_run
    /// # let app = axum::Router::new();
    /// cluster_axum::serve(app).listen_uds(cluster_axum::bind_uds("/run/shop/http.sock")?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn listen_uds(mut self, listener: UnixListener) -> Self {
        let name = self.name_listener(0);
        self.builder = self.builder.listen_as(&name, "http", listener);
        self
    }

    /// How many workers (default: the available parallelism, which knows cgroups). The environment overrides
    /// it: `CLUSTER_WORKERS`, else `WEB_CONCURRENCY`. 0 is an error at start.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// cluster_axum::serve(app).workers(4);
    /// ```
    pub fn workers(self, workers: usize) -> Self {
        self.cluster(|builder| builder.workers(workers))
    }

    /// Which worker gets a connection (default: [`Scheduling::Shared`]). A listener may have a rule of its own:
    /// [`Builder::listener_scheduling`] through [`cluster`](Self::cluster); listeners are named `http`, `http-2`,
    /// `http-3` and so on, in their order.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// use cluster_axum::Scheduling;
    /// cluster_axum::serve(app).scheduling(Scheduling::LeastConnections);
    /// ```
    pub fn scheduling(self, scheduling: Scheduling) -> Self {
        self.cluster(|builder| builder.scheduling(scheduling))
    }

    /// The runtime of each worker (default: [`Runtime::current_thread`]). With `.await` the runtime of `main`
    /// serves, and this is an error at start.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// use cluster_axum::Runtime;
    /// cluster_axum::serve(app).runtime(Runtime::multi_thread(2));
    /// ```
    pub fn runtime(self, runtime: Runtime) -> Self {
        self.cluster(|builder| builder.runtime(runtime))
    }

    /// How many connections a worker has open at a time; at least 1 (default: as many as it has descriptors for).
    ///
    /// A worker that has so many takes no more until one has ended: others do. Where none has room clients wait in the
    /// queue, or are refused: [`Builder::overload`]. [`Builder::max_cluster_connections`] limits all workers together,
    /// [`Builder::max_connection_rate`] how fast new ones come. A connection that was upgraded counts until its stream
    /// is dropped.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// use cluster_axum::Overload;
    /// cluster_axum::serve(app).max_connections(10_000).cluster(|builder| builder.overload(Overload::Refuse));
    /// ```
    pub fn max_connections(self, connections: usize) -> Self {
        self.cluster(|builder| builder.max_connections(connections))
    }

    /// How long a worker that stops may take to finish what is open before it is killed (default 25 s).
    ///
    /// A worker that drains accepts nothing more and finishes what its clients have begun to ask. Its HTTP/1 responses say
    /// `Connection: close`; connections without a request stay open for one more second, because a request may
    /// be on its way, and are then closed. Clients of HTTP/2 are told at once (GOAWAY). WebSockets and other upgraded
    /// connections, and responses that stream, are waited for: end them on [`Worker::draining`]. A worker leaves as
    /// soon as nothing is open.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// # use std::time::Duration;
    /// cluster_axum::serve(app).drain_timeout(Duration::from_secs(5));
    /// ```
    pub fn drain_timeout(self, timeout: Duration) -> Self {
        self.cluster(|builder| builder.drain_timeout(timeout))
    }

    /// Everything else that a cluster can be told.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// use cluster_axum::Restart;
    /// cluster_axum::serve(app).cluster(|cluster| cluster.name("shop").restart(Restart::never()));
    /// ```
    pub fn cluster(mut self, configure: impl FnOnce(Builder) -> Builder) -> Self {
        self.builder = configure(self.builder);
        self
    }

    /// Serves until the cluster has stopped. Workers are forked from this process, so it must have one thread
    /// and must not have used Tokio. Only the primary returns.
    ///
    /// # Errors
    /// [`Error::Start`] where it could not start; nothing of it is left then. [`Error::GaveUp`] where no worker
    /// could be kept alive.
    ///
    /// # Example
    /// ```no_run
    /// use std::process::ExitCode;
    /// fn main() -> ExitCode {
    ///     match cluster_axum::serve(axum::Router::new()).bind("127.0.0.1:3000").run() {
    ///         Ok(()) => ExitCode::SUCCESS,
    ///         Err(err) => err.report(), // 70 where the cluster gave up
    ///     }
    /// }
    /// ```
    pub fn run(self) -> Result<(), Error> {
        self.ready()?.run()
    }

    fn and(mut self, make: Make, wanted: Wanted) -> Self {
        let site = self.add_site(make);
        self.listen_to(site, wanted)
    }

    fn add_site(&mut self, make: Make) -> usize {
        self.sites.push(Site { make, listeners: Vec::new() });
        self.sites.len() - 1
    }

    fn listen_to(mut self, site: usize, wanted: Wanted) -> Self {
        let name = self.name_listener(site);
        self.builder = self.builder.listen_to(&name, "http", wanted);
        self
    }

    /// `http`, `http-2`, `http-3` and so on.
    fn name_listener(&mut self, site: usize) -> String {
        let name = match self.sites.iter().map(|site| site.listeners.len()).sum() {
            0 => "http".to_owned(),
            before => format!("http-{}", before + 1),
        };
        self.sites[site].listeners.push(name.clone());
        name
    }

    fn ready(self) -> Result<Ready, StartError> {
        let Self { builder, sites, plans } = self;
        if sites[0].listeners.is_empty() {
            return Err(StartError::NoListener);
        }
        // In each run of main, so in each generation: and before there is a worker.
        let opened = plans.open()?;
        Ok(builder.worker(move |worker| program::run(worker, sites, opened)))
    }
}

impl IntoFuture for Serve {
    type Output = Result<(), Error>;
    type IntoFuture = Serving;

    /// Serves from an async `main`: each worker is this program executed again, and serves when it reaches the
    /// same `.await`. Returns in the primary and in the workers, after the drain.
    fn into_future(self) -> Serving {
        Serving(match self.ready() {
            Ok(cluster) => Either::Left(cluster.into_future()),
            Err(err) => Either::Right(ready(Err(err.into()))),
        })
    }
}

impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("builder", &self.builder).finish_non_exhaustive()
    }
}

/// Serves for as long as it is awaited; dropped, the cluster stops. What `.await` on a [`Serve`] makes.
///
/// # Example
/// ```no_run
/// # async fn f(app: axum::Router) {
/// let serving: cluster_axum::Serving = cluster_axum::serve(app).bind("127.0.0.1:3000").into_future();
/// tokio::time::timeout(std::time::Duration::from_secs(60), serving).await.ok();
/// # }
/// ```
#[must_use = "futures do nothing unless awaited"]
pub struct Serving(Either<Running, Immediately<Result<(), Error>>>);

impl Future for Serving {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Serving")
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;

    use crate::entrance::Opened;

    use super::*;

    fn app() -> Router {
        Router::new()
    }

    #[test]
    fn what_users_hold_may_go_to_other_threads() {
        fn is_send<T: Send + 'static>(_: &T) {}
        let serve = serve(app()).bind("127.0.0.1:0");
        is_send(&serve);
        is_send(&serve.into_future());
    }

    #[tokio::test]
    async fn serving_nowhere_says_what_is_missing() {
        assert!(matches!(serve(app()).await, Err(Error::Start(StartError::NoListener))));
    }

    #[test]
    fn running_nowhere_says_what_is_missing() {
        let err = serve(app()).run().unwrap_err();
        assert!(err.to_string().contains(".bind("), "{err}");
    }

    #[test]
    fn each_listener_has_a_name_of_its_own() {
        let listener = cluster_core::bind_tcp("127.0.0.1:0").unwrap();
        let serve = serve(app()).bind("127.0.0.1:0").listen(listener).bind("127.0.0.1:0");
        assert_eq!(serve.sites[0].listeners, ["http", "http-2", "http-3"]);
        let serve = serve.also(app(), "127.0.0.1:0").bind_uds("a.sock").also_uds(app(), "b.sock");
        assert_eq!(serve.sites[0].listeners, ["http", "http-2", "http-3", "http-5"]);
        assert_eq!((&*serve.sites[1].listeners[0], &*serve.sites[2].listeners[0]), ("http-4", "http-6"));
    }

    #[tokio::test]
    async fn an_app_that_cannot_be_made_is_the_workers_error() {
        let serve = serve_with(|_| async { Err::<Router, _>("no database".into()) });
        let err =
            program::run(cluster_core::testing::worker(), serve.sites, Opened::default()).await.unwrap_err();
        assert_eq!(err.to_string(), "no database");
    }
}
