//! The handle of a server, from the process that it is used in.
use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use cluster_core::{adapter, is_primary, try_worker};
use tokio::sync::watch;

use crate::asked::{Asked, Stop};

/// Stops a [`Server`](crate::Server), from the process that it is called in. Cheap to clone.
///
/// It acts on what this process is. In the primary, which is where an async `main` awaits the server, it stops
/// the cluster. In a worker it stops that worker, which is replaced: `main` runs in each worker, too, and what
/// one of them does must not end the service. To end it from a handler, tell the primary's side, whose code has
/// [`ClusterHandle::stop`](cluster_core::ClusterHandle::stop): in the director, the process that runs it, this does nothing.
///
/// [`pause`](Self::pause) and [`resume`](Self::resume) are for workers alone.
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
    pub(crate) fn new(asked: Asked, over: watch::Receiver<()>) -> Self {
        Self { asked, over }
    }

    /// In a worker: it takes no more connections; others do, and where all are paused clients wait in the queue. Those that
    /// are open are served on. Called twice it is one pause. A drain ends it: what is queued is served then.
    ///
    /// In the primary it does nothing, and says so in the log: to tell all workers is for the primary's side, by a message
    /// whose handler calls this. What comes back resolves at once.
    ///
    /// # Example
    /// ```no_run
    /// # async fn rebuild_index() {}
    /// # async fn f(handle: cluster_actix::ServerHandle) {
    /// handle.pause().await;
    /// rebuild_index().await;
    /// handle.resume().await;
    /// # }
    /// ```
    pub fn pause(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.ask_for_pause(true, "pause");
        ready(())
    }

    /// Ends a [`pause`](Self::pause).
    ///
    /// # Example
    /// ```no_run
    /// # async fn f(handle: cluster_actix::ServerHandle) {
    /// handle.resume().await;
    /// # }
    /// ```
    pub fn resume(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.ask_for_pause(false, "resume");
        ready(())
    }

    fn ask_for_pause(&self, pause: bool, what: &str) {
        if try_worker().is_some() {
            self.asked.for_pause(pause);
        } else {
            adapter::warn(&format!("{what}() of a ServerHandle does nothing outside a worker"));
        }
    }

    /// Stops it: `graceful` finishes what is open first, within the
    /// [`shutdown_timeout`](crate::HttpServer::shutdown_timeout); otherwise connections are cut.
    ///
    /// What comes back resolves in the primary when the [`Server`](crate::Server) has ended, and elsewhere at once: a worker's
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
            if is_primary() && try_worker().is_none() {
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
