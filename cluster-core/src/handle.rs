//! The cluster as its primary side sees it: `ClusterHandle`, for code that runs in the director.
mod events;
mod replies;
mod worker_ref;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::events::Events;
use self::events::Teller;
use self::replies::Replies;
pub use self::replies::{Done, Reloading};
pub use self::worker_ref::WorkerRef;
use crate::command::Command;
use crate::counter::{Counter, CounterError, Counters};
use crate::error::{CommandError, ReloadError};
use crate::event::{Event, ListenerStatus, Status, WorkerCounts};
use crate::id::{Slot, WorkerId};
use crate::ipc::control::FromDirector;
use crate::ipc::endpoint::Endpoint;
use crate::ipc::error::SendError;
use crate::ipc::frame::Address;
use crate::ipc::message::{Ask, Message};
use crate::ipc::request::Asking;
use crate::ipc::router::worker_of;
use crate::ipc::sending::{Broadcasting, Sending};
use crate::metrics::Metrics;
use crate::peer::To;
use crate::worker::{Draining, Moment};

/// The cluster as its primary side sees it. Cheap to clone; from [`Builder::primary`](crate::Builder::primary)
/// and [`WorkerRef::cluster`].
///
/// # Example
/// ```no_run
/// use cluster_core::Cluster;
/// Cluster::builder().primary(|cluster| async move {
///     println!("{} workers", cluster.workers().len());
///     cluster.broadcast(&"hello".to_string()).await
/// });
/// ```
#[derive(Clone)]
pub struct ClusterHandle {
    inner: Arc<Inner>,
}

struct Inner {
    endpoint: Endpoint,
    counters: Counters,
    status: Mutex<Status>,
    /// The last workers that have ended: messages of theirs may still be handled.
    ended: Mutex<VecDeque<(WorkerId, Slot, u32)>>,
    events: Teller,
    stopping: Moment,
    /// Somebody has asked when the cluster stops.
    asked_for_stopping: AtomicBool,
    replies: Replies,
}

/// So many workers that have ended are remembered.
const ENDED: usize = 256;

