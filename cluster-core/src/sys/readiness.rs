//! Descriptors that Tokio waits for.
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::sys::eventfd::EventFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Owners of a descriptor that stays the same and open for as long as they live.
pub(crate) trait Steady: AsRawFd {}

impl Steady for OwnedFd {}
impl Steady for Arc<OwnedFd> {}
impl Steady for Arc<EventFd> {}

/// Lets the current runtime wait for a descriptor.
pub(crate) fn watch<T: Steady>(fd: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: `Steady` types own their descriptor: its number stays valid until the value is dropped, and
    // the AsyncFd owns the value.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}

/// Lets the current runtime wait until a descriptor can be read. It is not told when it could be written to: a
/// socket says so whenever its peer reads, which would wake this process for nothing.
pub(crate) fn watch_reading<T: Steady>(fd: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: as in `watch`.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(io::Error::from)
}

/// Waits until a descriptor can be written to.
pub(crate) async fn writable(fd: BorrowedFd<'_>) -> io::Result<()> {
    // A second one: a descriptor is in an epoll set once (epoll_ctl(2), EEXIST), and there for reading.
    let second = fd.try_clone_to_owned()?;
    // SAFETY: as in `watch`.
    let waiting = unsafe { AsyncFd::register_with_interest(second, Interest::WRITABLE) };
    waiting.map_err(io::Error::from)?.writable().await.map(drop)
}
