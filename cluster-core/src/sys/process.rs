//! Processes by pidfd, and what a newborn sets up between fork and exec.
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::eventfd::EventFd;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

use crate::birth::identity::Step;
use crate::event::Usage;
use crate::sys::descriptors::{cloexec_all_from_3, place, set_cloexec};
use crate::sys::start;

/// A descriptor for a process, closed on exec (pidfd_open(2)).
pub(crate) fn pidfd_open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: a system call on two integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    // SAFETY: on success the kernel made the descriptor for us.
    Errno::result(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Sends a signal to exactly this process (pidfd_send_signal(2)).
pub(crate) fn pidfd_kill(pidfd: BorrowedFd<'_>, signal: Signal) -> nix::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo makes the kernel fill it in as kill(2) does.
    let done = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal as libc::c_int, none, 0)
    };
    Errno::result(done).map(drop)
}

/// Whether the process has ended and was reaped, so that its number may be another's. One that has ended and was not is
/// still there for a signal.
pub(crate) fn is_reaped(pidfd: BorrowedFd<'_>) -> bool {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is none; signal 0 asks and does nothing (kill(2)).
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), 0, none, 0) };
    // EPERM is another user's, which is there.
    Errno::result(done).is_err_and(|err| err == Errno::ESRCH)
}

/// Reaps the child behind a pidfd if it has ended: how, and what it used.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> nix::Result<Option<(ExitStatus, Usage)>> {
    // SAFETY: both are plain data for which all zero is valid.
    let (mut info, mut used): (libc::siginfo_t, libc::rusage) = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `info` and `used` outlive the call, and are what it fills in (waitid(2), whose fifth argument
        // only the raw call has); P_PIDFD names a process, not memory.
        let done = unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_PIDFD,
                pidfd.as_raw_fd(),
                &raw mut info,
                libc::WEXITED | libc::WNOHANG,
                &raw mut used,
            )
        };
        match Errno::result(done) {
            Err(Errno::EINTR) => continue,
            other => break other.map(drop)?,
        }
    }
    // SAFETY: waitid has filled in the fields of a SIGCHLD, or left zero where nobody has ended.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    // The wait(2) encoding that ExitStatus wants: code << 8, or the signal with 0x80 for a core dump.
    let raw = match info.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    };
    Ok(Some((ExitStatus::from_raw(raw), usage(&used))))
}

fn usage(used: &libc::rusage) -> Usage {
    let time = |of: libc::timeval| {
        Duration::from_secs(of.tv_sec.unsigned_abs()) + Duration::from_micros(of.tv_usec.unsigned_abs())
    };
    // The kernel counts in KiB (getrusage(2)).
    let max_rss = used.ru_maxrss.unsigned_abs().saturating_mul(1024);
    Usage { user: time(used.ru_utime), system: time(used.ru_stime), max_rss }
}

/// Ends a child that nobody will follow.
pub(crate) fn discard(pid: Pid) {
    let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
    wait_for(pid);
}

/// Waits until a child has ended, and forgets how.
pub(crate) fn wait_for(pid: Pid) {
    while nix::sys::wait::waitpid(pid, None) == Err(Errno::EINTR) {}
}

/// What crosses an exec besides 0, 1 and 2, and what the new process is from its first instruction.
pub(crate) struct AcrossExec {
    /// Descriptors that keep their number.
    pub(crate) keep: Vec<OwnedFd>,
    /// Its standard input and, where it has one of its own, its standard error.
    pub(crate) stdin: OwnedFd,
    pub(crate) stderr: Option<OwnedFd>,
    /// Leads a process group of its own.
    pub(crate) own_group: bool,
    /// Signals that stay blocked; all others are unblocked.
    pub(crate) blocked: SigSet,
    /// Its soft limit of descriptors, where that is another than ours.
    pub(crate) soft_descriptors: Option<u64>,
    /// What it becomes, in this order.
    pub(crate) steps: Vec<Step>,
    /// The number of the step that failed is added to it, from 1.
    pub(crate) failed: Arc<EventFd>,
    /// Is told by this signal that its parent is gone.
    pub(crate) parent_death: Signal,
}

/// Adds `setup` to a command, to run between its fork and its exec.
pub(crate) fn before_exec(command: &mut Command, setup: AcrossExec) {
    let (parent, mask) = (nix::unistd::getpid(), start::mask());
    let act = move || -> io::Result<()> {
        if setup.own_group {
            nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        }
        place(std::os::fd::AsFd::as_fd(&setup.stdin), 0)?;
        if let Some(stderr) = &setup.stderr {
            place(std::os::fd::AsFd::as_fd(stderr), 2)?;
        }
        // BEFORE the kept ones are opened up: it takes them with the rest.
        cloexec_all_from_3();
        for fd in &setup.keep {
            set_cloexec(std::os::fd::AsFd::as_fd(fd), false)?;
        }
        if let Some(soft) = setup.soft_descriptors {
            limit_own_descriptors(soft)?;
        }
        if let Some(mask) = mask {
            start::set_mask(mask);
        }
        for (nth, step) in (1..).zip(&setup.steps) {
            step.take().inspect_err(|_| {
                // The error goes on; where it cannot be said whose it is, that is all.
                let _ = setup.failed.write(nth);
            })?;
        }
        // AFTER the steps: another user has none.
        nix::sys::prctl::set_pdeathsig(setup.parent_death)?;
        if nix::unistd::getppid() != parent {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        setup.blocked.thread_set_mask().map_err(io::Error::from)
    };
    // SAFETY: `act` makes system calls only: it takes no lock and allocates nothing.
    unsafe { command.pre_exec(act) };
}

/// Has a command start with this soft limit of descriptors.
pub(crate) fn limit_descriptors(command: &mut Command, soft: u64) {
    // SAFETY: two system calls: no lock is taken and nothing allocated.
    unsafe { command.pre_exec(move || limit_own_descriptors(soft)) };
}

fn limit_own_descriptors(soft: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard)?)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_child_is_reaped_once_with_its_status_and_what_it_used() {
        let mut child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let pidfd = pidfd_open(Pid::from_raw(child.id() as i32)).unwrap();
        let mut fds = [nix::poll::PollFd::new(pidfd.as_fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut fds, nix::poll::PollTimeout::NONE).unwrap();
        assert!(!is_reaped(pidfd.as_fd()), "it has ended, and has its number still");
        let (status, usage) = reap(pidfd.as_fd()).unwrap().unwrap();
        assert!(is_reaped(pidfd.as_fd()));
        assert_eq!(status.code(), Some(7));
        assert!((100 << 10..1 << 30).contains(&usage.max_rss), "bytes, not KiB: {usage:?}");
        assert!(usage.user + usage.system < Duration::from_secs(60), "{usage:?}");
        assert_eq!(reap(pidfd.as_fd()).unwrap_err(), Errno::ECHILD);
        assert!(child.wait().is_err(), "it is reaped");
    }
}
