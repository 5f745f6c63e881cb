//! Descriptors: inherited ones, the close-on-exec flag, standard streams.
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::libc;

/// Takes over an inherited descriptor whose number the environment names, once per process.
pub(crate) fn adopt(number: RawFd) -> nix::Result<OwnedFd> {
    if number <= 2 {
        return Err(Errno::EBADF);
    }
    // SAFETY: only looked at for the length of this call, to see whether it is open at all.
    let there = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(there, FcntlArg::F_GETFD)?;
    // SAFETY: it is open, the parent passed it for us alone, and the caller adopts a number only once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Lets a descriptor cross an exec, or not.
pub(crate) fn set_cloexec(fd: BorrowedFd<'_>, on: bool) -> nix::Result<()> {
    let flag = if on { FdFlag::FD_CLOEXEC } else { FdFlag::empty() };
    fcntl(fd, FcntlArg::F_SETFD(flag)).map(drop)
}

/// Reads and writes on it answer `EAGAIN` instead of waiting.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> nix::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

/// Whether reads and writes on it answer `EAGAIN`.
pub(crate) fn is_nonblocking(fd: BorrowedFd<'_>) -> nix::Result<bool> {
    Ok(OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?).contains(OFlag::O_NONBLOCK))
}

/// Whether it closes on exec.
pub(crate) fn is_cloexec(fd: BorrowedFd<'_>) -> nix::Result<bool> {
    Ok(FdFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFD)?).contains(FdFlag::FD_CLOEXEC))
}

/// A number as a descriptor, for the length of `look`.
pub(crate) fn peek<T>(number: RawFd, look: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
    // SAFETY: a closed number makes the calls in `look` fail with EBADF; nothing is closed through it.
    look(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Between fork and exec: nothing from 3 up crosses the exec. Async-signal-safe.
pub(crate) fn cloexec_all_from_3() {
    // SAFETY: plain system calls on numbers; they set a flag and close nothing.
    unsafe {
        if libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_uint) == 0 {
            return;
        }
        // Linux 5.10 has no CLOSE_RANGE_CLOEXEC. The hard limit may be huge; ours sit low.
        for fd in 3..65_536 {
            let flags = libc::fcntl(fd, libc::F_GETFD);
            if flags >= 0 {
                libc::fcntl(fd, libc::F_SETFD, flags | libc::FD_CLOEXEC);
            }
        }
    }
}

/// Makes `fd` the descriptor `number`, open across an exec. Async-signal-safe.
pub(crate) fn place(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        return set_cloexec(fd, false).map_err(io::Error::from);
    }
    // SAFETY: dup2 makes one number a copy of another; the caller gives numbers it owns (0, 1, 2).
    if unsafe { libc::dup2(fd.as_raw_fd(), number) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// C's buffered output is written now, so that a fork does not copy it (fork(2), fflush(3)).
pub(crate) fn flush_c_stdio() {
    // SAFETY: fflush(NULL) flushes all open output streams and takes no other argument.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}
