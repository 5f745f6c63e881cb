//! What happens in a cluster, as data and as one line each.
mod counts;
mod culprit;
mod exit;
mod leave;
mod line;
mod print;
mod status;
#[cfg(test)]
mod tests;

use std::process::ExitStatus;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use self::counts::WorkerCounts;
pub use self::counts::{ConnectionCounts, ListenerStatus};
pub(crate) use self::culprit::{is_own, waits_for_work};
use self::exit::raw_status;
pub(crate) use self::exit::{Ending, last_lines};
pub use self::exit::{Exit, ExitReason, Next, Usage};
pub use self::leave::Leave;
pub(crate) use self::print::{inform, speak_as, voice, warn};
pub use self::status::{Status, WorkerState, WorkerStatus};
use crate::id::{Slot, WorkerId};

/// Something that has happened in the cluster. Displayed, it is one line for a log.
///
/// Events of one worker come in this order, each at most once: [`WorkerStarted`](Event::WorkerStarted),
/// [`WorkerOnline`](Event::WorkerOnline), [`WorkerReady`](Event::WorkerReady),
/// [`WorkerDraining`](Event::WorkerDraining), [`WorkerExited`](Event::WorkerExited). Any but the last may be
/// missing, and after the last comes none. While a worker is ready and does not drain there may be any number of
/// [`WorkerStalled`](Event::WorkerStalled).
///
/// # Example
/// ```
/// use cluster_core::Event;
/// fn log(event: Event) {
///     if let Event::WorkerExited(exit) = &event
///         && !exit.is_planned()
///     {
///         eprintln!("ALERT {event}");
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// The primary has begun.
    #[non_exhaustive]
    Starting {
        /// How many workers there shall be.
        workers: u16,
        /// Whose word that is: `workers(..)`, `available parallelism`, or the name of a variable.
        source: String,
    },
    /// Running out of memory ends all processes of the control group at once, the primary among them.
    OomGroup,
    /// The kernel holds fewer connections that wait for a worker than was asked for.
    #[non_exhaustive]
    BacklogCut {
        /// The longest accept queue that was asked for: `Addr::backlog`, or 4096.
        asked: u32,
        /// The longest that there is, `net.core.somaxconn`.
        limit: u32,
    },
    /// The first worker is ready; the cluster answers here.
    #[non_exhaustive]
    Listening {
        /// Its addresses, with their schemes: `http://127.0.0.1:3000`.
        at: Vec<String>,
    },
    /// A worker is a process; Node's `fork`.
    #[non_exhaustive]
    WorkerStarted {
        /// Its number.
        worker: WorkerId,
        /// Its place.
        slot: Slot,
        /// Its process id.
        pid: u32,
        /// Which run of `main` it is from.
        generation: u64,
    },
    /// A worker is set up and hears the primary; its program begins. Node's `online`.
    #[non_exhaustive]
    WorkerOnline {
        /// Its number.
        worker: WorkerId,
        /// Its place.
        slot: Slot,
        /// Its process id.
        pid: u32,
    },
    /// A worker serves; Node's `listening`.
    #[non_exhaustive]
    WorkerReady {
        /// Its number.
        worker: WorkerId,
        /// Its place.
        slot: Slot,
        /// Its process id.
        pid: u32,
        /// How long that took, from the moment it was asked for.
        took: Duration,
    },
    /// Every slot has a worker that serves, for the first time.
    #[non_exhaustive]
    AllReady {
        /// How many there are.
        workers: u16,
    },
    /// The runtime of a worker stands still: something on it loops or blocks. Told once after a second and once
    /// after five, of each such time, where [`hang_timeout`](crate::Builder::hang_timeout) is further away.
    #[non_exhaustive]
    WorkerStalled {
        /// Its number.
        worker: WorkerId,
        /// Its place.
        slot: Slot,
        /// Its process id.
        pid: u32,
        /// For how long at least.
        silent: Duration,
        /// After how long it is killed.
        limit: Duration,
    },
    /// A worker takes nothing new, finishes what is open and leaves; Node's `disconnect`.
    #[non_exhaustive]
    WorkerDraining {
        /// Its number.
        worker: WorkerId,
        /// Its place.
        slot: Slot,
        /// Its process id.
        pid: u32,
        /// Why it leaves.
        why: Leave,
        /// Connections that it has open, and finishes. How many are left shows in
        /// [`WorkerStatus::connections`].
        connections: u64,
    },
    /// A worker has ended; Node's `exit`.
    WorkerExited(Exit),
    /// The director is ready.
    #[non_exhaustive]
    DirectorReady {
        /// Its process id.
        pid: u32,
    },
    /// The runtime of the director stands still; as [`WorkerStalled`](Event::WorkerStalled). Workers serve on.
    #[non_exhaustive]
    DirectorStalled {
        /// Its process id.
        pid: u32,
        /// For how long at least.
        silent: Duration,
        /// After how long it is killed.
        limit: Duration,
    },
    /// The director has ended. Workers serve on.
    #[non_exhaustive]
    DirectorExited {
        /// Its process id; 0 where it never came to be a process.
        pid: u32,
        /// Why it ended.
        reason: ExitReason,
        /// How the process ended; as [`Exit::status`].
        #[serde(with = "raw_status")]
        status: Option<ExitStatus>,
        /// How long it lived, from the moment it was asked for.
        uptime: Duration,
        /// The last lines that it wrote to standard error; as [`Exit::last_stderr`].
        last_stderr: Vec<String>,
        /// Where it hung; as [`Exit::trace`].
        trace: Vec<String>,
        /// What happens next.
        next: Next,
    },
    /// The fork server takes requests.
    #[non_exhaustive]
    ForkServerReady {
        /// Its process id.
        pid: u32,
    },
    /// The fork server is gone. Workers serve on.
    #[non_exhaustive]
    ForkServerLost {
        /// How it ended.
        why: String,
        /// When another is started.
        again_in: Duration,
    },
    /// The number of slots has changed; what that means for workers is told as theirs.
    #[non_exhaustive]
    Scaled {
        /// How many there were.
        from: u16,
        /// How many there are.
        to: u16,
    },
    /// A reload has begun: the program is opened anew.
    #[non_exhaustive]
    Reloading {
        /// What its workers are, if it comes up.
        generation: u64,
    },
    /// The first worker of a new generation has served for a while: the others are replaced now.
    #[non_exhaustive]
    RollingOut {
        /// Which it is; new workers are from it.
        generation: u64,
    },
    /// A new generation could not replace all workers after all: those that it has are replaced by the old one.
    #[non_exhaustive]
    RollingBack {
        /// Which it is again; new workers are from it.
        generation: u64,
        /// What has not worked.
        why: String,
    },
    /// A reload is done: all workers, and the director, are of the new generation. What is left of the old one drains.
    #[non_exhaustive]
    Reloaded {
        /// Which it is.
        generation: u64,
        /// How long it took.
        took: Duration,
    },
    /// A reload has failed. Workers serve on, of the generation that there was before; where some had been replaced already
    /// they are brought back ([`RollingBack`](Event::RollingBack)).
    #[non_exhaustive]
    ReloadFailed {
        /// Which it would have been.
        generation: u64,
        /// What has not worked.
        why: String,
        /// The last lines that it wrote to standard error.
        last_stderr: Vec<String>,
    },
    /// Whoever writes log files shall open them anew: they were moved away, and the primary was told so (SIGUSR1). The
    /// primary has none; workers hear of it by [`Worker::reopen_logs`](crate::Worker::reopen_logs).
    ReopenLogs,
    /// Messages did not arrive.
    #[non_exhaustive]
    Undelivered {
        /// Who sent them. None: the director.
        from: Option<WorkerId>,
        /// Their type, as serde names it.
        type_name: String,
        /// The size of the last one, in bytes.
        size: u64,
        /// How many of this sender and type have met this reason until now: not all are told one by one, but the
        /// first, the tenth, the hundredth, and so on.
        count: u64,
        /// Why not.
        reason: String,
    },
    /// Events were dropped here, because the director, or who is told of this, took them too slowly.
    #[non_exhaustive]
    EventsLost {
        /// How many.
        count: u64,
    },
    /// The cluster stops gracefully.
    #[non_exhaustive]
    Stopping {
        /// Connections that are open.
        connections: u64,
        /// By somebody who may ask again, and insist.
        asked: bool,
    },
    /// The cluster stops at once.
    StoppingNow,
    /// The cluster stops because it is beyond hope.
    #[non_exhaustive]
    GivingUp {
        /// What it could not cope with.
        why: String,
    },
    /// All processes have ended.
    Stopped,
}

