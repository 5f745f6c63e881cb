//! A worker from inside: the handle that the application holds.
mod draining;
mod logs;
pub(crate) mod messages;

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::eventfd::EventFd;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::birth::hooks::{self, WorkerHooks};
use crate::birth::newborn::error_of;
use crate::conn::listen::BindKey;
use crate::conn::{Acceptor, Reception};
use crate::counter::{Counter, CounterError, Counters};
use crate::error::{AcceptError, BoxError};
use crate::heartbeat::Heart;
use crate::id::{Slot, WorkerId};
use crate::ipc::control::{self, ToPrimary};
use crate::ipc::endpoint::Endpoint;
use crate::life::Life;
use crate::metrics::Metrics;
use crate::scoreboard::Page;
use crate::secret::Secrets;
use crate::sys::page::Mapped;
use crate::sys::readiness;
pub use crate::worker::draining::Draining;
pub(crate) use crate::worker::draining::Moment;
pub use crate::worker::logs::ReopenLogs;

/// This worker process. Cheap to clone; in a handler it is an extractor, elsewhere [`worker()`] gives it.
///
/// # Example
/// ```no_run
/// use cluster_core::Cluster;
/// Cluster::builder().worker(|worker| async move {
///     println!("worker {} in slot {} of {}", worker.id(), worker.slot(), worker.slots());
///     worker.draining().await;
///     Ok(())
/// });
/// ```
#[derive(Clone)]
pub struct Worker {
    inner: Arc<Inner>,
}

struct Inner {
    id: WorkerId,
    slot: Slot,
    slots: usize,
    generation: u64,
    pid: u32,
    life: Arc<Life>,
    lame_duck: Duration,
    wait_for_ready: bool,
    ready: AtomicBool,
    /// The primary has been told how the program ended.
    has_told_end: AtomicBool,
    draining: Moment,
    lame_duck_over: Moment,
    /// How often log files were to be opened anew.
    log_reopens: watch::Sender<u64>,
    /// What a drain waits for.
    tasks: TaskTracker,
    endpoint: Endpoint,
    listeners: Vec<(String, BindKey)>,
    /// None where nobody looks whether it beats.
    heart: Option<Heart>,
    /// None in a fake.
    page: Option<Arc<Mapped<Page>>>,
    counters: Counters,
    /// None in a fake.
    reception: Option<Reception>,
    /// None in a fake.
    control: Option<OwnedFd>,
    /// None in a fake.
    secrets: Option<Secrets>,
    hooks: Mutex<WorkerHooks>,
    /// Its program has begun, or what is called before that is done.
    has_begun: AtomicBool,
}

/// What a worker is made of.
pub(crate) struct Parts {
    pub(crate) id: WorkerId,
    pub(crate) slot: Slot,
    pub(crate) slots: usize,
    pub(crate) generation: u64,
    pub(crate) life: Arc<Life>,
    pub(crate) lame_duck: Duration,
    pub(crate) wait_for_ready: bool,
    pub(crate) listeners: Vec<(String, BindKey)>,
    pub(crate) heart: Option<Heart>,
    pub(crate) page: Option<Arc<Mapped<Page>>>,
    pub(crate) counters: Counters,
    pub(crate) reception: Option<Reception>,
    pub(crate) control: Option<OwnedFd>,
    pub(crate) secrets: Option<Secrets>,
    pub(crate) endpoint: Endpoint,
    pub(crate) hooks: WorkerHooks,
}

static CURRENT: OnceLock<Worker> = OnceLock::new();

/// This process's worker.
///
/// # Panics
/// Outside a worker: in the primary, and in a program that has not started a cluster. [`try_worker`] asks.
///
/// # Example
/// ```no_run
/// async fn handler() -> String {
///     format!("hello from worker {}", cluster_core::worker().id())
/// }
/// ```
pub fn worker() -> Worker {
    try_worker().expect(
        "cluster_core::worker() was called outside a worker: it works in what a worker runs \
         (handlers, serve_with, the worker program); elsewhere ask try_worker() or is_worker()",
    )
}

