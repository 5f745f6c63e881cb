//! The builder that users hold: `serve(app).bind(addr).run()`.
use std::fmt;
use std::future::{Future, IntoFuture, Ready as Immediately, ready};
use std::net::TcpListener;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use cluster_core::adapter::Reach;
use cluster_core::{
    Addr, BoxError, Builder, Cluster, Error, Ready, Running, Runtime, Scheduling, StartError, Worker,
};
use futures::future::Either;

use crate::app::App;
use crate::program;

/// What a worker runs, given the names of its listeners.
type Program = Box<dyn FnOnce(Worker, Vec<String>) -> ProgramFuture + Send>;
type ProgramFuture = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

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
    Serve::new(Box::new(move |worker, listeners| Box::pin(program::run(worker, app, listeners))))
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
    Serve::new(Box::new(move |worker, listeners| {
        Box::pin(async move {
            let app = make(worker.clone()).await?;
            program::run(worker, app, listeners).await
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
    /// Names of the listeners, in the order in which they were asked for.
    listeners: Vec<String>,
    program: Program,
}

impl Serve {
    fn new(program: Program) -> Self {
        Self { builder: Cluster::builder(), listeners: Vec::new(), program }
    }

    /// Listens on an address; several calls, several listeners. Bound at start, once, by the primary. Without
    /// any, the start is [`StartError::NoListener`].
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// cluster_axum::serve(app).bind("127.0.0.1:3000").bind(("::1", 3000));
    /// ```
    pub fn bind(mut self, addr: impl Into<Addr>) -> Self {
        let name = self.name_listener();
        self.builder = self.builder.bind_as(&name, "http", addr.into(), Reach::First);
        self
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
        let name = self.name_listener();
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

    /// How long a worker that stops may take to finish what is open before it is killed (default 25 s).
    ///
    /// A worker that drains accepts nothing more and finishes the requests in flight. Its HTTP/1 responses say
    /// `Connection: close`; connections without a request stay open for one more second, because a request may
    /// be on its way, and are then closed. WebSockets and other upgraded connections are waited for: end them
    /// on [`Worker::draining`]. A worker leaves as soon as nothing is open.
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

    /// `http`, `http-2`, `http-3` and so on.
    fn name_listener(&mut self) -> String {
        let name = match self.listeners.len() {
            0 => "http".to_owned(),
            before => format!("http-{}", before + 1),
        };
        self.listeners.push(name.clone());
        name
    }

    fn ready(self) -> Result<Ready, StartError> {
        let Self { builder, listeners, program } = self;
        if listeners.is_empty() {
            return Err(StartError::NoListener);
        }
        Ok(builder.worker(move |worker| program(worker, listeners)))
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
        assert_eq!(serve.listeners, ["http", "http-2", "http-3"]);
    }

    #[tokio::test]
    async fn an_app_that_cannot_be_made_is_the_workers_error() {
        let serve = serve_with(|_| async { Err::<Router, _>("no database".into()) });
        let err = (serve.program)(cluster_core::testing::worker(), Vec::new()).await.unwrap_err();
        assert_eq!(err.to_string(), "no database");
    }
}
