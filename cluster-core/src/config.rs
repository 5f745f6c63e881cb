//! Settings: what the builder collects, what the environment overrides, and what is refused.
mod process;
mod renewal;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fmt, fs, io, thread};

use nix::sys::resource::{self, getrlimit};

pub use self::process::{Account, Resource};
pub(crate) use self::process::{By, Limit, ProcessSettings};
pub(crate) use self::renewal::{Recycling, Rollout};
use crate::conn::{Limits, listen};
use crate::error::StartError;
use crate::scheduling::Scheduling;
use crate::secret::ROTATION;

/// The Tokio runtime that a worker of the fork method builds. The default is one thread.
///
/// # Example
/// ```
/// use cluster_core::{Cluster, Runtime};
/// Cluster::builder().workers(2).runtime(Runtime::multi_thread(2));
/// ```
#[derive(Clone)]
pub struct Runtime(Flavor);

/// What makes a runtime.
type Build = dyn Fn() -> io::Result<tokio::runtime::Runtime> + Send + Sync;

#[derive(Clone)]
enum Flavor {
    CurrentThread,
    MultiThread(usize),
    Custom(Arc<Build>),
}

impl Runtime {
    /// One thread per worker: a busy handler stalls its worker, and no other.
    ///
    /// # Example
    /// ```
    /// cluster_core::Runtime::current_thread();
    /// ```
    pub fn current_thread() -> Self {
        Self(Flavor::CurrentThread)
    }

    /// `threads` threads per worker, at least 1. Needs the feature `rt-multi-thread` of tokio, which a
    /// program that names Tokio's multi-thread runtime has.
    ///
    /// # Example
    /// ```
    /// cluster_core::Runtime::multi_thread(4);
    /// ```
    pub fn multi_thread(threads: usize) -> Self {
        Self(Flavor::MultiThread(threads.max(1)))
    }

    /// The runtime that `build` makes in each worker. An error or panic fails the worker's boot. It needs Tokio's
    /// I/O and timers (`enable_all()`): without timers it has no heartbeat, and counts as hung.
    ///
    /// # Example
    /// ```
    /// let runtime = cluster_core::Runtime::custom(|| {
    ///     tokio::runtime::Builder::new_current_thread().enable_all().event_interval(31).build()
    /// });
    /// ```
    pub fn custom(build: impl Fn() -> io::Result<tokio::runtime::Runtime> + Send + Sync + 'static) -> Self {
        Self(Flavor::Custom(Arc::new(build)))
    }

    /// Builds it.
    pub(crate) fn build(&self) -> io::Result<tokio::runtime::Runtime> {
        self.build_with(None)
    }

    /// Builds it, with so many threads at most for what blocks; one of the user's own making has what it has.
    pub(crate) fn build_with(&self, blocking: Option<usize>) -> io::Result<tokio::runtime::Runtime> {
        let mut builder = match &self.0 {
            Flavor::CurrentThread => tokio::runtime::Builder::new_current_thread(),
            Flavor::MultiThread(threads) => {
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                builder.worker_threads(*threads);
                builder
            }
            Flavor::Custom(build) => return build(),
        };
        if let Some(threads) = blocking {
            builder.max_blocking_threads(threads.max(1));
        }
        builder.enable_all().build()
    }
}

impl Default for Runtime {
    fn default() -> Self {
        Self::current_thread()
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Flavor::CurrentThread => f.write_str("Runtime::current_thread()"),
            Flavor::MultiThread(threads) => write!(f, "Runtime::multi_thread({threads})"),
            Flavor::Custom(_) => f.write_str("Runtime::custom(..)"),
        }
    }
}

/// When and how often a worker that ended unasked is replaced.
///
/// The default: at once the first time, then after 100 ms, doubling to 15 s, each +-20 %; a worker that
/// lived for 30 s starts the row anew. The cluster gives up after 16 crashes in 60 s with none online, and
/// after 3 failed boots where none was ever online.
///
/// # Example
/// ```
/// use cluster_core::{Cluster, Restart};
/// use std::time::Duration;
/// let policy = Restart::default()
///     .delay(Duration::from_millis(50), Duration::from_secs(5))
///     .limit(30, Duration::from_secs(60))
///     .unless_code([0, 64]);
/// Cluster::builder().restart(policy);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    pub(crate) enabled: bool,
    pub(crate) min: Duration,
    pub(crate) max: Duration,
    pub(crate) times: u32,
    pub(crate) window: Duration,
    pub(crate) final_codes: Vec<i32>,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            enabled: true,
            min: Duration::from_millis(100),
            max: Duration::from_secs(15),
            times: 16,
            window: Duration::from_secs(60),
            final_codes: Vec::new(),
        }
    }
}

