//! The builder that users hold: `serve(app).bind(addr).run()`.
mod http;
mod listening;
#[cfg(feature = "tls")]
mod tls;

use std::fmt;
use std::future::{Future, IntoFuture, Ready as Immediately, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use cluster_core::{
    BoxError, Builder, Cluster, Error, Ready, Running, Runtime, Scheduling, StartError, Worker,
};
use futures::future::Either;

use crate::app::App;
use crate::entrance::Plans;
use crate::program::{self, Make, Site};
use crate::settings::Settings;

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
    Serve::new(as_it_makes(make))
}

/// An application that each worker makes.
fn as_it_makes<F, Fut, A, K>(make: F) -> Make
where
    F: FnOnce(Worker) -> Fut + Send + 'static,
    Fut: Future<Output = Result<A, BoxError>> + Send + 'static,
    A: App<K>,
    K: 'static,
{
    Box::new(move |worker, shared, listeners| {
        Box::pin(async move {
            let app = make(worker.clone()).await?;
            program::accept_all(&worker, app, shared, &listeners)
        })
    })
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
    settings: Settings,
}

impl Serve {
    fn new(make: Make) -> Self {
        let sites = vec![Site { make, listeners: Vec::new() }];
        Self { builder: Cluster::builder(), sites, plans: Plans::default(), settings: Settings::default() }
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

    fn ready(self) -> Result<Ready, StartError> {
        let Self { builder, sites, plans, settings } = self;
        if sites[0].listeners.is_empty() {
            return Err(StartError::NoListener);
        }
        // In each run of main, so in each generation: and before there is a worker.
        let opened = plans.open()?;
        Ok(builder.worker(move |worker| program::run(worker, sites, settings, opened)))
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
        f.debug_struct("Serve")
            .field("builder", &self.builder)
            .field("http", &self.settings)
            .finish_non_exhaustive()
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

    #[tokio::test]
    async fn an_app_that_cannot_be_made_is_the_workers_error() {
        let serve = serve_with(|_| async { Err::<Router, _>("no database".into()) });
        let err =
            program::run(cluster_core::testing::worker(), serve.sites, serve.settings, Opened::default())
                .await
                .unwrap_err();
        assert_eq!(err.to_string(), "no database");
    }
}
