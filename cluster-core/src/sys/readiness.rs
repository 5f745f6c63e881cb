//! Descriptors that Tokio waits for.
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::sys::eventfd::EventFd;
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