impl Restart {
    /// A worker that ended is not replaced; the cluster ends with its last worker.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().restart(cluster_core::Restart::never());
    /// ```
    pub fn never() -> Self {
        Self { enabled: false, ..Self::default() }
    }

    /// The delay before the second restart in a row (default 100 ms) and the largest one (15 s); it doubles
    /// in between. A `max` below `min` counts as `min`.
    ///
    /// # Example
    /// ```
    /// # use std::time::Duration;
    /// cluster_core::Restart::default().delay(Duration::from_millis(10), Duration::from_secs(1));
    /// ```
    pub fn delay(self, min: Duration, max: Duration) -> Self {
        Self { min: bounded(min), max: bounded(max.max(min)), ..self }
    }

    /// Gives up at `times` crashes within `window` with no worker online (default 16 in 60 s).
    ///
    /// # Example
    /// ```
    /// # use std::time::Duration;
    /// cluster_core::Restart::default().limit(5, Duration::from_secs(10));
    /// ```
    pub fn limit(self, times: u32, window: Duration) -> Self {
        Self { times: times.max(1), window: bounded(window), ..self }
    }

    /// A worker that exits with one of these codes is not replaced.
    ///
    /// # Example
    /// ```
    /// cluster_core::Restart::default().unless_code([0]);
    /// ```
    pub fn unless_code(mut self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.final_codes.extend(codes);
        self
    }
}

/// The longest time that is waited for: a year. More means for ever, and must not overflow a clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A time that can be added to any other.
pub(crate) fn bounded(time: Duration) -> Duration {
    time.min(LONGEST)
}

/// How long a runtime may stand still before its process counts as hung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HangLimit(Duration);

impl HangLimit {
    /// A machine that is busy with other things keeps a process waiting for longer than that.
    const SHORTEST: Duration = Duration::from_millis(100);
    /// Each beat wakes a process: eight of them that beat twice a second cost more than 0.1 % of a core.
    const RAREST_BEAT: Duration = Duration::from_secs(1);
    /// How late a look may come. Less than any silence that is told: a gap alone is no news.
    const LATE: Duration = Duration::from_millis(500);

    pub(crate) fn of(limit: Duration) -> Self {
        Self(bounded(limit).max(Self::SHORTEST))
    }

    pub(crate) fn limit(self) -> Duration {
        self.0
    }

    /// How often a heart beats, and how often the primary looks at all of them.
    pub(crate) fn beat_every(self) -> Duration {
        (self.0 / 8).min(Self::RAREST_BEAT)
    }

    /// A primary that has not looked for longer than that did not run itself.
    pub(crate) fn longest_gap(self) -> Duration {
        (self.0 / 2).min(self.beat_every() + Self::LATE)
    }
}

impl Default for HangLimit {
    fn default() -> Self {
        Self(Duration::from_secs(30))
    }
}

/// Whether the primary hears the signals that ask for an end: TERM, INT and QUIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ends {
    #[default]
    Heard,
    /// What they do is the program's affair, or the kernel's.
    LeftAlone,
}

/// What the builder collects besides the listeners and the program.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) name: Option<String>,
    pub(crate) workers: Option<usize>,
    pub(crate) runtime: Option<Runtime>,
    pub(crate) restart: Restart,
    pub(crate) boot_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    /// None: nobody looks whether a runtime turns.
    pub(crate) hang: Option<HangLimit>,
    pub(crate) lame_duck: Duration,
    /// Where a reload finds the program, where that is not where it was started from.
    pub(crate) binary: Option<PathBuf>,
    pub(crate) rollout: Rollout,
    pub(crate) recycling: Recycling,
    pub(crate) wait_for_ready: bool,
    pub(crate) quiet: bool,
    /// Of listeners that have no rule of their own.
    pub(crate) scheduling: Scheduling,
    pub(crate) limits: Limits,
    /// How long a secret that all workers know is the newest.
    pub(crate) secret_rotation: Duration,
    /// Of workers and the director.
    pub(crate) process: ProcessSettings,
    pub(crate) ends: Ends,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: None,
            workers: None,
            runtime: None,
            restart: Restart::default(),
            boot_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(25),
            hang: Some(HangLimit::default()),
            lame_duck: Duration::from_secs(1),
            binary: None,
            rollout: Rollout::default(),
            recycling: Recycling::default(),
            wait_for_ready: false,
            quiet: false,
            scheduling: Scheduling::default(),
            limits: Limits::default(),
            secret_rotation: ROTATION,
            process: ProcessSettings::default(),
            ends: Ends::default(),
        }
    }
}

