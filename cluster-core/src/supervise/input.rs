//! The vocabulary between the pool, which decides, and the driver, which acts.
use std::process::ExitStatus;
use std::time::Duration;

use crate::command::Command;
use crate::config::{HangLimit, Recycling, Restart, Rollout};
use crate::error::{CommandError, ReloadError};
use crate::event::{Event, Usage};
use crate::id::{PeerId, Seat};

/// What the driver tells the pool.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// The worker or director is a process.
    Born { peer: PeerId, pid: u32 },
    /// It could not be made.
    Stillborn { peer: PeerId, error: String },
    /// Its program has code for the primary's side, or has not.
    Directed { peer: PeerId, director: bool },
    /// Its sentinel watches.
    Online { peer: PeerId },
    /// It serves.
    Ready { peer: PeerId },
    /// It drains of its own accord.
    Draining { peer: PeerId },
    /// Its program never came so far as to serve; the process is about to end.
    BootFailed { peer: PeerId, error: String },
    /// Its program has ended; the process is about to end.
    Finished { peer: PeerId, error: Option<String> },
    /// It said what is no message: what it did.
    Garbled { peer: PeerId, why: String },
    /// Its process is gone, and all that it had said has been told.
    Exited { peer: PeerId, end: End },
    /// The fork server of that generation takes requests.
    ForkServerUp { generation: u64, pid: u32 },
    /// It is gone; its open requests are told as `Stillborn` after this.
    ForkServerLost { generation: u64, why: String, last_stderr: Vec<String> },
    /// It is gone, because what is to be done before its first worker has failed.
    Unprepared { generation: u64, error: String, last_stderr: Vec<String> },
    /// What `Open` asked for, where there is no fork server that would say so: the program can be executed.
    Opened { generation: u64 },
    /// What `Open` asked for has failed.
    NotOpened { generation: u64, why: String },
    /// Open the program anew, and replace all by what it is now.
    Reload,
    /// A director asks for something; the answer is one `Reply` with the same id.
    Command { from: PeerId, id: u64, command: Command },
    /// A look at all pages: how often each runtime has said that it turns.
    Looked { beats: Vec<(PeerId, u64)> },
    /// A look at what each process has used and done.
    Weighed { loads: Vec<(PeerId, Load)> },
    /// What became of `Examine`.
    Examined { peer: PeerId, condition: Condition },
    /// So many workers more, or fewer.
    ScaleBy(i32),
    /// Stop gracefully.
    Stop,
    /// Stop at once.
    StopNow,
    /// Time has passed.
    Time,
}

/// What a process has used and done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Load {
    /// Requests that it has answered, since its birth.
    pub(crate) requests: u64,
    /// Its private memory, in bytes. None: not known.
    pub(crate) memory: Option<u64>,
}

/// What the kernel has a process do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It runs, or waits for something.
    Runs,
    /// Stopped by a signal, until another continues it.
    Stopped,
    /// A debugger has it.
    Traced,
    /// It has crashed, and its memory is being written to a file.
    DumpsCore,
}

/// How a process ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct End {
    /// None where somebody else has reaped it.
    pub(crate) status: Option<ExitStatus>,
    pub(crate) usage: Usage,
    /// That it had open.
    pub(crate) connections: u64,
    pub(crate) last_stderr: Vec<String>,
    /// Where it hung.
    pub(crate) trace: Vec<String>,
}

/// What the pool wants done.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Make a worker or a director, of that generation's program.
    Spawn { peer: PeerId, seat: Seat, generation: u64, entry: Entry },
    /// The seat is its from now on: it was made beside the one that had it.
    Seat { peer: PeerId, seat: Seat },
    /// Tell it to drain; where the whole cluster stops, to serve what is queued and close the queue.
    Drain { peer: PeerId, close_queue: bool },
    /// Tell it that it shall not leave yet.
    Stay { peer: PeerId },
    /// Kill it and its group.
    Kill { peer: PeerId },
    /// Have it say where it hangs, and end.
    Dump { peer: PeerId },
    /// Look what it does: its runtime has been silent for long.
    Examine { peer: PeerId },
    /// Open the program anew, as that generation, and execute a fork server of it, where workers are forked.
    Open { generation: u64 },
    /// That generation is over: nobody is made of its program any more. Its fork server goes too, untold.
    Close { generation: u64 },
    /// Execute a fork server, of a generation that is open.
    StartForkServer { generation: u64 },
    /// Kill the fork server; its end will be told.
    KillForkServer { generation: u64 },
    /// Tell the fork server as lost: it was killed, and does not die.
    ForgetForkServer { generation: u64 },
    /// It was asked for, and nothing will come of it.
    Forget { peer: PeerId },
    /// There is a director from now on, or none but the one that leaves.
    Direct { director: bool },
    /// There are so many slots from now on.
    Resize { slots: u16 },
    /// Tell the world.
    Tell(Event),
    /// Answer a director's command.
    Reply { to: PeerId, id: u64, result: Result<(), CommandError> },
    /// Answer a director's wish to reload.
    ReplyReload { to: PeerId, id: u64, result: Result<(), ReloadError> },
    /// Tell the director to drain: all that it shall hear of has been told.
    Dismiss { peer: PeerId },
    /// All is over.
    End(Verdict),
}

impl Action {
    /// Whether it is done AFTER all others, in its order: a successor does not wait for its predecessor's
    /// obituary, and a director hears of the last exit before it is dismissed.
    pub(crate) fn comes_last(&self) -> bool {
        match self {
            Action::Tell(_) | Action::Reply { .. } | Action::ReplyReload { .. } | Action::Dismiss { .. } => {
                true
            }
            // The last that it hears is that this is done.
            Action::Direct { director } => !director,
            Action::Spawn { .. }
            | Action::Drain { .. }
            | Action::Stay { .. }
            | Action::Kill { .. }
            | Action::Dump { .. }
            | Action::Examine { .. }
            | Action::Seat { .. }
            | Action::Open { .. }
            | Action::Close { .. }
            | Action::StartForkServer { .. }
            | Action::KillForkServer { .. }
            | Action::ForgetForkServer { .. }
            | Action::Forget { .. }
            | Action::Resize { .. }
            | Action::End(_) => false,
        }
    }
}

/// How a process comes to its seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Nobody has it: what is said to the seat waits for this one.
    Vacant,
    /// Somebody serves there until this one does: `Seat` says when.
    Beside,
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
    /// The cluster begins with a director.
    pub(crate) director: bool,
    /// More slots cannot be had.
    pub(crate) most_workers: u16,
    pub(crate) restart: Restart,
    pub(crate) boot_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    /// None: nobody is looked at.
    pub(crate) hang: Option<HangLimit>,
    pub(crate) rollout: Rollout,
    pub(crate) recycling: Recycling,
    /// Workers are forked by a fork server; else executed.
    pub(crate) fork_server: bool,
    /// Each generation is prepared for by a process that is executed before its workers are.
    pub(crate) prepares: bool,
    /// Seed of the jitter.
    pub(crate) seed: u64,
}