impl ClusterHandle {
    pub(crate) fn new(endpoint: Endpoint, counters: Counters) -> Self {
        let inner = Inner {
            replies: Replies::new(endpoint.me()),
            endpoint,
            counters,
            status: Mutex::default(),
            ended: Mutex::default(),
            events: Teller::new(),
            stopping: Moment::default(),
            asked_for_stopping: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// The workers that there are, by their numbers: those that start and those that drain, too.
    ///
    /// # Example
    /// ```no_run
    /// # async fn program(cluster: cluster_core::ClusterHandle) -> Result<(), cluster_core::SendError> {
    /// for worker in cluster.workers() {
    ///     worker.send(&"report".to_string()).await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn workers(&self) -> Vec<WorkerRef> {
        self.lock_status()
            .workers
            .iter()
            .map(|known| self.worker_ref(known.id, known.slot, known.pid))
            .collect()
    }

    /// How the cluster stands, as far as this process has heard. What is counted is told when it has changed, at most
    /// every 100 ms.
    ///
    /// # Example
    /// ```no_run
    /// # fn program(cluster: cluster_core::ClusterHandle) {
    /// let status = cluster.status();
    /// println!("{} of {} workers", status.workers.len(), status.slots);
    /// # }
    /// ```
    pub fn status(&self) -> Status {
        self.lock_status().clone()
    }

    /// A counter that the whole cluster shares; see [`Worker::counter`](crate::Worker::counter).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Example
    /// ```no_run
    /// # fn program(cluster: cluster_core::ClusterHandle) -> Result<(), cluster_core::CounterError> {
    /// println!("{} hits", cluster.counter("hits")?.get());
    /// # Ok(()) }
    /// ```
    pub fn counter(&self, name: &str) -> Result<Counter, CounterError> {
        self.inner.counters.get(name)
    }

    /// Metrics of the whole cluster; see [`Worker::metrics`](crate::Worker::metrics).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    ///
    /// # Example
    /// ```no_run
    /// # async fn push(_: String) {}
    /// # async fn program(cluster: cluster_core::ClusterHandle) -> Result<(), cluster_core::MetricsError> {
    /// push(cluster.metrics().await?).await;
    /// # Ok(()) }
    /// ```
    pub fn metrics(&self) -> Metrics {
        Metrics::ask(&self.inner.endpoint, self.inner.counters.clone())
    }

    /// What happens from now on. A stream that is not read misses what is older than 1,024 events, and is told
    /// so by [`Event::EventsLost`].
    ///
    /// It does not end by itself. A program that reads it is dropped when the last worker has ended; one that has
    /// asked for [`stopping`](Self::stopping) is waited for, and must stop reading of itself.
    ///
    /// # Example
    /// ```no_run
    /// use futures::StreamExt;
    /// # async fn program(cluster: cluster_core::ClusterHandle) {
    /// let mut events = cluster.events();
    /// while let Some(event) = events.next().await {
    ///     println!("{event}");
    /// }
    /// # }
    /// ```
    pub fn events(&self) -> Events {
        self.inner.events.stream()
    }

    /// Resolves when the cluster begins to stop. A primary-side program that has asked for this is waited for
    /// at the end, up to the drain deadline; any other ends when the last worker has.
    ///
    /// # Example
    /// ```no_run
    /// # async fn write_report() {}
    /// # async fn program(cluster: cluster_core::ClusterHandle) {
    /// cluster.stopping().await;
    /// write_report().await;
    /// # }
    /// ```
    pub fn stopping(&self) -> Draining {
        self.inner.asked_for_stopping.store(true, Ordering::Release);
        self.inner.stopping.wait()
    }

    /// Sends a message to a worker or to several; see [`Worker::send_to`](crate::Worker::send_to).
    ///
    /// # Errors
    /// As there, and [`SendError::ToItself`] for [`To::Primary`].
    ///
    /// # Example
    /// ```no_run
    /// # use cluster_core::{ClusterHandle, SendError, Slot};
    /// # async fn program(cluster: ClusterHandle) -> Result<(), SendError> {
    /// cluster.send_to(Slot(0), &"hello".to_string()).await
    /// # }
    /// ```
    pub fn send_to<T: Message>(&self, to: impl Into<To>, message: &T) -> Sending {
        match to.into() {
            To::Primary => Sending::failed(SendError::ToItself),
            to => Sending::send(&self.inner.endpoint, to.into(), message),
        }
    }

    /// Sends a message to all workers; see [`Worker::broadcast`](crate::Worker::broadcast).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Example
    /// ```no_run
    /// # use cluster_core::{ClusterHandle, SendError};
    /// # async fn program(cluster: ClusterHandle) -> Result<(), SendError> {
    /// let delivery = cluster.broadcast(&"hello".to_string()).await?;
    /// println!("{} workers will hear it", delivery.reached);
    /// # Ok(()) }
    /// ```
    pub fn broadcast<T: Message>(&self, message: &T) -> Broadcasting {
        Broadcasting::send(&self.inner.endpoint, Address::Everyone, message)
    }

    /// Asks a worker; see [`Worker::ask`](crate::Worker::ask).
    ///
    /// # Errors
    /// As there, and [`SendError::ToItself`] for [`To::Primary`].
    ///
    /// # Example
    /// ```no_run
    /// # use cluster_core::{Ask, AskError, ClusterHandle, Slot};
    /// # async fn program<Q: Ask>(cluster: ClusterHandle, question: Q) -> Result<(), AskError> {
    /// let answer = cluster.ask(Slot(0), &question).await?;
    /// # Ok(()) }
    /// ```
    pub fn ask<Q: Ask>(&self, to: impl Into<To>, question: &Q) -> Asking<Q::Answer> {
        match to.into() {
            To::Primary => Asking::failed(SendError::ToItself),
            to => Asking::ask(&self.inner.endpoint, to.into(), question),
        }
    }

    /// Has so many workers from now on. Done when all new ones serve, or when all that were too many have
    /// drained and ended.
    ///
    /// # Errors
    /// [`CommandError`]: 0, more than the primary can have, the cluster stops, a later `scale` counts.
    ///
    /// # Example
    /// ```no_run
    /// # use cluster_core::{ClusterHandle, CommandError};
    /// # async fn program(cluster: ClusterHandle) -> Result<(), CommandError> {
    /// cluster.scale(8).await
    /// # }
    /// ```
    pub fn scale(&self, workers: usize) -> Done {
        // More than that is refused by the primary, which knows its limit.
        self.command(Command::Scale { workers: u16::try_from(workers).unwrap_or(u16::MAX) })
    }

    /// Replaces the worker of a slot: it drains, and a successor starts at once. Done when that serves.
    ///
    /// # Errors
    /// [`CommandError`]: no such slot, the cluster stops, the successor ended before it served.
    ///
    /// # Example
    /// ```no_run
    /// # use cluster_core::{ClusterHandle, CommandError, Slot};
    /// # async fn program(cluster: ClusterHandle) -> Result<(), CommandError> {
    /// cluster.restart(Slot(0)).await
    /// # }
    /// ```
    pub fn restart(&self, slot: Slot) -> Done {
        self.command(Command::Restart { slot })
    }

    /// Replaces all workers, and then the director, by ones of the program as its file is now, and loses no request: as
    /// SIGHUP to the primary does.
    ///
    /// A new fork server is executed (with `.await`, a worker), and one worker of the new program is tried beside the
    /// others. When that has served for [`reload_health`](crate::Builder::reload_health) the workers are replaced slot
    /// by slot, each newcomer serving before its predecessor drains. Resolves when all are replaced; what is left of
    /// the old generation may still drain. The director is replaced last, so whoever has asked is told before it leaves.
    /// One that is asked for during another begins after that, once for all who have asked.
    ///
    /// # Errors
    /// [`ReloadError::Failed`] where the file is missing or cannot be executed, or where the new program ends, does not
    /// get ready within the [`boot_timeout`](crate::Builder::boot_timeout), or does not live through the health time:
    /// all workers are of the old generation then. [`ReloadError::Stopping`], [`ReloadError::Gone`].
    ///
    /// # Example
    /// ```no_run
    /// # async fn program(cluster: cluster_core::ClusterHandle) {
    /// if let Err(err) = cluster.reload().await {
    ///     eprintln!("not reloaded: {err}");
    /// }
    /// # }
    /// ```
    pub fn reload(&self) -> Reloading {
        let (id, reloading) = self.inner.replies.expect_reload();
        if let Some(id) = id {
            self.inner.endpoint.say(&FromDirector::Command { id, command: Command::Reload });
        }
        reloading
    }

    /// Stops the cluster gracefully. Done when all workers have ended; the end of this process is next.
    ///
    /// # Errors
    /// [`CommandError::Gone`] where the primary is.
    ///
    /// # Example
    /// ```no_run
    /// # use cluster_core::{ClusterHandle, CommandError};
    /// # async fn program(cluster: ClusterHandle) -> Result<(), CommandError> {
    /// cluster.stop().await
    /// # }
    /// ```
    pub fn stop(&self) -> Done {
        self.command(Command::Stop)
    }

    fn command(&self, command: Command) -> Done {
        let (id, done) = self.inner.replies.expect();
        if let Some(id) = id {
            self.inner.endpoint.say(&FromDirector::Command { id, command });
        }
        done
    }

    // ----- what the director hears

    pub(crate) fn is_asked_for_stopping(&self) -> bool {
        self.inner.asked_for_stopping.load(Ordering::Acquire)
    }

    pub(crate) fn worker_ref(&self, id: WorkerId, slot: Slot, pid: u32) -> WorkerRef {
        WorkerRef { id, slot, pid, cluster: self.clone() }
    }

    /// The sender of a message.
    pub(crate) fn sender(&self, sender: Address) -> WorkerRef {
        // Nobody but workers sends to the primary's side.
        let id = worker_of(sender).unwrap_or(WorkerId(0));
        let living = {
            let status = self.lock_status();
            let at = status.workers.binary_search_by_key(&id, |known| known.id);
            at.ok().map(|at| (status.workers[at].slot, status.workers[at].pid))
        };
        let known = living.or_else(|| {
            let ended = self.inner.ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.iter().find(|(known, ..)| *known == id).map(|(_, slot, pid)| (*slot, *pid))
        });
        let (slot, pid) = known.unwrap_or((Slot(0), 0));
        self.worker_ref(id, slot, pid)
    }

    pub(crate) fn stands(&self, status: Status) {
        if status.stopping {
            self.inner.stopping.come();
        }
        self.lock_status().replace(status);
    }

    pub(crate) fn counted(&self, counts: Vec<(WorkerId, WorkerCounts)>) {
        self.lock_status().count(counts);
    }

    pub(crate) fn listens(&self, number: u16, listener: ListenerStatus) {
        self.lock_status().listens(number, listener);
    }

    pub(crate) fn happened(&self, event: &Event) {
        if let Event::WorkerExited(exit) = event {
            let mut ended = self.inner.ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.truncate(ENDED - 1);
            ended.push_front((exit.worker, exit.slot, exit.pid));
        }
        let stopping = {
            let mut status = self.lock_status();
            status.apply(event);
            status.stopping
        };
        if stopping {
            self.inner.stopping.come();
        }
        self.inner.events.tell(event);
    }

    pub(crate) fn replied(&self, id: u64, result: Result<(), CommandError>) {
        self.inner.replies.replied(id, result);
    }

    pub(crate) fn reloaded(&self, id: u64, result: Result<(), ReloadError>) {
        self.inner.replies.reloaded(id, result);
    }

    /// Nobody will reply any more: who waits is told so.
    pub(crate) fn over(&self) {
        self.inner.replies.over();
        self.inner.stopping.come();
    }

    fn lock_status(&self) -> MutexGuard<'_, Status> {
        self.inner.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for ClusterHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterHandle").field("status", &self.status()).finish_non_exhaustive()
    }
}
