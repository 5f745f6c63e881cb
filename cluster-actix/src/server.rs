//! A server that is ready to run, and the handle that stops it.
use std::future::{Future, IntoFuture as _, pending};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use cluster_core::{Ready, Running, try_worker};
use futures::FutureExt as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::watch;

/// A server that is ready to run: `.await` it in an async `main`, or [`join`](Server::join) it in a plain one.
///
/// It ends at a signal: TERM or Ctrl-C gracefully, the second of them or QUIT at once. Dropped while it is
/// awaited, the cluster stops gracefully, and nobody waits for that.
///
/// # Example
/// ```no_run
/// use actix_web::{App, web};
/// use cluster_actix::{HttpServer, Server};
///
/// #[actix_web::main]
/// async fn main() -> std::io::Result<()> {
///     let server: Server =
///         HttpServer::new(|| App::new().route("/", web::get().to(|| async { "hello" }))).bind("127.0.0.1:3000")?.run();
///     server.await
/// }
/// ```
#[must_use = "a server does nothing until `.await` or `join()`"]
pub struct Server {
    state: State,
    handle: ServerHandle,
    /// Dropped at the end, which those who wait for the end notice.
    not_over: Option<watch::Sender<()>>,
}

enum State {
    Idle(Box<Ready>),
    Running(Running),
    Over,
}

impl Server {
    pub(crate) fn new(ready: Ready, asked: Asked) -> Self {
        let (not_over, over) = watch::channel(());
        Self {
            state: State::Idle(Box::new(ready)),
            handle: ServerHandle { asked, over },
            not_over: Some(not_over),
        }
    }

    /// Runs the server from a plain `main` until it has stopped. Workers are forked from this process, so it
    /// must have one thread and must not have used Tokio. Only the primary returns.
    ///
    /// # Errors
    /// It could not start, and nothing of it is left; or it gave up on its workers. The error holds a
    /// [`cluster_core::Error`].
    ///
    /// # Example
    /// ```no_run
    /// # use actix_web::{App, web};
    /// # use cluster_actix::HttpServer;
    /// fn main() -> std::io::Result<()> {
    ///     HttpServer::new(|| App::new().route("/", web::get().to(|| async { "hello" })))
    ///         .bind("127.0.0.1:3000")?
    ///         .run()
    ///         .join()
    /// }
    /// ```
    pub fn join(self) -> io::Result<()> {
        match self.state {
            State::Idle(ready) => Ok(ready.run()?),
            State::Running(_) | State::Over => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "join() of a server that has been awaited: use one of the two",
            )),
        }
    }

    /// A handle to stop this server with.
    ///
    /// # Example
    /// ```no_run
    /// # use actix_web::App;
    /// # use cluster_actix::HttpServer;
    /// # async fn work_is_done() {}
    /// #[actix_web::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let server = HttpServer::new(App::new).bind("127.0.0.1:3000")?.run();
    ///     let handle = server.handle();
    ///     if cluster_actix::is_primary() {
    ///         actix_web::rt::spawn(async move {
    ///             work_is_done().await;
    ///             handle.stop(true).await;
    ///         });
    ///     }
    ///     server.await
    /// }
    /// ```
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }
}

impl Future for Server {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::Idle(_) = &self.state
            && let State::Idle(ready) = std::mem::replace(&mut self.state, State::Over)
        {
            self.state = State::Running(ready.into_future());
        }
        let State::Running(running) = &mut self.state else { panic!("`Server` polled after it has ended") };
        let ended = ready!(running.poll_unpin(cx));
        self.state = State::Over;
        self.not_over = None;
        Poll::Ready(ended.map_err(io::Error::from))
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.state {
            State::Idle(_) => "Server (not started)",
            State::Running(_) => "Server (running)",
            State::Over => "Server (over)",
        })
    }
}

/// Stops a [`Server`], from the process that it is called in. Cheap to clone.
///
/// It acts on what this process is. In the primary, which is where an async `main` awaits the server, it stops
/// the cluster. In a worker it stops that worker, which is replaced: `main` runs in each worker, too, and what
/// one of them does must not end the service. To end it from a handler, tell the primary's side.
///
/// actix-web's `pause` and `resume` are not there yet.
///
/// # Example
/// ```no_run
/// use cluster_actix::ServerHandle;
///
/// fn stop_soon(handle: &ServerHandle) {
///     // It takes effect at once; whoever wants to know when it is over awaits what comes back.
///     drop(handle.stop(true));
/// }
/// ```
#[derive(Debug, Clone)]
pub struct ServerHandle {
    asked: Asked,
    over: watch::Receiver<()>,
}

