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
    ForkServerGone { pid: Pid, why: String, last_stderr: Vec<String> },
}
