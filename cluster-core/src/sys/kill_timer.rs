//! A timer at whose end the kernel kills this process, whatever its threads do (timer_create(2)).
use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

/// This process is killed after so long. It cannot be taken back. Takes no lock and allocates nothing: the calls are
/// the kernel's own, because some C libraries allocate for a timer.
pub(crate) fn kill_self_after(time: Duration) -> nix::Result<()> {
    // SAFETY: plain data, for which all zero is valid.
    let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = libc::SIGKILL;
    let mut timer: libc::c_int = 0;
    // SAFETY: both outlive the call, and are what it reads and fills in.
    let made = unsafe {
        libc::syscall(libc::SYS_timer_create, libc::CLOCK_MONOTONIC, &raw const event, &raw mut timer)
    };
    Errno::result(made)?;
    let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let after = libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        // One that is all zero would switch the timer off.
        tv_nsec: time.subsec_nanos().max(1).into(),
    };
    let when = libc::itimerspec { it_interval: never, it_value: after };
    let none = ptr::null_mut::<libc::itimerspec>();
    // SAFETY: the timer is ours; `when` outlives the call.
    let set = unsafe { libc::syscall(libc::SYS_timer_settime, timer, 0, &raw const when, none) };
    Errno::result(set).map(drop)
}
