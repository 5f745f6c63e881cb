//! What a process is to the kernel besides its number: niceness, capabilities, environment; and being somebody else for
//! a moment.
use std::ffi::OsStr;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Uid, getresuid};

use crate::birth::checks::SingleThreaded;

/// The niceness of this thread, and of those that it starts. Async-signal-safe.
pub(crate) fn set_niceness(niceness: i32) -> nix::Result<()> {
    // SAFETY: a system call on three integers; 0 is the calling thread (setpriority(2), "C library/kernel differences").
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) }).map(drop)
}

/// This thread has no capability any more. Async-signal-safe.
pub(crate) fn drop_capabilities() -> nix::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h: two words of each of the three sets.
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let none = [[0_u32; 3]; 2];
    // SAFETY: the kernel reads a header (version, thread; 0 is the calling one) and two triples (capset(2)).
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) }).map(drop)
}

/// Sets a variable of this process's environment, which nobody reads meanwhile.
///
/// # Panics
/// Where the name is empty or has a `=` in it, or either has a zero byte.
pub(crate) fn set_variable(_: &SingleThreaded, name: &OsStr, value: &OsStr) {
    // SAFETY: one thread (the proof), so that no other reads or writes the environment.
    unsafe { std::env::set_var(name, value) };
}

/// Does something with the rights of another user to signal processes, on this thread alone.
///
/// The real and the saved user stay: so the way back is open, and that user cannot signal, trace or read this process.
///
/// # Errors
/// This process may not (CAP_SETUID), or could not come back.
pub(crate) fn as_user<T>(user: Uid, act: impl FnOnce() -> T) -> nix::Result<T> {
    let own = getresuid()?;
    if own.effective != own.real && own.effective != own.saved {
        return Err(Errno::EPERM);
    }
    // Both are lost with a change of the effective user (prctl(2)).
    let (dumpable, parent_death) = (prctl_get_dumpable(), nix::sys::prctl::get_pdeathsig());
    set_effective(user)?;
    let done = act();
    set_effective(own.effective).expect("the effective user may always become the real or the saved one");
    prctl_set_dumpable(dumpable);
    if let Ok(Some(signal)) = parent_death {
        let _ = nix::sys::prctl::set_pdeathsig(signal);
    }
    Ok(done)
}

/// The raw call: the C library's changes all threads of a process (setresuid(2), "C library/kernel differences").
fn set_effective(user: Uid) -> nix::Result<()> {
    const UNCHANGED: libc::uid_t = libc::uid_t::MAX;
    // SAFETY: a system call on three integers.
    let done = unsafe { libc::syscall(libc::SYS_setresuid, UNCHANGED, user.as_raw(), UNCHANGED) };
    Errno::result(done).map(drop)
}

fn prctl_get_dumpable() -> libc::c_int {
    // SAFETY: it answers with a number and changes nothing.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }
}

/// nix's has no word for 2 (`fs.suid_dumpable`), which cannot be set again either: then it stays as it is.
fn prctl_set_dumpable(dumpable: libc::c_int) {
    // SAFETY: it sets one number of this process.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, dumpable as libc::c_ulong) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_somebody_else_for_a_moment_is_itself_again() {
        let before = (getresuid().unwrap(), prctl_get_dumpable());
        // As somebody without privileges this is an error, or one's own user.
        for user in [Uid::from_raw(65534), before.0.real] {
            if let Ok(seen) = as_user(user, || getresuid().unwrap()) {
                assert_eq!((seen.effective, seen.real, seen.saved), (user, before.0.real, before.0.saved));
            }
            assert_eq!((getresuid().unwrap(), prctl_get_dumpable()), before);
        }
    }
}
