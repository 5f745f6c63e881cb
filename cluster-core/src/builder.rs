//! The builder: collects what a cluster is to be.
mod hooks;
mod process;
mod renewal;

use std::future::Future;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::addr::Addr;
use crate::birth::hooks::Hooks;
use crate::birth::identity::Identity;
use crate::cluster::Ready;
use crate::config::{HangLimit, Restart, Runtime, Settings, bounded};
use crate::conn::listen::{self, BindKey, Wanted};
use crate::conn::{Inherited, Overload, Reach, Uds};
use crate::director::PrimarySide;
use crate::error::{BoxError, StartError};
use crate::event::{Event, Exit};
use crate::handle::{ClusterHandle, WorkerRef};
use crate::ipc::handler::{self, Handler, Returns};
use crate::ipc::message::Ask;
use crate::ipc::shape::{self, Unsupported};
use crate::ipc::{queue, request};
use crate::program::{Blueprint, Layout, MakeFuture, Program};
use crate::role::{Role, role};
use crate::scheduling::Scheduling;
use crate::worker::Worker;

/// Sockets that fit into one welcome: the kernel lets a message carry 253 descriptors, and their names must
/// fit into its packet.
const MAX_SOCKETS: usize = 200;
/// So many bytes may these names have together; the rest of the packet is for numbers.
const MAX_NAMES: usize = 24 * 1024;

/// A program that runs as several processes on one port.
///
/// # Example
/// ```no_run
/// use cluster_core::Cluster;
/// use tokio::io::AsyncWriteExt;
///
/// fn main() -> Result<(), cluster_core::Error> {
///     Cluster::builder()
///         .bind("hello", "127.0.0.1:7000")
///         .worker(|worker| async move {
///             let mut acceptor = worker.acceptor("hello")?;
///             while let Some(mut connection) = acceptor.accept().await {
///                 connection.write_all(format!("hello from {}\n", worker.id()).as_bytes()).await.ok();
///             }
///             Ok(())
///         })
///         .run()
/// }
/// ```
#[derive(Debug)]
pub struct Cluster(());

impl Cluster {
    /// Begins with the defaults: one worker per core.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().workers(4);
    /// ```
    pub fn builder() -> Builder {
        Builder {
            settings: Settings::default(),
            listeners: Vec::new(),
            schedulings: Vec::new(),
            stop: None,
            side: PrimarySide::default(),
            hooks: Hooks::default(),
            unsupported: None,
        }
    }
}

/// Collects what a cluster is to be.
///
/// # Example
/// ```
/// use cluster_core::Cluster;
/// use std::time::Duration;
/// Cluster::builder().name("shop").workers(4).drain_timeout(Duration::from_secs(10)).bind("http", "127.0.0.1:3000");
/// ```
#[must_use = "a builder does nothing until its cluster runs"]
pub struct Builder {
    pub(crate) settings: Settings,
    listeners: Vec<Listener>,
    /// Of listeners that are scheduled by a rule of their own.
    schedulings: Vec<(String, Scheduling)>,
    /// Resolves when the process that awaits the cluster asks for its end.
    pub(crate) stop: Option<BoxFuture<'static, ()>>,
    /// What runs on the primary's side; the cluster has a director where there is any.
    pub(crate) side: PrimarySide,
    /// What is called at a birth and before an end.
    pub(crate) hooks: Hooks,
    /// A handler was given for a type that cannot be carried.
    unsupported: Option<String>,
}

/// A listener that was asked for.
struct Listener {
    name: String,
    scheme: &'static str,
    source: Source,
}

enum Source {
    Wanted(Wanted),
    Given(OwnedFd),
    Key(BindKey),
}

impl Builder {
    /// The name before its lines on standard error (default: `cluster`).
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().name("shop");
    /// ```
    pub fn name(mut self, name: &str) -> Self {
        self.settings.name = Some(name.to_owned());
        self
    }

    /// How many workers (default: the available parallelism, which knows cgroups). The environment
    /// overrides it: `CLUSTER_WORKERS`, else `WEB_CONCURRENCY`. 0 is an error at start.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().workers(4);
    /// ```
    pub fn workers(mut self, workers: usize) -> Self {
        self.settings.workers = Some(workers);
        self
    }

