//! Bytes and descriptors over the message sockets.
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use crate::sys::channel::MAX_DESCRIPTORS;

/// Writes as much as the socket takes without waiting; never raises SIGPIPE. A descriptor goes with the first
/// byte: where any byte was taken, it was.
pub(crate) fn write(socket: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> nix::Result<usize> {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    loop {
        let sent = match fd {
            None => nix::sys::socket::send(socket.as_raw_fd(), bytes, flags),
            Some(fd) => {
                let raw: [RawFd; 1] = [fd.as_raw_fd()];
                let rights = [ControlMessage::ScmRights(&raw)];
                sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], &rights, flags, None)
            }
        };
        match sent {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Reads from a message socket, and keeps the room that the kernel wants for descriptors.
pub(crate) struct Reader {
    space: Vec<u8>,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { space: nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]) }
    }

    /// Reads what there is, without waiting. 0 bytes are the end of the stream. Descriptors are added to `fds`
    /// and close on exec; `EMSGSIZE` where some were lost for want of room in this process.
    pub(crate) fn read(
        &mut self,
        socket: BorrowedFd<'_>,
        buf: &mut [u8],
        fds: &mut Vec<OwnedFd>,
    ) -> nix::Result<usize> {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let mut iov = [IoSliceMut::new(buf)];
        let received = loop {
            match recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut self.space), flags) {
                // A peer that left without reading all of ours is reported once, BEFORE its last bytes.
                Err(Errno::EINTR | Errno::ECONNRESET) => {}
                other => break other?,
            }
        };
        for message in received.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(raw) = message {
                // SAFETY: the kernel has just made these descriptors for us; nobody else owns them.
                fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        if received.flags.contains(MsgFlags::MSG_CTRUNC) { Err(Errno::EMSGSIZE) } else { Ok(received.bytes) }
    }
}