impl Event {
    /// The worker that it is about, if it is about one.
    ///
    /// # Example
    /// ```
    /// assert_eq!(cluster_core::Event::Stopped.worker(), None);
    /// ```
    pub fn worker(&self) -> Option<WorkerId> {
        match self {
            Event::WorkerStarted { worker, .. }
            | Event::WorkerOnline { worker, .. }
            | Event::WorkerReady { worker, .. }
            | Event::WorkerStalled { worker, .. }
            | Event::WorkerDraining { worker, .. } => Some(*worker),
            Event::WorkerExited(exit) => Some(exit.worker),
            Event::Undelivered { from, .. } => *from,
            Event::Starting { .. }
            | Event::OomGroup
            | Event::BacklogCut { .. }
            | Event::Listening { .. }
            | Event::AllReady { .. }
            | Event::DirectorReady { .. }
            | Event::DirectorStalled { .. }
            | Event::DirectorExited { .. }
            | Event::ForkServerReady { .. }
            | Event::ForkServerLost { .. }
            | Event::Scaled { .. }
            | Event::Reloading { .. }
            | Event::RollingOut { .. }
            | Event::RollingBack { .. }
            | Event::Reloaded { .. }
            | Event::ReloadFailed { .. }
            | Event::ReopenLogs
            | Event::EventsLost { .. }
            | Event::Stopping { .. }
            | Event::StoppingNow
            | Event::GivingUp { .. }
            | Event::Stopped => None,
        }
    }
}
