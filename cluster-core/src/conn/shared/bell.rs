//! The bell that all workers share: whoever rings it wakes one that waits for connections.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// An eventfd in the wait set of every idle worker, exclusively: a ring wakes one of them. Rung while nobody is idle,
/// it wakes the first who is again.
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> nix::Result<Self> {
        EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map(|fd| Self(fd.into()))
    }

    /// Wakes a worker that is idle.
    pub(crate) fn ring(&self) {
        // Full after 2^64 rings without an answer.
        let _ = nix::unistd::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// It was heard: it is silent until the next ring.
    pub(crate) fn answer(&self) {
        // Another may have answered it: EAGAIN.
        let _ = nix::unistd::read(&self.0, &mut [0; 8]);
    }
}

#[cfg(test)]
impl Bell {
    /// Whether it was rung and not heard.
    pub(crate) fn is_rung(&self) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(1)
    }
}

impl From<OwnedFd> for Bell {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
