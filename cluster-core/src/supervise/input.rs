//! The vocabulary between the pool, which decides, and the driver, which acts.
use std::process::ExitStatus;
use std::time::Duration;

use crate::event::Event;
use crate::id::{Slot, WorkerId};

/// What the driver tells the pool.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// The worker is a process.
    Born { worker: WorkerId, pid: u32 },
    /// The worker could not be made.
    Stillborn { worker: WorkerId, error: String },
    /// The worker serves.
    Ready { worker: WorkerId },
    /// The worker drains of its own accord.
    Draining { worker: WorkerId },
    /// The worker's program never came so far as to serve; the process is about to end.
    BootFailed { worker: WorkerId, error: String },
    /// The worker's program has ended; the process is about to end.
    Finished { worker: WorkerId, error: Option<String> },
    /// The worker said what is no message.
    Garbled { worker: WorkerId },
    /// The worker's process is gone, and all that it had said has been told.
    /// Without a status somebody else has reaped it.
    Exited { worker: WorkerId, status: Option<ExitStatus>, last_stderr: Vec<String> },
    /// A fork server takes requests.
    ForkServerUp { pid: u32 },
    /// The fork server is gone; its open requests are told as `Stillborn` after this.
    ForkServerLost { why: String },
    /// Stop gracefully.
    Stop,
    /// Stop at once.
    StopNow,
    /// Time has passed.
    Time,
}

/// What the pool wants done.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Make a worker.
    Spawn { worker: WorkerId, slot: Slot },
    /// Tell the worker to drain; where the whole cluster stops, to serve what is queued and close the queue.
    Drain { worker: WorkerId, close_queue: bool },
    /// Kill the worker and its group.
    Kill { worker: WorkerId },
    /// Execute a fork server.
    StartForkServer,
    /// Kill the fork server; its end will be told.
    KillForkServer,
    /// Tell the world.
    Tell(Event),
    /// All is over.
    End(Verdict),
}

/// How it all ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As somebody asked.
    Stopped,
    /// No worker is left that could be replaced.
    GaveUp(String),
}

/// What the pool goes by.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) workers: u16,
    pub(crate) restart: crate::config::Restart,
    pub(crate) boot_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    /// Workers are forked by a fork server; else executed.
    pub(crate) fork_server: bool,
    /// Seed of the jitter.
    pub(crate) seed: u64,
}