    /// The runtime of each worker (default: [`Runtime::current_thread`]). With `.await` the runtime of
    /// `main` serves, and this is an error at start.
    ///
    /// # Example
    /// ```
    /// use cluster_core::{Cluster, Runtime};
    /// Cluster::builder().runtime(Runtime::multi_thread(2));
    /// ```
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.settings.runtime = Some(runtime);
        self
    }

    /// When and how often a worker that ended unasked is replaced (default: see [`Restart`]).
    ///
    /// # Example
    /// ```
    /// use cluster_core::{Cluster, Restart};
    /// Cluster::builder().restart(Restart::never());
    /// ```
    pub fn restart(mut self, restart: Restart) -> Self {
        self.settings.restart = restart;
        self
    }

    /// How long a worker may take to be ready before it is killed (default 60 s).
    ///
    /// # Example
    /// ```
    /// # use std::time::Duration;
    /// cluster_core::Cluster::builder().boot_timeout(Duration::from_secs(5));
    /// ```
    pub fn boot_timeout(mut self, timeout: Duration) -> Self {
        self.settings.boot_timeout = bounded(timeout);
        self
    }

    /// How long a worker that stops may take to finish what is open before it is killed (default 25 s).
    ///
    /// # Example
    /// ```
    /// # use std::time::Duration;
    /// cluster_core::Cluster::builder().drain_timeout(Duration::from_secs(5));
    /// ```
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.settings.drain_timeout = bounded(timeout);
        self
    }

    /// How long a worker that drains keeps idle connections of HTTP/1 open (default 1 s): a request may be on its way on
    /// them, and the answer says `Connection: close`. HTTP/2 is told at its start (GOAWAY). A part of the drain timeout, which
    /// ends it too.
    ///
    /// # Example
    /// ```
    /// # use std::time::Duration;
    /// cluster_core::Cluster::builder().lame_duck(Duration::from_secs(5));
    /// ```
    pub fn lame_duck(mut self, time: Duration) -> Self {
        self.settings.lame_duck = bounded(time);
        self
    }

    /// How long the runtime of a worker, or of the director, may stand still before its process is killed and
    /// replaced (default 30 s; `None`: for ever). Less than 100 ms counts as 100 ms.
    ///
    /// A runtime stands still while code on it loops or blocks without an `.await` that yields; a handler that waits,
    /// however long, is no trouble. One with several threads turns for as long as any of them turns it (which a thread
    /// that blocks bare of `block_in_place` may prevent: Tokio lets one wait for sockets and timers on behalf of all).
    /// With `.await` it is the runtime of `main`. After 1 s and 5 s there is a warning
    /// ([`Event::WorkerStalled`](crate::Event::WorkerStalled),
    /// [`DirectorStalled`](crate::Event::DirectorStalled)); at the limit the process ends with
    /// [`ExitReason::Hung`](crate::ExitReason::Hung), which counts as a crash. Before that it has up to 5 s to say in which
    /// functions its threads are ([`Exit::trace`](crate::Exit::trace)).
    ///
    /// It is asked of processes that are ready and do not drain: a boot and a drain have their own limits. A process
    /// that is stopped (SIGSTOP), traced (a debugger) or writes a core dump is left alone, and so are all when the
    /// primary itself did not run, or the machine was suspended: they begin anew.
    ///
    /// # Example
    /// ```
    /// use cluster_core::Cluster;
    /// use std::time::Duration;
    /// Cluster::builder().hang_timeout(Duration::from_secs(10));
    /// Cluster::builder().hang_timeout(None);
    /// ```
    pub fn hang_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.hang = timeout.into().map(HangLimit::of);
        self
    }

    /// A worker is ready when it calls [`Worker::ready`] (default: when it first accepts).
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().wait_for_ready();
    /// ```
    pub fn wait_for_ready(mut self) -> Self {
        self.settings.wait_for_ready = true;
        self
    }

    /// Which worker gets a connection (default: [`Scheduling::Shared`]), for all listeners that have no rule of
    /// their own.
    ///
    /// # Example
    /// ```
    /// use cluster_core::{Cluster, Scheduling};
    /// Cluster::builder().scheduling(Scheduling::RoundRobin);
    /// ```
    pub fn scheduling(mut self, scheduling: Scheduling) -> Self {
        self.settings.scheduling = scheduling;
        self
    }

    /// Which worker gets a connection of the listener with this name. A name that no listener has is an error at
    /// start.
    ///
    /// # Example
    /// ```
    /// use cluster_core::{Cluster, Scheduling};
    /// Cluster::builder()
    ///     .bind("chat", "127.0.0.1:3001")
    ///     .listener_scheduling("chat", Scheduling::LeastConnections);
    /// ```
    pub fn listener_scheduling(mut self, listener: &str, scheduling: Scheduling) -> Self {
        self.schedulings.push((listener.to_owned(), scheduling));
        self
    }

    /// How many connections a worker has open at a time; at least 1. The default: as many as it has descriptors for.
    ///
    /// A worker that has so many takes no more until one has ended: others do. Where none has room,
    /// [`overload`](Self::overload) says what becomes of further clients. A connection counts until its
    /// [`Connection`](crate::Connection), or [`OpenConnection`](crate::OpenConnection), is dropped. When the whole
    /// cluster stops, what is queued is served only as far as there is room.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().workers(4).max_connections(10_000); // 40,000 in all
    /// ```
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.limits.worker = Some(connections.max(1) as u64);
        self
    }

    /// How many connections all workers have open together; at least 1. The default: no limit.
    ///
    /// There are never more, also where workers are killed: what one of them had is free as soon as it has ended. A
    /// connection that the primary has accepted and not handed over yet counts
    /// ([`Scheduling::RoundRobin`], [`Scheduling::LeastConnections`]).
    ///
    /// # Example
    /// ```
    /// // As many as the database behind it has places for.
    /// cluster_core::Cluster::builder().max_cluster_connections(200);
    /// ```
    pub fn max_cluster_connections(mut self, connections: usize) -> Self {
        self.settings.limits.cluster = Some(connections.max(1) as u64);
        self
    }

    /// How many new connections a worker takes per second; at least 1, and up to a tenth of them at once. The
    /// default: no limit.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().workers(4).max_connection_rate(500); // 2,000 per second in all
    /// ```
    pub fn max_connection_rate(mut self, per_second: u32) -> Self {
        self.settings.limits.rate = Some(per_second.max(1));
        self
    }

    /// What becomes of connections above the limits (default [`Overload::Wait`]).
    ///
    /// # Example
    /// ```
    /// use cluster_core::{Cluster, Overload};
    /// Cluster::builder().max_connections(10_000).overload(Overload::Refuse);
    /// ```
    pub fn overload(mut self, overload: Overload) -> Self {
        self.settings.limits.overload = overload;
        self
    }

    /// No lines about what happens (default: one per event, to the tracing subscriber, or where none is set
    /// to standard error). Errors still come back from `run()`.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().quiet();
    /// ```
    pub fn quiet(mut self) -> Self {
        self.settings.quiet = true;
        self
    }

    /// Listens on an address; workers ask for it by `name`. Bound at start, once, by the primary.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().bind("http", "127.0.0.1:3000").bind("admin", ("127.0.0.1", 3001));
    /// ```
    pub fn bind(self, name: &str, addr: impl Into<Addr>) -> Self {
        self.listen_to(name, "", Wanted::Tcp(addr.into(), Reach::First))
    }

    /// Listens on a unix socket; workers ask for it by `name`. Made at start, once, by the primary, and removed when
    /// the cluster has stopped; see [`Uds`].
    ///
    /// # Example
    /// ```
    /// use cluster_core::{Cluster, Uds};
    /// Cluster::builder()
    ///     .bind_uds("http", "/run/shop/http.sock")
    ///     .bind_uds("admin", Uds::new("/run/shop/admin.sock").mode(0o600));
    /// ```
    pub fn bind_uds(self, name: &str, path: impl Into<Uds>) -> Self {
        self.listen_to(name, "", Wanted::Uds(path.into()))
    }

    /// Listens on a socket that the program was started with, by systemd socket activation or what speaks like it;
    /// see [`Inherited`]. Workers ask for it by `name`. Where no such one was passed, the start is an error.
    ///
    /// Such a socket is only lent: when the cluster stops, its queue stays open, and what waits in it is served by
    /// the next run. A restart of the whole service refuses nobody.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().inherit("http", "web").inherit("admin", 1);
    /// ```
    pub fn inherit(self, name: &str, passed: impl Into<Inherited>) -> Self {
        self.listen_to(name, "", Wanted::Inherited(passed.into()))
    }

    /// As [`inherit`](Self::inherit) where such a socket was passed, and otherwise as [`bind`](Self::bind): for a
    /// program that runs under systemd, and on a developer's machine without it.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().inherit_or_bind("http", "web", "127.0.0.1:3000");
    /// ```
    pub fn inherit_or_bind(self, name: &str, passed: impl Into<Inherited>, addr: impl Into<Addr>) -> Self {
        self.listen_to(name, "", Wanted::InheritedOr(passed.into(), addr.into(), Reach::First))
    }

    /// Listens on a socket that [`bind_tcp`](crate::bind_tcp) made. Any other is an error at start, because
    /// `main` runs more than once and could not bind it again.
    ///
    /// # Example
    /// ```
    /// let listener = cluster_core::bind_tcp("127.0.0.1:0")?;
    /// cluster_core::Cluster::builder().listen("http", listener);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn listen(self, name: &str, listener: TcpListener) -> Self {
        self.listener(name, "", Source::Given(listener.into()))
    }

    /// Listens on a socket that [`bind_uds`](crate::bind_uds) made; as [`listen`](Self::listen).
    ///
    /// # Example
    /// ```no_run
    /// let listener = cluster_core::bind_uds("/run/shop/http.sock")?;
    /// cluster_core::Cluster::builder().listen_uds("http", listener);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn listen_uds(self, name: &str, listener: UnixListener) -> Self {
        self.listener(name, "", Source::Given(listener.into()))
    }

    /// The program of each worker. It is ready when it first accepts, and a drain waits for it to return and
    /// for what it spawned with [`Worker::spawn`].
    ///
    /// One that returns (or panics) unasked ends its worker: [`draining()`](Worker::draining) resolves, handlers at
    /// work and spawned tasks have until the drain deadline, and what was sent is delivered. Where that takes more
    /// than half a second the worker counts as draining ([`Leave::Ended`](crate::Leave::Ended)) and has a successor,
    /// unless the restart policy has to see its exit code first.
    ///
    /// # Example
    /// ```
    /// use cluster_core::Cluster;
    /// let cluster = Cluster::builder().worker(|worker| async move {
    ///     worker.draining().await;
    ///     Ok(())
    /// });
    /// ```
    pub fn worker<F, Fut>(self, program: F) -> Ready
    where
        F: FnOnce(Worker) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        // Made inside the future: a panic of `program` itself is one of the worker's.
        let make: MakeFuture = Box::new(move |worker| Box::pin(async move { program(worker).await }));
        Ready { builder: self, program: Program::Future(make) }
    }

    /// Runs a program on the primary's side, beside the supervision; it may be sync or async. Node's code
    /// under `if (cluster.isPrimary)`.
    ///
    /// It runs in a process of its own, the director, together with all handlers and callbacks of the builder:
    /// whatever it does, workers serve on; if it crashes it begins again. At a stop it goes on until the last
    /// worker has ended, and is waited for after that where it has asked for
    /// [`stopping`](ClusterHandle::stopping). An error or panic of it is logged, and ends nothing. A second
    /// call replaces the first.
    ///
    /// # Example
    /// ```
    /// use cluster_core::{Cluster, ClusterHandle};
    /// use std::time::Duration;
    /// Cluster::builder().primary(|cluster: ClusterHandle| async move {
    ///     loop {
    ///         tokio::time::sleep(Duration::from_secs(60)).await;
    ///         let _ = cluster.broadcast(&"a minute has passed".to_string()).await;
    ///     }
    /// });
    /// ```
    pub fn primary<F, R, K>(mut self, program: F) -> Self
    where
        F: FnOnce(ClusterHandle) -> R + Send + 'static,
        R: Returns<K>,
    {
        self.side.program = Some(handler::program(program));
        self
    }

    /// Has a function called, on the primary's side, for every message of its type that a worker sends; Node's
    /// `cluster.on('message')`. Any number per type; see [`Worker::on_message`].
    ///
    /// A message type that cannot be carried is an error at start.
    ///
    /// # Example
    /// ```
    /// use cluster_core::{Cluster, WorkerRef};
    /// Cluster::builder()
    ///     .on_message(|text: String| println!("a worker says {text}"))
    ///     .on_message(|from: WorkerRef, text: String| async move { from.send(&text).await });
    /// ```
    pub fn on_message<A: 'static>(mut self, handler: impl Handler<WorkerRef, A>) -> Self {
        self.check(queue::supports(&handler));
        self.side.handlers.push(Box::new(move |cluster| {
            let sender = cluster.clone();
            let registered = queue::handle(cluster.endpoint(), handler, move |from| sender.sender(from));
            debug_assert!(registered.is_ok(), "the builder has checked it");
        }));
        self
    }

    /// Answers questions of one type that workers ask the primary's side; see [`Worker::on_ask`].
    ///
    /// A type of question or answer that cannot be carried is an error at start.
    ///
    /// # Example
    /// ```
    /// use cluster_core::{Ask, Cluster, WorkerRef};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Double(u64);
    /// impl Ask for Double {
    ///     type Answer = u64;
    /// }
    ///
    /// Cluster::builder().on_ask(|_: WorkerRef, Double(number)| async move {
    ///     number.checked_mul(2).ok_or("too large")
    /// });
    /// ```
    pub fn on_ask<Q: Ask, F, Fut, E>(mut self, answer: F) -> Self
    where
        F: Fn(WorkerRef, Q) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Q::Answer, E>> + Send + 'static,
        E: std::fmt::Display + 'static,
    {
        self.check(shape::key_of::<Q>().and_then(|_| shape::key_of::<Q::Answer>()).map(drop));
        self.side.handlers.push(Box::new(move |cluster| {
            let asker = cluster.clone();
            let registered =
                request::answer::<_, Q, _, _, _>(cluster.endpoint(), answer, move |from| asker.sender(from));
            debug_assert!(registered.is_ok(), "the builder has checked it");
        }));
        self
    }

    /// Has a function called, on the primary's side, for every worker that ends; Node's `cluster.on('exit')`.
    /// Any number; each is called for one exit at a time, in order, after handlers have done with all that the
    /// worker had sent; a handler that takes over a second for that is not waited for.
    ///
    /// While it is at work on one exit, up to 1,024 wait for it. Further ones are dropped until it has come through
    /// half of these, and a line in the log says how many.
    ///
    /// # Example
    /// ```
    /// use cluster_core::{Cluster, Exit};
    /// Cluster::builder().on_exit(|exit: Exit| {
    ///     if !exit.is_planned() {
    ///         eprintln!("ALERT {exit}");
    ///     }
    /// });
    /// ```
    pub fn on_exit<F, R, K>(mut self, callback: F) -> Self
    where
        F: Fn(Exit) -> R + Send + Sync + 'static,
        R: Returns<K>,
    {
        self.side.on_exit.push(handler::callback(callback));
        self
    }

    /// Has a function called, on the primary's side, for everything that happens. Any number; each is called
    /// for one event at a time, in order.
    ///
    /// While it is at work on one event, up to 1,024 wait for it. Further ones are dropped until it has come
    /// through half of these; in their place it is told [`Event::EventsLost`] with their number, and a line in the
    /// log says the same.
    ///
    /// # Example
    /// ```
    /// use cluster_core::{Cluster, Event};
    /// Cluster::builder().on_event(|event: Event| println!("{event}"));
    /// ```
    pub fn on_event<F, R, K>(mut self, callback: F) -> Self
    where
        F: Fn(Event) -> R + Send + Sync + 'static,
        R: Returns<K>,
    {
        self.side.on_event.push(handler::callback(callback));
        self
    }

    /// The first type that cannot be carried is told at start.
    fn check(&mut self, supported: Result<(), Unsupported>) {
        if let (Err(err), None) = (supported, &self.unsupported) {
            self.unsupported = Some(err.to_string());
        }
    }

    /// For adapters: where to listen, with its scheme.
    #[doc(hidden)]
    pub fn listen_to(self, name: &str, scheme: &'static str, wanted: Wanted) -> Self {
        self.listener(name, scheme, Source::Wanted(wanted))
    }

    /// For adapters: a socket of `bind_tcp` or `bind_uds` with its scheme.
    #[doc(hidden)]
    pub fn listen_as(self, name: &str, scheme: &'static str, listener: impl Into<OwnedFd>) -> Self {
        self.listener(name, scheme, Source::Given(listener.into()))
    }

    /// For adapters: what `adapter::bind` bound.
    #[doc(hidden)]
    pub fn bound_as(self, name: &str, scheme: &'static str, key: BindKey) -> Self {
        self.listener(name, scheme, Source::Key(key))
    }

    /// For adapters of frameworks with a runtime of their own.
    #[doc(hidden)]
    pub fn worker_blocking<F>(self, program: F) -> Ready
    where
        F: FnOnce(Worker, Runtime) -> Result<(), BoxError> + Send + 'static,
    {
        Ready { builder: self, program: Program::Blocking(Box::new(program)) }
    }

    /// For adapters: stops the cluster gracefully when `stop` resolves. It is polled by the supervising thread
    /// of the exec method once that hears signals; in the fork method nobody is left in the primary to ask.
    #[doc(hidden)]
    pub fn stop_when(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.stop = Some(stop.boxed());
        self
    }

    /// For adapters: how long each of the secrets that all workers know is the newest (default 6 h, at least 100 ms); the
    /// primary's word counts until it ends.
    #[doc(hidden)]
    pub fn rotate_secrets_every(mut self, time: Duration) -> Self {
        self.settings.secret_rotation = time;
        self
    }

    fn listener(mut self, name: &str, scheme: &'static str, source: Source) -> Self {
        self.listeners.push(Listener { name: name.to_owned(), scheme, source });
        self
    }

    /// Binds what is not bound yet.
    pub(crate) fn lay_out(self) -> Result<Layout, StartError> {
        if let Some(why) = self.unsupported {
            return Err(StartError::UnsupportedMessage(why));
        }
        let identity = match role() {
            Role::Primary | Role::ForkServer => Identity::resolve(&self.settings.process)?,
            // Executed, it has become what it is to be before its main began, and may not be able to look names up.
            Role::Worker | Role::Director => Identity::default(),
        };
        let mut listeners: Vec<(String, BindKey)> = Vec::new();
        let mut schemes = Vec::new();
        for Listener { name, scheme, source } in self.listeners {
            if listeners.iter().any(|(taken, _)| *taken == name) {
                return Err(StartError::DuplicateName(name));
            }
            let key = match source {
                Source::Wanted(wanted) => listen::bind(&wanted)?.0,
                Source::Given(listener) => listen::key_of(listener.as_fd())?,
                Source::Key(key) => key,
            };
            schemes.push((key.clone(), scheme));
            listeners.push((name, key));
        }
        for (_, key) in &listeners {
            listen::schedule(key, self.settings.scheduling);
        }
        for (name, scheduling) in self.schedulings {
            let known = listeners.iter().find(|(listener, _)| *listener == name);
            let (_, key) = known.ok_or_else(|| StartError::UnknownListener(name.clone()))?;
            listen::schedule(key, scheduling);
        }
        let (sockets, bytes) = listen::count();
        if sockets > MAX_SOCKETS {
            return Err(StartError::TooManyListeners { sockets, limit: MAX_SOCKETS });
        }
        if bytes > MAX_NAMES {
            return Err(StartError::LongAddresses { bytes, limit: MAX_NAMES });
        }
        Ok(Layout { blueprint: Blueprint { settings: self.settings, listeners, identity }, schemes })
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