/// The number of workers, and whose word it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Workers {
    pub(crate) count: u16,
    pub(crate) source: &'static str,
}

/// Descriptors that the primary opens besides those of its workers and what is open already: runtime,
/// signals, fork server, executable, secrets, and what a birth needs for a moment.
const DESCRIPTORS_BESIDES: u64 = 26;
/// Of each worker and the director: control socket, message socket, pidfd and the read end of stderr.
const DESCRIPTORS_PER_PEER: u64 = 4;

/// What a primary has besides workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Besides {
    pub(crate) director: bool,
    /// It hands out connections, over one more socket for each worker.
    pub(crate) handoff: bool,
    /// It counts what the whole cluster has open.
    pub(crate) ledger: bool,
}

impl Besides {
    pub(crate) fn of(director: bool, limits: &Limits) -> Self {
        Self { director, handoff: listen::hands_out(), ledger: limits.cluster.is_some() }
    }
}

impl Settings {
    /// How many workers there shall be: `CLUSTER_WORKERS`, else `WEB_CONCURRENCY`, else the builder, else
    /// the available parallelism.
    pub(crate) fn count_workers(&self) -> Result<Workers, StartError> {
        let (asked, source) = match (from_environment()?, self.workers) {
            (Some((asked, name)), _) => (asked, name),
            (None, Some(asked)) => (asked, "workers(..)"),
            (None, None) => {
                (thread::available_parallelism().map_or(1, NonZeroUsize::get), "available parallelism")
            }
        };
        if asked == 0 {
            return Err(StartError::NoWorkers);
        }
        let count = u16::try_from(asked)
            .map_err(|_| StartError::TooManyWorkers { asked, limit: usize::from(u16::MAX) })?;
        Ok(Workers { count, source })
    }
}

impl Workers {
    /// Refuses more workers than the primary can have descriptors for, beside what `main` has opened and
    /// a director. Answers with how many it can have.
    pub(crate) fn check_descriptors(&self, primary: Besides) -> Result<u16, StartError> {
        let (limit, _) = getrlimit(resource::Resource::RLIMIT_NOFILE)
            .map_err(StartError::system("cannot read RLIMIT_NOFILE"))?;
        let open = fs::read_dir("/proc/self/fd").map_err(StartError::Proc)?.count() as u64;
        let per_worker = DESCRIPTORS_PER_PEER + u64::from(primary.handoff);
        let besides = open
            + DESCRIPTORS_BESIDES
            + u64::from(primary.ledger)
            + DESCRIPTORS_PER_PEER * u64::from(primary.director);
        let needed = besides + per_worker * u64::from(self.count);
        if needed > limit {
            return Err(StartError::Descriptors { workers: self.count.into(), needed, limit });
        }
        Ok(u16::try_from((limit - besides) / per_worker).unwrap_or(u16::MAX))
    }
}

fn from_environment() -> Result<Option<(usize, &'static str)>, StartError> {
    for name in ["CLUSTER_WORKERS", "WEB_CONCURRENCY"] {
        let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) else { continue };
        let value = value.to_string_lossy().into_owned();
        return match value.trim().parse() {
            Ok(0) => Err(StartError::Environment { name, value, why: "0 workers: ask for at least 1" }),
            Ok(asked) => Ok(Some((asked, name))),
            Err(_) => Err(StartError::Environment { name, value, why: "no number of workers" }),
        };
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_workers_are_refused_by_name() {
        let many = Settings { workers: Some(70_000), ..Settings::default() };
        assert!(matches!(many.count_workers(), Err(StartError::TooManyWorkers { asked: 70_000, .. })));
        let none = Settings { workers: Some(0), ..Settings::default() };
        assert!(matches!(none.count_workers(), Err(StartError::NoWorkers)));
    }
}
