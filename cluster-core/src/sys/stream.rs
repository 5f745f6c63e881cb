//! Bytes and descriptors over the message sockets.
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
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
        Self { space: nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]) }
    }

    /// One that loses every descriptor, as where this process may open no more.
    #[cfg(test)]
    pub(crate) fn without_room() -> Self {
        Self { space: vec![0; size_of::<libc::cmsghdr>()] }
    }

    /// Reads what there is, without waiting. Descriptors are added to `fds` and close on exec.
    pub(crate) fn read(
        &mut self,
        socket: BorrowedFd<'_>,
        buf: &mut [u8],
        fds: &mut Vec<OwnedFd>,
    ) -> nix::Result<Received> {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let mut iov = [IoSliceMut::new(buf)];
        // So that descriptors of an earlier read are not taken for new ones.
        self.space[..size_of::<libc::cmsghdr>()].fill(0);
        let received = loop {
            match recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut self.space), flags) {
                // A peer that left without reading all of ours is reported once, BEFORE its last bytes.
                Err(Errno::EINTR | Errno::ECONNRESET) => {}
                other => break other?,
            }
        };
        let (len, lost) = (received.bytes, received.flags.contains(MsgFlags::MSG_CTRUNC));
        if lost {
            // nix shows none of them then: those that there was room for would stay open for good.
            let some = self.descriptors();
            // SAFETY: the kernel has just made these descriptors for us; nobody else owns them.
            fds.extend(some.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            return Ok(Received { len, lost });
        }
        for message in received.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(raw) = message {
                // SAFETY: as above.
                fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        Ok(Received { len, lost })
    }

    /// The numbers in the first control message of the last read: a message socket brings no more than one.
    fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        // SAFETY: there is room for many descriptors after a head, all of it initialised, and any bytes are a head.
        let head = unsafe { self.space.as_ptr().cast::<libc::cmsghdr>().read_unaligned() };
        // SAFETY: it only calculates.
        let start = unsafe { libc::CMSG_LEN(0) } as usize;
        let rights = (head.cmsg_level, head.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS);
        // Of another type with musl.
        let end: usize = if rights { head.cmsg_len as _ } else { 0 };
        let (numbers, _) = self.space.get(start..end).unwrap_or_default().as_chunks();
        numbers.iter().copied().map(RawFd::from_ne_bytes)
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
        let mut reader = Reader { space: nix::cmsg_space!([RawFd; 2]) };
        let (mut buf, mut fds) = ([0; 100], Vec::new());
        let received = reader.read(ours.as_fd(), &mut buf, &mut fds).unwrap();
        assert_eq!((received, fds.len()), (Received { len: 1, lost: true }, 2));
        setsockopt(&fds[1], nix::sys::socket::sockopt::SndBuf, &4096).expect("it is open, and a socket");
        let received = reader.read(ours.as_fd(), &mut buf, &mut fds).unwrap();
        assert_eq!((received, fds.len()), (Received { len: 1, lost: false }, 3));
    }
}
