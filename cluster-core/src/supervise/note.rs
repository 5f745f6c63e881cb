//! What the tasks that follow processes tell the driver.
use std::os::fd::OwnedFd;

use nix::unistd::Pid;

use crate::id::PeerId;
use crate::supervise::input::Input;

/// A task's word to the driver.
pub(crate) enum Note {
    /// For the pool.
    Input(Input),
    /// A worker or director is a process.
    Born { peer: PeerId, pid: Pid, pidfd: OwnedFd },
    /// A fork server has ended; what it was asked for and has not answered it never will.
    ForkServerGone { pid: Pid, loss: Loss },
}

/// How a fork server has ended.
pub(crate) struct Loss {
    pub(crate) why: String,
    pub(crate) last_stderr: Vec<String>,
    /// Why its generation could not be prepared, where it has ended for that.
    pub(crate) unprepared: Option<String>,
    /// That was under way, or all that it was there for.
    pub(crate) interrupted: bool,
    /// What prepared it when it ended: killed with its group, and to be reaped.
    pub(crate) left: Option<Pid>,
}
