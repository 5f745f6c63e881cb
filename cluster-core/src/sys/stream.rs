//! Bytes and descriptors over the message sockets.
use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::sys::ancillary::{Ancillary, Arrived};

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

/// Reads from a message socket.
pub(crate) struct Reader {
    beside: Ancillary,
}

/// What a read has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    /// 0 is the end of the stream.
    pub(crate) len: usize,
    /// Descriptors came that this process has no room for (getrlimit(2), RLIMIT_NOFILE) or may not have: they
    /// are lost, and the bytes are not. A read brings the descriptors of one write, after the bytes of others.
    pub(crate) lost: bool,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { beside: Ancillary::new() }
    }

    /// One that loses every descriptor, as where this process may open no more.
    #[cfg(test)]
    pub(crate) fn without_room() -> Self {
        Self { beside: Ancillary::within(nix::cmsg_space!([RawFd; 0])) }
    }

    /// Reads what there is, without waiting. Descriptors are added to `fds` and close on exec.
    pub(crate) fn read(
        &mut self,
        socket: BorrowedFd<'_>,
        buf: &mut [u8],
        fds: &mut Vec<OwnedFd>,
    ) -> nix::Result<Received> {
        let Arrived { len, flags, .. } = self.beside.receive(socket, buf, MsgFlags::MSG_DONTWAIT, fds)?;
        Ok(Received { len, lost: flags.contains(MsgFlags::MSG_CTRUNC) })
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::sys::socket::setsockopt;

    use super::*;
    use crate::sys::channel::stream_pair;

    #[test]
    fn a_descriptor_that_is_lost_takes_no_bytes_with_it() {
        let (ours, theirs) = stream_pair().unwrap();
        write(theirs.as_fd(), b"before", None).unwrap();
        write(theirs.as_fd(), b"parcel", Some(ours.as_fd())).unwrap();
        write(theirs.as_fd(), b"after", None).unwrap();
        let mut reader = Reader::without_room();
        let (mut buf, mut fds) = ([0; 100], Vec::new());
        let received = reader.read(ours.as_fd(), &mut buf, &mut fds).unwrap();
        assert_eq!(received, Received { len: 12, lost: true });
        assert_eq!(&buf[..12], b"beforeparcel");
        let received = reader.read(ours.as_fd(), &mut buf, &mut fds).unwrap();
        assert_eq!(received, Received { len: 5, lost: false });
        assert!(fds.is_empty());
    }

    #[test]
    fn those_that_there_was_room_for_are_taken() {
        let (ours, theirs) = stream_pair().unwrap();
        let three = [theirs.as_raw_fd(); 3];
        let rights = [ControlMessage::ScmRights(&three)];
        let some = [IoSlice::new(b"x")];
        sendmsg::<()>(theirs.as_raw_fd(), &some, &rights, MsgFlags::empty(), None).unwrap();
        write(theirs.as_fd(), b"y", Some(theirs.as_fd())).unwrap();
        let mut reader = Reader { beside: Ancillary::within(nix::cmsg_space!([RawFd; 2])) };
        let (mut buf, mut fds) = ([0; 100], Vec::new());
        let received = reader.read(ours.as_fd(), &mut buf, &mut fds).unwrap();
        assert_eq!((received, fds.len()), (Received { len: 1, lost: true }, 2));
        setsockopt(&fds[1], nix::sys::socket::sockopt::SndBuf, &4096).expect("it is open, and a socket");
        let received = reader.read(ours.as_fd(), &mut buf, &mut fds).unwrap();
        assert_eq!((received, fds.len()), (Received { len: 1, lost: false }, 3));
    }
}
