//! The ways to run what the builder built: by fork in a plain `main`, by exec in an async one.
use std::future::{Future, IntoFuture};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread;

use futures::FutureExt;
use futures::future::select;
use nix::unistd::getppid;
use tokio::sync::oneshot;

use crate::birth::arrival::{self, Arrival};
use crate::birth::forkserver::Preparation;
use crate::birth::identity::Identity;
use crate::birth::{descriptor_limit, forkserver, newborn, prepare};
use crate::builder::Builder;
use crate::config::{Besides, Runtime, Settings, Workers};
use crate::conn::listen::{self, BindKey, Place};
use crate::error::{BoxError, Error, StartError};
use crate::event;
use crate::program::{Layout, Program, Programs};
use crate::role::{Role, is_primary, role};
use crate::supervise::driver::{self, Method, Plan};
use crate::worker::Worker;

/// A cluster that is ready to run: `run()` it in a plain `main`, or `.await` it in an async one.
///
/// # Example
/// ```no_run
/// # let cluster = cluster_core::Cluster::builder().worker(|_| async { Ok(()) });
/// cluster.run()?;
/// # Ok::<(), cluster_core::Error>(())
/// ```
#[must_use = "a cluster does nothing until `run()` or `.await`"]
pub struct Ready {
    pub(crate) builder: Builder,
    pub(crate) program: Program,
}

impl Ready {
    /// Runs the cluster until it has stopped. Workers are forked from this process, so it must have one
    /// thread and must not have used Tokio. Only the primary returns.
    ///
    /// # Errors
    /// [`Error::Start`] where it could not start; nothing of it is left then. [`Error::GaveUp`] where no
    /// worker could be kept alive.
    ///
    /// # Example
    /// ```no_run
    /// fn main() -> Result<(), cluster_core::Error> {
    ///     cluster_core::Cluster::builder()
    ///         .worker(|worker| async move { Ok(worker.draining().await) })
    ///         .run()
    /// }
    /// ```
    pub fn run(self) -> Result<(), Error> {
        if tokio::runtime::Handle::try_current().is_ok() {
            return Err(StartError::InsideRuntime.into());
        }
        match arrival::take()? {
            Some(Arrival { control, welcome, belongings: None }) if !welcome.alone => {
                let (builder, programs) = self.take_apart();
                let Layout { blueprint, .. } = builder.lay_out(programs.director.is_some())?;
                let preparation = if welcome.prepare { Preparation::Due } else { Preparation::Done };
                forkserver::serve(control, getppid(), blueprint, programs, preparation)
            }
            Some(_) => Err(mismatch("its primary uses `.await`, this process's main calls run()")),
            None => only_once(|| self.run_primary()),
        }
    }

    fn take_apart(self) -> (Builder, Programs) {
        let Self { mut builder, program } = self;
        let director = std::mem::take(&mut builder.side).into_program();
        let hooks = std::mem::take(&mut builder.hooks);
        (builder, Programs { worker: program, director, hooks })
    }

    fn run_primary(self) -> Result<(), Error> {
        let (builder, programs) = self.take_apart();
        let director = programs.director.is_some();
        event::speak_as(builder.settings.name.as_deref());
        let workers = builder.settings.count_workers()?;
        let Layout { blueprint, schemes } = builder.lay_out(director)?;
        descriptor_limit::raise();
        let besides = Besides::of(director, &blueprint.settings.limits);
        let most_workers = workers.check_descriptors(besides)?;
        let crew = Crew { workers, most_workers, director };
        let (settings, identity) = (blueprint.settings.clone(), blueprint.identity.clone());
        let started = forkserver::start(blueprint, programs)?;
        let plan = Plan::new(settings, identity, crew, schemes, Method::Fork(started));
        let runtime = driver_runtime()?;
        runtime.block_on(driver::supervise(plan, std::future::pending()))
    }

    async fn run_here(self) -> Result<(), Error> {
        match arrival::take()? {
            None => only_once_async(self.await_primary()).await,
            Some(arrival) if arrival.belongings.is_some() => self.be_peer(arrival).await,
            Some(Arrival { control, welcome, belongings: _ }) if welcome.alone => {
                let (builder, programs) = self.take_apart();
                prepare::alone(control, &builder.settings, programs.hooks.prepare).await
            }
            Some(_) => Err(mismatch("its primary calls run(), this process's main uses `.await`")),
        }
    }

    /// Supervises on a thread of its own, so that nothing on the ambient runtime can stall it.
    async fn await_primary(self) -> Result<(), Error> {
        let Self { mut builder, program: _ } = self;
        let director = std::mem::take(&mut builder.side).into_program().is_some();
        if let Some(name) = builder.hooks.of_forks() {
            return Err(StartError::ForkHookWithAwait(name).into());
        }
        let method = Method::Exec { prepares: !builder.hooks.prepare.is_empty() };
        let stop = builder.stop.take().unwrap_or_else(|| std::future::pending().boxed());
        if builder.settings.runtime.is_some() {
            return Err(StartError::RuntimeWithAwait.into());
        }
        event::speak_as(builder.settings.name.as_deref());
        let workers = builder.settings.count_workers()?;
        let Layout { blueprint, schemes } = builder.lay_out(director)?;
        descriptor_limit::raise();
        let besides = Besides::of(director, &blueprint.settings.limits);
        let most_workers = workers.check_descriptors(besides)?;
        let crew = Crew { workers, most_workers, director };
        let plan = Plan::new(blueprint.settings, blueprint.identity, crew, schemes, method);
        let (mut result, end) = oneshot::channel();
        thread::Builder::new()
            .name("cluster".into())
            .spawn(move || {
                let ended = driver_runtime().map_err(Error::from).and_then(|runtime| {
                    let cancelled = select(Box::pin(result.closed()), stop).map(drop);
                    runtime.block_on(driver::supervise(plan, cancelled))
                });
                // Nobody waits where the future was dropped; the cluster has stopped all the same.
                let _ = result.send(ended);
            })
            .map_err(StartError::system("cannot start the supervising thread"))?;
        end.await.unwrap_or_else(|_| Err(Error::Primary(std::io::Error::other("supervision panicked"))))
    }

