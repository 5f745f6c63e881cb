//! Unix sockets: packets with descriptors and credentials, and streams of bytes.
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    setsockopt, socketpair, sockopt,
};

/// The most descriptors the kernel lets one message carry (SCM_MAX_FD, unix(7)).
pub(crate) const MAX_DESCRIPTORS: usize = 253;

/// A pair of packet sockets; both ends close on exec. Credentials arrive with each packet on the first.
pub(crate) fn pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    setsockopt(&ours, sockopt::PassCred, &true)?;
    Ok((ours, theirs))
}

/// A pair of stream sockets for messages; both ends close on exec and never wait.
pub(crate) fn stream_pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)
}

/// Sends one packet; never raises SIGPIPE.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> nix::Result<()> {
    send_with(socket, bytes, fds, MsgFlags::MSG_NOSIGNAL)
}

/// Sends one packet or fails with `EAGAIN` where the peer does not read.
pub(crate) fn try_send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> nix::Result<()> {
    send_with(socket, bytes, fds, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT)
}

fn send_with(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: MsgFlags,
) -> nix::Result<()> {
    let iov = [IoSlice::new(bytes)];
    loop {
        let sent = if fds.is_empty() {
            sendmsg::<()>(socket.as_raw_fd(), &iov, &[], flags, None)
        } else {
            let raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
            sendmsg::<()>(socket.as_raw_fd(), &iov, &[ControlMessage::ScmRights(&raw)], flags, None)
        };
        match sent {
            Err(Errno::EINTR) => continue,
            other => return other.map(drop),
        }
    }
}

/// A packet as it came in.
pub(crate) struct Packet {
    /// Bytes written to the caller's buffer; 0 is the end of the stream.
    pub(crate) len: usize,
    /// Descriptors that came with it; they close on exec.
    pub(crate) fds: Vec<OwnedFd>,
    /// The sender's pid as the kernel vouches for it, on a socket that asks for credentials.
    pub(crate) pid: Option<i32>,
}

/// Receives one packet; `wait` says whether to block for it. A packet larger than `buf`, or with more
/// descriptors than this process may open, is `EMSGSIZE`.
pub(crate) fn receive(socket: BorrowedFd<'_>, buf: &mut [u8], wait: bool) -> nix::Result<Packet> {
    let mut flags = MsgFlags::MSG_CMSG_CLOEXEC;
    if !wait {
        flags |= MsgFlags::MSG_DONTWAIT;
    }
    let mut space = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS], nix::libc::ucred);
    let mut iov = [IoSliceMut::new(buf)];
    let received = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), flags) {
            // A peer that left without reading all of ours is reported once, BEFORE its last packets.
            Err(Errno::EINTR | Errno::ECONNRESET) => continue,
            other => break other?,
        }
    };
    let mut packet = Packet { len: received.bytes, fds: Vec::new(), pid: None };
    let cut = received.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
    // Descriptors are taken BEFORE a cut packet is refused: unowned they would stay open for good.
    if let Ok(messages) = received.cmsgs() {
        for message in messages {
            match message {
                ControlMessageOwned::ScmRights(raw) => {
                    // SAFETY: the kernel has just made these descriptors for us; nobody else owns them.
                    packet.fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                }
                ControlMessageOwned::ScmCredentials(sender) => packet.pid = Some(sender.pid()),
                _ => {}
            }
        }
    }
    if cut { Err(Errno::EMSGSIZE) } else { Ok(packet) }
}

/// Receives one packet that carries no descriptors, without allocating. 0 is the end of the stream.
pub(crate) fn receive_plain(socket: BorrowedFd<'_>, buf: &mut [u8]) -> nix::Result<usize> {
    loop {
        match nix::sys::socket::recv(socket.as_raw_fd(), buf, MsgFlags::MSG_DONTWAIT) {
            // As in `receive`.
            Err(Errno::EINTR | Errno::ECONNRESET) => continue,
            other => return other,
        }
    }
}

/// The pid that made the other end of a connected unix socket (SO_PEERCRED, unix(7)).
pub(crate) fn peer_pid(socket: BorrowedFd<'_>) -> nix::Result<i32> {
    nix::sys::socket::getsockopt(&socket, sockopt::PeerCredentials).map(|peer| peer.pid())
}
