//! Signal handlers and dispositions.
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::libc;
use nix::sys::eventfd::EventFd;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::getpid;

/// Rings `bell` at each `signal`. A handler that was there before is called too.
pub(crate) fn ring_at(signal: Signal, bell: Arc<EventFd>, flag: Arc<AtomicBool>) -> io::Result<()> {
    let ring = move || {
        flag.store(true, Ordering::Release);
        let _ = bell.write(1);
    };
    // SAFETY: `ring` stores an atomic and makes one write(2); both are async-signal-safe
    // (signal-safety(7)). A nonblocking eventfd never waits.
    unsafe { signal_hook_registry::register(signal as libc::c_int, ring) }.map(drop)
}

/// Counts in `sent` how often somebody has sent `signal`, one of the terminal's, and rings `bell`. From the kernel, which
/// sends it to a background process that uses its terminal, it stops this process as it does by default: the
/// system call that it interrupts is begun anew, and would be refused again and again.
pub(crate) fn count_sent(signal: Signal, bell: Arc<EventFd>, sent: Arc<AtomicU32>) -> io::Result<()> {
    let act = move |info: &libc::siginfo_t| {
        // Above zero: by the kernel (sigaction(2), si_code).
        if info.si_code > 0 {
            let _ = kill(getpid(), Signal::SIGSTOP);
            return;
        }
        sent.fetch_add(1, Ordering::Release);
        let _ = bell.write(1);
    };
    // SAFETY: `act` adds to an atomic and makes getpid(2), kill(2) and write(2); all are async-signal-safe
    // (signal-safety(7)). A nonblocking eventfd never waits.
    unsafe { signal_hook_registry::register_sigaction(signal as libc::c_int, act) }.map(drop)
}

/// Gives `signal` a handler that does nothing, where it still has the default disposition. Unlike an
/// ignored signal, a handled one is back at its default in programs that the process executes.
pub(crate) fn quieten(signal: Signal) -> io::Result<()> {
    if disposition(signal)? != Disposition::Default {
        return Ok(());
    }
    // SAFETY: an empty handler is async-signal-safe.
    unsafe { signal_hook_registry::register(signal as libc::c_int, || ()) }.map(drop)
}

/// Ignores `signal`.
pub(crate) fn ignore(signal: Signal) -> io::Result<()> {
    let action = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring a signal runs no code.
    unsafe { sigaction(signal, &action) }.map(drop).map_err(io::Error::from)
}

/// What a process does at a signal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    Default,
    Ignored,
    Handled,
}

/// Reads the disposition of `signal` without changing it.
pub(crate) fn disposition(signal: Signal) -> io::Result<Disposition> {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only reads; `now` is large enough and read after success only.
    let done = unsafe { libc::sigaction(signal as libc::c_int, std::ptr::null(), now.as_mut_ptr()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: sigaction has filled it in.
    Ok(match unsafe { now.assume_init() }.sa_sigaction {
        libc::SIG_DFL => Disposition::Default,
        libc::SIG_IGN => Disposition::Ignored,
        _ => Disposition::Handled,
    })
}