impl ServerHandle {
    /// Stops it: `graceful` finishes what is open first, within the
    /// [`shutdown_timeout`](crate::HttpServer::shutdown_timeout); otherwise connections are cut.
    ///
    /// What comes back resolves in the primary when the [`Server`] has ended, and in a worker at once, because a
    /// drain waits for the handler that might await it. A call before the server is awaited ends it after its start.
    ///
    /// # Example
    /// ```no_run
    /// # async fn f(handle: cluster_actix::ServerHandle) {
    /// handle.stop(true).await;
    /// # }
    /// ```
    pub fn stop(&self, graceful: bool) -> Stopping {
        self.asked.for_stop(if graceful { Stop::Gracefully } else { Stop::AtOnce });
        let mut over = self.over.clone();
        Stopping(Box::pin(async move {
            if try_worker().is_none() {
                // An error says that the server is gone, which is what is waited for.
                let _ = over.changed().await;
            }
        }))
    }
}

/// Resolves when a server has stopped; see [`ServerHandle::stop`]. Dropping it does not take the stop back.
///
/// # Example
/// ```no_run
/// # async fn f(handle: cluster_actix::ServerHandle) {
/// let stopping: cluster_actix::Stopping = handle.stop(true);
/// stopping.await;
/// # }
/// ```
pub struct Stopping(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Future for Stopping {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl std::fmt::Debug for Stopping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stopping")
    }
}

/// What has been asked of a server; it only ever gets more urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    NotAsked,
    Gracefully,
    AtOnce,
}

/// The wish for an end, from the handles to who can fulfil it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    stop: Arc<watch::Sender<Stop>>,
    /// The primary has heard the wish, so it handles signals.
    heard: Arc<AtomicBool>,
}

impl Asked {
    pub(crate) fn new() -> Self {
        Self { stop: Arc::new(watch::Sender::new(Stop::NotAsked)), heard: Arc::default() }
    }

    fn for_stop(&self, stop: Stop) {
        self.stop.send_if_modified(|asked| stop > std::mem::replace(asked, stop.max(*asked)));
        if stop == Stop::AtOnce && self.heard.load(Ordering::SeqCst) {
            insist();
        }
    }

    pub(crate) async fn gracefully(&self) {
        self.until(Stop::Gracefully).await;
    }

    pub(crate) async fn at_once(&self) {
        self.until(Stop::AtOnce).await;
    }

    async fn until(&self, least: Stop) {
        if self.stop.subscribe().wait_for(|asked| *asked >= least).await.is_err() {
            // Not while `self` holds the sender.
            pending().await
        }
    }

    /// For the primary, which polls it once it hears signals: resolves when a graceful stop is asked for, and
    /// sees to it that a stop at once is one.
    pub(crate) async fn of_the_primary(self) {
        self.gracefully().await;
        // BEFORE the second look: a wish that comes in between is seen by one of the two.
        self.heard.store(true, Ordering::SeqCst);
        if *self.stop.borrow() == Stop::AtOnce {
            insist();
        }
    }
}

/// A stop at once is the primary's answer to QUIT.
fn insist() {
    // One's own process is there and may be signalled.
    let _ = kill(Pid::this(), Signal::SIGQUIT);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        let app = actix_web::App::new;
        crate::HttpServer::new(app).bind("127.0.0.1:0").unwrap().run()
    }

    #[test]
    fn a_server_is_what_programs_do_with_actix_webs_own() {
        fn check<T: Future<Output = io::Result<()>> + Send + Unpin + 'static>(_: &T) {}
        fn check_handle<T: Clone + Send + Sync + 'static>(_: &T) {}
        fn check_stopping<T: Future<Output = ()> + Send + Unpin + 'static>(_: &T) {}
        let server = server();
        check(&server);
        check_handle(&server.handle());
        check_stopping(&server.handle().stop(true));
    }

    #[test]
    fn a_stop_resolves_when_the_server_is_gone() {
        // A fresh thread: another test may have lent this one a worker.
        let stopped = std::thread::spawn(|| {
            let server = server();
            let mut stopping = server.handle().stop(true);
            assert_eq!((&mut stopping).now_or_never(), None);
            drop(server);
            stopping.now_or_never()
        });
        assert_eq!(stopped.join().unwrap(), Some(()));
    }

    #[actix_web::test]
    async fn a_stop_in_a_worker_waits_for_nothing() {
        cluster_core::testing::worker();
        let server = server();
        server.handle().stop(true).await;
    }

    #[actix_web::test]
    async fn a_wish_for_an_end_only_gets_more_urgent() {
        let asked = Asked::new();
        assert_eq!(asked.gracefully().now_or_never(), None);
        asked.for_stop(Stop::AtOnce);
        asked.for_stop(Stop::Gracefully);
        assert_eq!(asked.gracefully().now_or_never(), Some(()));
        assert_eq!(asked.at_once().now_or_never(), Some(()));
    }
}
