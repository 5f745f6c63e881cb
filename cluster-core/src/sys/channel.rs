//! Unix sockets: packets with descriptors and credentials, and streams of bytes.
use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, setsockopt, socketpair, sockopt,
};

use crate::sys::ancillary::{Ancillary, Arrived};

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
    receive_within(&mut Ancillary::new(), socket, buf, wait)
}

/// As [`receive`], without waiting; of more descriptors than this process may open it brings the first.
pub(crate) fn receive_what_fits(socket: BorrowedFd<'_>, buf: &mut [u8]) -> nix::Result<Packet> {
    let mut fds = Vec::new();
    let Arrived { len, flags, pid } =
        Ancillary::new().receive(socket, buf, MsgFlags::MSG_DONTWAIT, &mut fds)?;
    if flags.contains(MsgFlags::MSG_TRUNC) { Err(Errno::EMSGSIZE) } else { Ok(Packet { len, fds, pid }) }
}

fn receive_within(
    beside: &mut Ancillary,
    socket: BorrowedFd<'_>,
    buf: &mut [u8],
    wait: bool,
) -> nix::Result<Packet> {
    let flags = if wait { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
    let mut fds = Vec::new();
    let Arrived { len, flags, pid } = beside.receive(socket, buf, flags, &mut fds)?;
    // Those that came with a packet that was cut are closed here.
    let cut = flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
    if cut { Err(Errno::EMSGSIZE) } else { Ok(Packet { len, fds, pid }) }
}

/// Receives one packet that carries no descriptors, without allocating. 0 is the end of the stream.
pub(crate) fn receive_plain(socket: BorrowedFd<'_>, buf: &mut [u8]) -> nix::Result<usize> {
    loop {
        match nix::sys::socket::recv(socket.as_raw_fd(), buf, MsgFlags::MSG_DONTWAIT) {
            // A peer that left without reading all of ours is reported once, BEFORE its last packets.
            Err(Errno::EINTR | Errno::ECONNRESET) => continue,
            other => return other,
        }
    }
}

/// The pid that made the other end of a connected unix socket (SO_PEERCRED, unix(7)).
pub(crate) fn peer_pid(socket: BorrowedFd<'_>) -> nix::Result<i32> {
    nix::sys::socket::getsockopt(&socket, sockopt::PeerCredentials).map(|peer| peer.pid())
}

/// Whether nobody has the other end of a connected unix socket any more. Where somebody dies just now, others may have it for
/// a moment: those that it has forked and that have not executed yet.
pub(crate) fn is_deserted(socket: BorrowedFd<'_>) -> bool {
    const MOMENT_MS: u16 = 100;
    // What is told is the end of both directions, which is always asked for (poll(2)).
    let mut asked = [PollFd::new(socket, PollFlags::empty())];
    poll(&mut asked, MOMENT_MS).is_ok_and(|told| told > 0)
        && asked[0].revents().is_some_and(|told| told.contains(PollFlags::POLLHUP))
}

#[cfg(test)]
mod tests {
    use std::io::PipeReader;
    use std::os::fd::AsFd;

    use nix::libc;
    use nix::poll::PollTimeout;

    use super::*;
    use crate::sys::ancillary;

    /// Sends a pipe's end that is written to, so many times, and keeps none.
    fn send_writers(socket: &OwnedFd, count: usize) -> PipeReader {
        let (reader, writer) = std::io::pipe().unwrap();
        send(socket.as_fd(), b"packet", &vec![writer.as_fd(); count]).unwrap();
        reader
    }

    /// Whether nobody has the other end of a pipe. A process that another test starts has it for a moment.
    fn is_closed(reader: &PipeReader) -> bool {
        let mut ends = [PollFd::new(reader.as_fd(), PollFlags::empty())];
        poll(&mut ends, PollTimeout::from(5000_u16)) == Ok(1)
    }

    #[test]
    fn a_packet_brings_its_descriptors_and_its_sender() {
        let (ours, theirs) = pair().unwrap();
        let reader = send_writers(&theirs, ancillary::MAX_DESCRIPTORS);
        let mut buf = [0; 100];
        let packet = receive(ours.as_fd(), &mut buf, false).unwrap();
        assert_eq!((packet.len, packet.fds.len()), (6, ancillary::MAX_DESCRIPTORS));
        assert_eq!(packet.pid, Some(std::process::id() as i32));
        drop(packet);
        assert!(is_closed(&reader));
    }

    #[test]
    fn descriptors_of_a_packet_that_is_cut_are_closed() {
        let (ours, theirs) = pair().unwrap();
        let reader = send_writers(&theirs, 3);
        // The kernel opens two, and drops the third.
        let mut beside = Ancillary::within(nix::cmsg_space!([RawFd; 2], libc::ucred));
        let mut buf = [0; 100];
        let received = receive_within(&mut beside, ours.as_fd(), &mut buf, false).map(|packet| packet.len);
        assert_eq!(received, Err(Errno::EMSGSIZE));
        assert!(is_closed(&reader), "a descriptor of a packet that nobody got is open");
        // Neither are they taken for those of the next.
        send(theirs.as_fd(), b"plain", &[]).unwrap();
        let packet = receive_within(&mut beside, ours.as_fd(), &mut buf, false).unwrap();
        assert_eq!((packet.len, packet.fds.len()), (5, 0));
        assert_eq!(packet.pid, Some(std::process::id() as i32));
    }

    #[test]
    fn descriptors_of_a_packet_that_is_too_long_are_closed() {
        let (ours, theirs) = pair().unwrap();
        let reader = send_writers(&theirs, 3);
        let received = receive(ours.as_fd(), &mut [0; 3], false).map(|packet| packet.len);
        assert_eq!(received, Err(Errno::EMSGSIZE));
        assert!(is_closed(&reader));
    }

    #[test]
    fn a_socket_is_deserted_when_its_other_end_is_closed() {
        let (ours, theirs) = pair().unwrap();
        assert!(!is_deserted(theirs.as_fd()));
        // What was said before stays there to be read.
        send(ours.as_fd(), b"a word", &[]).unwrap();
        assert!(!is_deserted(theirs.as_fd()));
        drop(ours);
        assert!(is_deserted(theirs.as_fd()));
    }
}
