//! Ending processes by force, also those of another user.
//!
//! A root primary needs CAP_KILL for that, which a container may not give it. What it always has, where its workers are of
//! another user, is what made them so: it becomes that user for the length of one call.
use std::os::fd::BorrowedFd;
use std::sync::Once;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, Uid};

use crate::supervise::condition;
use crate::sys::{identity, process};

/// Ends all processes of a group, whose leader was not reaped yet.
pub(crate) fn end_group(leader: Pid) -> nix::Result<()> {
    insist(leader, || killpg(leader, Signal::SIGKILL))
}

/// Ends one process. One that cannot be ended from here is continued: it may have been told to end itself, and be stopped.
pub(crate) fn end(pid: Pid, pidfd: BorrowedFd<'_>) {
    if insist(pid, || process::pidfd_kill(pidfd, Signal::SIGKILL)) == Err(Errno::EPERM) {
        // This is permitted to whoever is in the same session (kill(2)).
        let _ = process::pidfd_kill(pidfd, Signal::SIGCONT);
    }
}

/// Ends a child that nobody will follow, with its group, if it leads one already. Who calls sees to it that it is reaped:
/// waiting for it could take for ever.
pub(crate) fn discard(child: Pid) {
    let _ = end_group(child);
    let _ = insist(child, || kill(child, Signal::SIGKILL));
}

/// Does it as oneself, or else as whose process it is.
fn insist(pid: Pid, act: impl Fn() -> nix::Result<()>) -> nix::Result<()> {
    let done = act();
    if done != Err(Errno::EPERM) {
        return done;
    }
    let Some(owner) = condition::owner_of(pid) else { return done };
    let done = identity::as_user(owner, act).and_then(|done| done);
    if done == Err(Errno::EPERM) {
        complain(owner);
    }
    done
}

/// Says so once: it will be the same with each of them.
fn complain(owner: Uid) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        crate::event::warn(&format!(
            "this primary may not kill processes of user {owner} (CAP_KILL or CAP_SETUID): workers are asked to end \
             themselves, and what they leave behind may live on"
        ));
    });
}
