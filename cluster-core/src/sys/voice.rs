//! Writing to a descriptor of somebody else's without ever waiting for its reader.
//!
//! The open file behind standard error is shared with other processes, so its O_NONBLOCK is not ours to set,
//! and that poll(2) says it is writable is no promise: others write there too.
use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};

/// A way to write that answers `EAGAIN` where it would have to wait.
pub(crate) struct Voice {
    fd: OwnedFd,
    /// Written by send(2), which has a flag for it.
    socket: bool,
}

impl Voice {
    /// A pipe or terminal is opened once more, without waiting, for us alone; a file never makes wait.
    pub(crate) fn of(fd: OwnedFd) -> Self {
        let kind = fstat(&fd)
            .map_or(SFlag::empty(), |stat| SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()));
        let socket = kind == SFlag::S_IFSOCK;
        if kind == SFlag::S_IFIFO || kind == SFlag::S_IFCHR {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
            if let Ok(again) = OpenOptions::new().write(true).custom_flags(flags).open(path) {
                return Self { fd: again.into(), socket };
            }
        }
        Self { fd, socket }
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> nix::Result<usize> {
        if !self.socket {
            return nix::unistd::write(&self.fd, bytes);
        }
        send(self.fd.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
    }
}

impl AsFd for Voice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