    /// Runs the worker's, or the director's, program on the ambient runtime.
    async fn be_peer(self, arrival: Arrival) -> Result<(), Error> {
        let (builder, programs) = self.take_apart();
        let Layout { blueprint, .. } = builder.lay_out(programs.director.is_some())?;
        let role = role();
        let comes_late = arrival.welcome.prepare && !programs.hooks.prepare.is_empty();
        let (program, hooks) = programs.of(role)?;
        if comes_late {
            return Err(newborn::refuse(&arrival, StartError::NotPrepared).into());
        }
        let worker = newborn::join_in(arrival, role, &blueprint, hooks)?;
        let result = match program {
            Program::Future(make) => {
                AssertUnwindSafe(newborn::run(worker.clone(), make)).catch_unwind().await
            }
            Program::Blocking(serve) => serve_on_thread(worker.clone(), serve).await,
        };
        worker.program_ended(newborn::error_of(&result));
        worker.words_passed_on().await;
        let failed = if role == Role::Director { Error::Director } else { Error::Worker };
        match result {
            Ok(result) => result.map_err(failed),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// How many processes there shall be.
struct Crew {
    workers: Workers,
    most_workers: u16,
    director: bool,
}

/// Runs a program that blocks on a thread of its own, for the ambient runtime to wait for.
async fn serve_on_thread(
    worker: Worker,
    serve: Box<dyn FnOnce(Worker, Runtime) -> Result<(), BoxError> + Send>,
) -> thread::Result<Result<(), BoxError>> {
    let (done, end) = oneshot::channel();
    let thread =
        thread::Builder::new().name("worker".into()).stack_size(newborn::stack_size()).spawn(move || {
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| serve(worker, Runtime::default())));
            let _ = done.send(result);
        });
    match thread {
        Ok(_) => end.await.unwrap_or_else(|_| Ok(Err("the worker's thread is gone".into()))),
        Err(err) => Ok(Err(err.into())),
    }
}

impl Plan {
    /// Takes the sockets over from the registry.
    fn new(
        settings: Settings,
        identity: Identity,
        crew: Crew,
        schemes: Vec<(BindKey, &'static str)>,
        method: Method,
    ) -> Self {
        let sockets = listen::take();
        let cut = listen::cut(&sockets);
        let mut places = Vec::new();
        for (key, scheme) in &schemes {
            let ours = sockets.iter().filter(|socket| key.is_of(&socket.name));
            places.extend(ours.filter_map(|socket| socket.place.as_ref()).map(|place| match place {
                Place::Tcp(addr) if !scheme.is_empty() => format!("{scheme}://{addr}"),
                Place::Tcp(_) | Place::Unix(_) => place.to_string(),
            }));
        }
        let Crew { workers, most_workers, director } = crew;
        Self { settings, identity, workers, most_workers, director, sockets, cut, places, method }
    }
}

fn driver_runtime() -> Result<tokio::runtime::Runtime, StartError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::system("cannot build the primary's runtime"))
}

fn mismatch(what: &str) -> Error {
    StartError::Mismatch(what.to_owned()).into()
}

/// Whether a cluster of this process runs, or has run.
static STARTED: AtomicBool = AtomicBool::new(false);

fn begin() -> Result<(), StartError> {
    // A child of this program's own making is a primary of its own; a worker is none.
    if !is_primary() || STARTED.swap(true, Ordering::AcqRel) {
        Err(StartError::SecondCluster)
    } else {
        Ok(())
    }
}

/// A cluster that did not start was none: sockets are given back, and another may be tried.
fn settle(result: Result<(), Error>) -> Result<(), Error> {
    if let Err(Error::Start(_)) = &result {
        drop(listen::take());
        STARTED.store(false, Ordering::Release);
    }
    result
}

fn only_once(run: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    begin()?;
    settle(run())
}

async fn only_once_async(run: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    begin()?;
    settle(run.await)
}

impl IntoFuture for Ready {
    type Output = Result<(), Error>;
    type IntoFuture = Running;

    /// Runs the cluster from an async `main`: each worker is this program executed again, and becomes a
    /// worker when it reaches the same `.await`. Returns in the primary and in the workers, after the drain.
    fn into_future(self) -> Running {
        Running(Box::pin(self.run_here()))
    }
}

/// A cluster that runs for as long as this future is awaited; dropped, the cluster stops.
///
/// # Example
/// ```no_run
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), cluster_core::Error> {
///     cluster_core::Cluster::builder().worker(|worker| async move { Ok(worker.draining().await) }).await
/// }
/// ```
#[must_use = "futures do nothing unless awaited"]
pub struct Running(Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>);

impl Future for Running {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Running")
    }
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready").field("builder", &self.builder).finish_non_exhaustive()
    }
}