/// This process's worker, if it is one.
///
/// # Example
/// ```
/// assert!(cluster_core::try_worker().is_none());
/// ```
pub fn try_worker() -> Option<Worker> {
    #[cfg(feature = "testing")]
    if let Some(fake) = crate::testing::fake_of_this_thread() {
        return Some(fake);
    }
    CURRENT.get().cloned()
}

impl Worker {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            inner: Arc::new(Inner {
                id: parts.id,
                slot: parts.slot,
                slots: parts.slots,
                generation: parts.generation,
                pid: std::process::id(),
                life: parts.life,
                lame_duck: parts.lame_duck,
                wait_for_ready: parts.wait_for_ready,
                ready: AtomicBool::new(false),
                has_told_end: AtomicBool::new(false),
                draining: Moment::default(),
                lame_duck_over: Moment::default(),
                log_reopens: watch::Sender::new(0),
                tasks: parts.endpoint.inbox().tasks().clone(),
                endpoint: parts.endpoint,
                listeners: parts.listeners,
                heart: parts.heart,
                page: parts.page,
                counters: parts.counters,
                reception: parts.reception,
                control: parts.control,
                secrets: parts.secrets,
                hooks: Mutex::new(parts.hooks),
                has_begun: AtomicBool::new(false),
            }),
        }
    }

    /// Makes it the answer of `worker()` in this process.
    pub(crate) fn install(&self) {
        let _ = CURRENT.set(self.clone());
        messages::register(self);
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// What a drain waits for.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }

    /// Its number, which no other worker of this cluster ever has.
    ///
    /// # Example
    /// ```no_run
    /// println!("{}", cluster_core::worker().id());
    /// ```
    pub fn id(&self) -> WorkerId {
        self.inner.id
    }

    /// Its place, which its successor takes over.
    ///
    /// # Example
    /// ```no_run
    /// println!("{}", cluster_core::worker().slot());
    /// ```
    pub fn slot(&self) -> Slot {
        self.inner.slot
    }

    /// Its process id.
    ///
    /// # Example
    /// ```no_run
    /// assert_eq!(cluster_core::worker().pid(), std::process::id());
    /// ```
    pub fn pid(&self) -> u32 {
        self.inner.pid
    }

    /// Which run of `main` its code is from; a reload makes the next. Grows from 1.
    ///
    /// # Example
    /// ```no_run
    /// println!("{}", cluster_core::worker().generation());
    /// ```
    pub fn generation(&self) -> u64 {
        self.inner.generation
    }

    /// How many workers there are meant to be: divide pools and limits by it.
    ///
    /// # Example
    /// ```no_run
    /// let connections_to_the_database = 100 / cluster_core::worker().slots();
    /// ```
    pub fn slots(&self) -> usize {
        self.inner.endpoint.outbox().roster.slots().map_or(self.inner.slots, usize::from)
    }

    /// Says that this worker is ready to serve, where the builder was told to
    /// [`wait_for_ready`](crate::Builder::wait_for_ready). Otherwise it is ready once it listens. Calls
    /// after the first do nothing.
    ///
    /// # Example
    /// ```no_run
    /// use cluster_core::Cluster;
    /// Cluster::builder().wait_for_ready().worker(|worker| async move {
    ///     // fill caches ...
    ///     worker.ready();
    ///     worker.draining().await;
    ///     Ok(())
    /// });
    /// ```
    pub fn ready(&self) {
        if self.inner.ready.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(control) = &self.inner.control {
            // A primary that is gone needs no word; the sentinel sees it leave.
            let _ = control::try_send(control.as_fd(), &ToPrimary::Ready);
        }
    }

    /// Ready, unless it is for the application to say so.
    pub(crate) fn listening(&self) {
        if !self.inner.wait_for_ready {
            self.ready();
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.inner.ready.load(Ordering::Acquire)
    }

    /// Counts a request as answered, for [`max_requests`](crate::Builder::max_requests). The adapters do that; a program
    /// on the core alone may.
    ///
    /// # Example
    /// ```no_run
    /// cluster_core::worker().count_request();
    /// ```
    pub fn count_request(&self) {
        if let Some(page) = &self.inner.page {
            page.request_answered();
        }
    }

    pub(crate) fn request_begins(&self) {
        if let Some(page) = &self.inner.page {
            page.request_begins();
        }
    }

    pub(crate) fn request_ends(&self) {
        if let Some(page) = &self.inner.page {
            page.request_ends();
        }
    }

    /// A counter that the whole cluster shares: all workers, past ones included, and the primary's side. The first who
    /// asks makes it.
    ///
    /// # Errors
    /// The name is none: 1 to 64 letters of ASCII, digits and `_`, not a digit first, not `cluster_` at the beginning nor
    /// `_total` at the end. Or there are 256 counters already.
    ///
    /// # Example
    /// ```no_run
    /// # async fn program(worker: cluster_core::Worker) -> Result<(), cluster_core::CounterError> {
    /// let hits = worker.counter("hits")?;
    /// hits.add(1);
    /// println!("{} hits in the whole cluster", hits.get());
    /// # Ok(()) }
    /// ```
    pub fn counter(&self, name: &str) -> Result<Counter, CounterError> {
        self.inner.counters.get(name)
    }

    /// Metrics of the whole cluster, as text in Prometheus' exposition format, version 0.0.4; the guide `docs/metrics.md`
    /// tells each. The primary is asked at the call; what it tells is 20 ms old at the most.
    ///
    /// # Errors
    /// The primary is gone, or does not answer within 5 s.
    ///
    /// # Panics
    /// When polled outside a Tokio runtime with its time driver on.
    ///
    /// # Example
    /// ```no_run
    /// # async fn handler() -> Result<String, cluster_core::MetricsError> {
    /// cluster_core::worker().metrics().await
    /// # }
    /// ```
    pub fn metrics(&self) -> Metrics {
        Metrics::ask(&self.inner.endpoint, self.inner.counters.clone())
    }

    /// Whether the cluster should be sent requests, as far as this worker knows: it is ready, and the cluster does not
    /// stop. A worker that drains alone (a reload, a limit) says yes: others take its place, and a probe that sees it
    /// means the whole service.
    ///
    /// # Example
    /// ```no_run
    /// let status = if cluster_core::worker().is_serving() { 200 } else { 503 };
    /// ```
    pub fn is_serving(&self) -> bool {
        let life = &self.inner.life;
        self.is_ready() && !(life.drains() && (life.closes_queue() || life.is_orphaned()))
    }

    /// Drains, leaves and is replaced. Returns at once.
    ///
    /// # Example
    /// ```no_run
    /// # let cache_is_beyond_repair = true;
    /// if cache_is_beyond_repair {
    ///     cluster_core::worker().retire();
    /// }
    /// ```
    pub fn retire(&self) {
        self.inner.life.leave.store(true, Ordering::Release);
        let _ = self.inner.life.for_sentinel.write(1);
    }

    /// Resolves when this worker is to leave: finish what is open, take nothing new. It is told to, or its program
    /// has ended.
    ///
    /// # Example
    /// ```no_run
    /// # async fn next_job() {}
    /// # async fn work() {
    /// let mut draining = cluster_core::worker().draining();
    /// loop {
    ///     tokio::select! {
    ///         _ = &mut draining => break,
    ///         _ = next_job() => {}
    ///     }
    /// }
    /// # }
    /// ```
    pub fn draining(&self) -> Draining {
        self.inner.draining.wait()
    }

    /// Whether this worker is to leave.
    ///
    /// # Example
    /// ```no_run
    /// if cluster_core::worker().is_draining() {
    ///     // answer 503 to a health check
    /// }
    /// ```
    pub fn is_draining(&self) -> bool {
        self.inner.draining.has_come()
    }

    /// Hears, each time, that log files shall be opened anew: the primary was sent SIGUSR1, after somebody had moved them
    /// away. What came before this call is not heard; what comes again before one has looked is heard once.
    ///
    /// # Example
    /// ```no_run
    /// use futures::StreamExt;
    ///
    /// # fn open_log_anew() {}
    /// # async fn program(worker: cluster_core::Worker) {
    /// let mut moved = worker.reopen_logs();
    /// tokio::spawn(async move {
    ///     while moved.next().await.is_some() {
    ///         open_log_anew();
    ///     }
    /// });
    /// # }
    /// ```
    pub fn reopen_logs(&self) -> ReopenLogs {
        ReopenLogs::of(self.inner.log_reopens.subscribe())
    }

    /// Runs a task that a drain waits for, and the end of the worker's program, up to the drain deadline: so long
    /// after the drain began, or after the program returned (or panicked) of its own accord, the process is killed.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    ///
    /// # Example
    /// ```no_run
    /// # async fn write_audit_log() {}
    /// # async fn handler() {
    /// cluster_core::worker().spawn(write_audit_log());
    /// # }
    /// ```
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.inner.tasks.spawn(task)
    }

    /// Takes connections of the listener with this name.
    ///
    /// # Errors
    /// No listener has the name, or the runtime cannot take the socket.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    ///
    /// # Example
    /// ```no_run
    /// # async fn program(worker: cluster_core::Worker) -> Result<(), cluster_core::AcceptError> {
    /// let mut acceptor = worker.acceptor("http")?;
    /// # Ok(()) }
    /// ```
    pub fn acceptor(&self, listener: &str) -> Result<Acceptor, AcceptError> {
        let named = self.inner.listeners.iter().find(|(name, _)| name == listener);
        let (Some((_, key)), Some(reception)) = (named, &self.inner.reception) else {
            let names: Vec<_> = self.inner.listeners.iter().map(|(name, _)| format!("`{name}`")).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(AcceptError::UnknownListener { asked: listener.to_owned(), known });
        };
        reception
            .acceptor(self.clone(), key)
            .map_err(|source| AcceptError::Socket { listener: listener.to_owned(), source })
    }

    /// For adapters: what all workers of the cluster know and nobody else. None in a fake.
    #[doc(hidden)]
    pub fn secrets(&self) -> Option<&Secrets> {
        self.inner.secrets.as_ref()
    }

    /// For adapters: resolves at the end of the lame duck, the first part of a drain.
    #[doc(hidden)]
    pub fn lame_duck_over(&self) -> Draining {
        self.inner.lame_duck_over.wait()
    }

    /// For adapters that bring their own runtime: passes the sentinel's word on to the application, and beats. Spawn
    /// it on the runtime that serves. It ends with that.
    #[doc(hidden)]
    pub fn attend(&self) -> impl Future<Output = ()> + Send + 'static {
        let worker = self.clone();
        async move {
            // In one task: where an adapter serves on one thread of a runtime with several, that one shall beat.
            tokio::join!(worker.hear_sentinel(), async {
                if let Some(heart) = &worker.inner.heart {
                    heart.beat().await;
                }
            });
        }
    }

    async fn hear_sentinel(&self) {
        let leaves = self.clone();
        if let Err(err) = self.inner.endpoint.start(move || leaves.retire()) {
            crate::event::warn(&format!("worker {} cannot take part in messages: {err}", self.id()));
            self.inner.endpoint.abandon();
        }
        let bell = readiness::watch(self.inner.life.for_runtime.clone());
        let heard = match &bell {
            Ok(bell) => self.hear_until(bell, Life::drains).await.map_err(|err| err.to_string()),
            Err(err) => Err(err.to_string()),
        };
        if let Err(err) = heard {
            crate::event::warn(&format!("worker {} cannot hear its sentinel: {err}", self.id()));
        }
        self.inner.draining.come();
        let endpoint = self.inner.endpoint.clone();
        if self.inner.life.is_orphaned() {
            // Its message socket may be open: nobody is there who would answer.
            endpoint.abandon();
        }
        // A program that reads a stream to its end would otherwise never come to its own.
        tokio::spawn(async move {
            endpoint.catch_up().await;
            endpoint.inbox().close_streams();
        });
        tokio::time::sleep(self.inner.lame_duck).await;
        self.inner.lame_duck_over.come();
        // What is open yet may take long, and writes its log as before.
        if let Ok(bell) = bell {
            let _ = self.hear_until(&bell, |_| false).await;
        }
    }

    /// Passes on what the sentinel says, until `is_over`.
    async fn hear_until(&self, bell: &AsyncFd<Arc<EventFd>>, is_over: fn(&Life) -> bool) -> io::Result<()> {
        let life = &self.inner.life;
        loop {
            let mut rung = bell.readable().await?;
            let _ = life.for_runtime.read();
            rung.clear_ready();
            // AFTER the bell is read: what comes from here on rings it again.
            let count = life.log_reopens();
            self.inner.log_reopens.send_if_modified(|known| std::mem::replace(known, count) != count);
            if is_over(life) {
                return Ok(());
            }
        }
    }

    /// The drain begins, and with it the lame duck.
    #[cfg(feature = "testing")]
    pub(crate) fn begin_drain(&self) {
        self.inner.life.drain(true);
        self.inner.draining.come();
    }

    /// The lame duck ends early: nothing is open that it could serve.
    #[doc(hidden)]
    pub fn end_lame_duck(&self) {
        self.inner.lame_duck_over.come();
    }

    /// Whether what is queued will be lost unless this worker takes it.
    pub(crate) fn closes_queue(&self) -> bool {
        self.inner.life.closes_queue()
    }

    /// For adapters that bring their own runtime: what is to be done before the program. Call it first of all.
    ///
    /// # Errors
    /// That of `on_worker_start`, or its panic: the program must not begin.
    #[doc(hidden)]
    pub async fn begin(&self) -> Result<(), BoxError> {
        let hooks = std::mem::take(&mut self.lock_hooks().start);
        hooks::begin(self, hooks).await?;
        self.inner.has_begun.store(true, Ordering::Release);
        Ok(())
    }

    fn lock_hooks(&self) -> MutexGuard<'_, WorkerHooks> {
        self.inner.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For adapters that bring their own runtime: the program has ended, like this. What it began is finished, and
    /// what it sent has left, whatever the outcome; only the drain deadline ends that sooner. Call it once
    /// [`attend`](Self::attend) runs.
    ///
    /// # Errors
    /// That of the program; its panic goes on.
    #[doc(hidden)]
    pub async fn finish(&self, ended: thread::Result<Result<(), BoxError>>) -> Result<(), BoxError> {
        if !self.is_draining() {
            self.end_unasked(error_of(&ended));
        }
        self.finish_tasks().await;
        ended.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// The program has ended, and nobody had told it to.
    fn end_unasked(&self, error: Option<String>) {
        // BEFORE anything is waited for: that may take until the drain deadline, and the slot must not.
        self.tell_end(error);
        self.inner.life.end();
        // What the program began ends as in a drain: nobody else would tell it to.
        self.inner.draining.come();
        self.inner.lame_duck_over.come();
    }

    /// Hears what is still on the way to this worker, waits for handlers and for what `spawn` began, and sees that
    /// what was sent has left.
    async fn finish_tasks(&self) {
        let endpoint = &self.inner.endpoint;
        endpoint.let_go().await;
        // Also where no drain came before: the program has returned of its own accord.
        endpoint.inbox().close_streams();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        if self.inner.has_begun.load(Ordering::Acquire) {
            let hooks = std::mem::take(&mut self.lock_hooks().stop);
            hooks::end(self, hooks).await;
        }
        endpoint.inbox().end_early(endpoint);
        endpoint.flush().await;
    }

    /// Waits until the sentinel has passed on what the program wrote to standard error: a process that ends
    /// meanwhile would have part of it passed on twice. Not longer than a moment: nobody may read it.
    pub(crate) async fn words_passed_on(&self) {
        const MOMENT: Duration = Duration::from_secs(1);
        if let Ok(bell) = readiness::watch(self.inner.life.passed_on.clone()) {
            let _ = tokio::time::timeout(MOMENT, bell.readable()).await;
        }
    }

    /// The program has ended, and all that it began: tells the primary why, and the sentinel to let the process go.
    pub(crate) fn program_ended(&self, error: Option<String>) {
        self.tell_end(error);
        self.inner.life.finish();
    }

    /// Tells the primary how the program ended, once.
    fn tell_end(&self, error: Option<String>) {
        if self.inner.has_told_end.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(control) = &self.inner.control {
            let message = match error {
                Some(error) if !self.is_ready() => ToPrimary::BootFailed { error },
                error => ToPrimary::Finished { error },
            };
            let _ = control::try_send_with(control.as_fd(), &message, &[]);
        }
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Inner { id, slot, pid, generation, .. } = &*self.inner;
        write!(f, "Worker {{ id: {id}, slot: {slot}, pid: {pid}, generation: {generation} }}")
    }
}
