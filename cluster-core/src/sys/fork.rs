//! Fork itself. Callers hold the proof that this process has one thread.
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{ForkResult, Pid, getpid};

use crate::birth::checks::SingleThreaded;
use crate::sys::process::pidfd_open;

/// Which side of a fork this is.
pub(crate) enum Side {
    Parent(Pid),
    Child,
}

/// fork(2).
pub(crate) fn fork(_: &SingleThreaded) -> nix::Result<Side> {
    // SAFETY: one thread (the proof), so the child may do whatever the parent may.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Side::Parent(child)),
        ForkResult::Child => Ok(Side::Child),
    }
}

/// Which side of a fork through a middle process this is.
pub(crate) enum Grandchild {
    /// The caller goes on; the middle process has ended and the newborn has been reparented.
    Parent,
    /// The newborn; the middle process that it was forked from.
    Newborn { middle: Pid },
}

/// Forks a process that is not our child: a middle process forks it, tells of it and ends, and the
/// kernel gives it to the nearest subreaper (prctl(2), PR_SET_CHILD_SUBREAPER).
///
/// `report` runs in the middle process with the newborn's pid and pidfd, or the error of its fork: only
/// its parent can open a pidfd without a race against pid reuse.
pub(crate) fn fork_away(
    proof: &SingleThreaded,
    report: impl FnOnce(nix::Result<(Pid, OwnedFd)>),
) -> nix::Result<Grandchild> {
    match fork(proof)? {
        Side::Parent(middle) => loop {
            match nix::sys::wait::waitpid(middle, None) {
                Err(Errno::EINTR) => continue,
                _ => return Ok(Grandchild::Parent),
            }
        },
        Side::Child => {
            let middle = getpid();
            let born = match fork(proof) {
                Ok(Side::Child) => return Ok(Grandchild::Newborn { middle }),
                Ok(Side::Parent(newborn)) => {
                    // Its group exists BEFORE anyone hears of it, so a kill of the group cannot miss it.
                    let _ = nix::unistd::setpgid(newborn, newborn);
                    pidfd_open(newborn).map(|pidfd| (newborn, pidfd))
                }
                Err(err) => Err(err),
            };
            report(born);
            exit_now(0)
        }
    }
}

/// Ends this process without running the program's exit handlers, which belong to the process forked from.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) has no precondition.
    unsafe { libc::_exit(code) }
}
