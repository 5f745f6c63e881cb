//! Whether a worker has descriptors to spare for connections that are handed to it: one that comes where there is none is
//! lost, for nobody else can have it then.
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::resource::{Resource, getrlimit};

/// Beyond so many before the last they are looked after. A descriptor's number is the lowest that is free (dup(2)), so
/// that a high one says that they are nearly used up.
const NEARLY: u64 = 16;
/// Others of this process may open some meanwhile.
const MARGIN: usize = 4;

/// How a worker is off for descriptors.
#[derive(Debug)]
pub(crate) struct Spare {
    /// As many as there can be.
    limit: u64,
    is_scarce: bool,
}

impl Spare {
    pub(crate) fn new() -> Self {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
        Self { limit, is_scarce: false }
    }

    /// One came in.
    pub(crate) fn took(&mut self, fd: &OwnedFd) {
        self.is_scarce = fd.as_raw_fd() as u64 + NEARLY >= self.limit;
    }

    /// One did not fit.
    pub(crate) fn lost(&mut self) {
        self.is_scarce = true;
    }

    /// Whether there is room for so many: tried, where they are scarce.
    ///
    /// # Errors
    /// There is not.
    pub(crate) fn check(&self, count: usize, any: BorrowedFd<'_>) -> io::Result<()> {
        if !self.is_scarce {
            return Ok(());
        }
        (0..count + MARGIN).map(|_| any.try_clone_to_owned()).collect::<io::Result<Vec<_>>>().map(drop)
    }
}
