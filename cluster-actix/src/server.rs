//! A server that is ready to run.
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::FutureExt as _;
use tokio::sync::watch;

use crate::asked::Asked;
use crate::gathering::{Entry, Gathered};
use crate::handle::ServerHandle;
use crate::plan::Plan;

/// A server that is ready to run: `.await` it in an async `main`, or [`join`](Server::join) it in a plain one.
///
/// Servers that are awaited together, by `futures::future::try_join` or tasks of their own, are one cluster whose workers
/// serve them all, because a program can be one cluster only. It has the larger number of workers, and stops as a whole.
/// In a plain `main` [`and`](Server::and) puts them together. One that is awaited later, when the cluster runs, is an error.
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
    /// It stops the actix system at its end.
    stops_system: bool,
    /// Dropped at the end, which those who wait for the end notice.
    not_over: Vec<watch::Sender<()>>,
}

enum State {
    Idle(Box<Plan>, Entry),
    /// It runs, or waits for those that are awaited with it.
    Running(Gathered),
    Over,
}

impl Server {
    pub(crate) fn new(plan: Plan, asked: Asked, stops_system: bool) -> Self {
        let (not_over, over) = watch::channel(());
        Self {
            state: State::Idle(Box::new(plan), Entry::new()),
            handle: ServerHandle::new(asked, over),
            stops_system,
            not_over: vec![not_over],
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
            State::Idle(plan, _) => Ok(plan.ready().run()?),
            State::Running(_) | State::Over => Err(too_late("join()")),
        }
    }

    /// This server and another as one cluster, with the larger number of workers; `.await` or [`join`](Self::join) runs
    /// both. Either's handle stops both.
    ///
    /// What a cluster has once, [`HttpServer::cluster`](crate::HttpServer::cluster) says of this one.
    ///
    /// # Panics
    /// One of them has been awaited.
    ///
    /// # Example
    /// ```no_run
    /// # use actix_web::App;
    /// # use cluster_actix::HttpServer;
    /// fn main() -> std::io::Result<()> {
    ///     let shop = HttpServer::new(App::new).bind("127.0.0.1:3000")?.run();
    ///     let admin = HttpServer::new(App::new).workers(1).bind("127.0.0.1:3001")?.run();
    ///     shop.and(admin).join()
    /// }
    /// ```
    pub fn and(self, other: Self) -> Self {
        let (State::Idle(ours, entry), State::Idle(theirs, _)) = (self.state, other.state) else {
            panic!("and() of a server that has been awaited")
        };
        let mut not_over = self.not_over;
        // Whoever waits for the end of the other waits for that of both.
        not_over.extend(other.not_over);
        Self {
            state: State::Idle(Box::new(ours.joined(*theirs)), entry),
            handle: self.handle,
            stops_system: self.stops_system || other.stops_system,
            not_over,
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

fn too_late(what: &str) -> io::Error {
    let why = format!("{what} of a server that has been awaited: use one of the two");
    io::Error::new(io::ErrorKind::Unsupported, why)
}

impl Future for Server {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::Idle(..) = &self.state
            && let State::Idle(plan, entry) = std::mem::replace(&mut self.state, State::Over)
        {
            self.state = State::Running(entry.gather(*plan));
        }
        let State::Running(running) = &mut self.state else { panic!("`Server` polled after it has ended") };
        let ended = ready!(running.poll_unpin(cx));
        self.state = State::Over;
        self.not_over.clear();
        if self.stops_system
            && let Some(system) = actix_rt::System::try_current()
        {
            system.stop();
        }
        Poll::Ready(ended)
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.state {
            State::Idle(..) => "Server (not started)",
            State::Running(_) => "Server (running)",
            State::Over => "Server (over)",
        })
    }
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
}
