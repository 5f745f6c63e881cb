//! A listening socket, TCP or unix, and what it accepts. No Tokio: who waits, and on what, is others' business.
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fmt, io};

use nix::errno::Errno;
use nix::libc::{SOCK_CLOEXEC, SOCK_NONBLOCK};
use socket2::{SockAddr, SockRef, Socket};

use crate::ipc::control::Queue;
use crate::sys::readiness::Steady;

/// A listening socket of either kind. It does not wait, and closes on exec.
#[derive(Debug)]
pub(crate) struct ListeningSocket {
    fd: OwnedFd,
    queue: Queue,
    /// Connections that this process has refused.
    refused: Arc<AtomicU64>,
}

/// A connection that was accepted and that no runtime knows yet. Its descriptor does not wait, and closes on exec.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) fd: OwnedFd,
    pub(crate) peer: PeerAddr,
}

/// Where a client is.
///
/// # Example
/// ```
/// use cluster_core::PeerAddr;
/// let addr: std::net::SocketAddr = "127.0.0.1:4711".parse().unwrap();
/// assert_eq!(PeerAddr::from(addr).to_string(), "127.0.0.1:4711");
/// assert_eq!(PeerAddr::Unix.tcp(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerAddr {
    /// At the other end of a TCP connection.
    Tcp(SocketAddr),
    /// On this machine, over a unix socket. Such clients have no address as a rule; who they are,
    /// [`UnixStream::peer_cred`](tokio::net::UnixStream::peer_cred) says.
    Unix,
}

impl PeerAddr {
    /// The address of a TCP client.
    ///
    /// # Example
    /// ```
    /// # fn handle(connection: cluster_core::Connection) {
    /// if let Some(addr) = connection.peer_addr().tcp() {
    ///     println!("from {}", addr.ip());
    /// }
    /// # }
    /// ```
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            PeerAddr::Tcp(addr) => Some(*addr),
            PeerAddr::Unix => None,
        }
    }

    /// Of an address as the kernel gives it; a socket of any other family is none of a cluster's.
    fn of(addr: &SockAddr) -> io::Result<Self> {
        match addr.as_socket() {
            Some(addr) => Ok(PeerAddr::Tcp(addr)),
            None if addr.is_unix() => Ok(PeerAddr::Unix),
            None => Err(io::Error::new(io::ErrorKind::Unsupported, "neither a TCP nor a unix socket")),
        }
    }
}

impl From<SocketAddr> for PeerAddr {
    fn from(addr: SocketAddr) -> Self {
        PeerAddr::Tcp(addr)
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddr::Tcp(addr) => addr.fmt(f),
            PeerAddr::Unix => f.write_str("unix"),
        }
    }
}

/// Accepts once, without waiting where the listener does not (`WouldBlock`). One system call.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<Incoming> {
    let (socket, addr) = SockRef::from(&listener).accept4(SOCK_NONBLOCK | SOCK_CLOEXEC)?;
    Ok(Incoming { fd: socket.into(), peer: PeerAddr::of(&addr)? })
}

/// So many failures in a row, each of which seems to concern one connection alone, are a fault of something else: whoever
/// goes on without a pause may go on for ever.
pub(crate) const PERSISTENT: usize = 64;

/// What to do about a failed accept.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Nobody waits.
    Empty,
    /// It concerns that connection alone (accept(2), "Error handling"), unless it is [`PERSISTENT`].
    OneConnection(io::Error),
    /// No descriptor, memory or epoll watch: wait for some to become free.
    Exhausted(io::Error),
    /// This worker is to have no more connections.
    Full,
    /// The socket is no listener any more: the primary is gone and its queue was closed.
    Closed,
}

impl From<io::Error> for Trouble {
    fn from(err: io::Error) -> Self {
        match Errno::from_raw(err.raw_os_error().unwrap_or(0)) {
            Errno::EAGAIN => Trouble::Empty,
            Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::ENOSPC => {
                Trouble::Exhausted(err)
            }
            Errno::EINVAL | Errno::EBADF | Errno::ENOTSOCK => Trouble::Closed,
            _ => Trouble::OneConnection(err),
        }
    }
}

impl Incoming {
    /// A connection whose descriptor another process has accepted and handed over. Fails with `NotConnected` where
    /// the client has reset it meanwhile.
    pub(crate) fn received(fd: OwnedFd) -> io::Result<Self> {
        // The address tells the family, too: one call, where SO_DOMAIN would be a second.
        let peer = PeerAddr::of(&SockRef::from(&fd).peer_addr()?)?;
        Ok(Self { fd, peer })
    }
}

impl ListeningSocket {
    pub(crate) fn of(fd: OwnedFd, queue: Queue) -> Self {
        Self { fd, queue, refused: Arc::default() }
    }

    /// One that somebody else has opened, and gives to the next run, too.
    pub(crate) fn lent(fd: OwnedFd) -> Self {
        Self::of(fd, Queue::Lent)
    }

    /// Whose what waits in its queue is when the cluster has ended.
    pub(crate) fn queue(&self) -> Queue {
        self.queue
    }

    /// Another descriptor of the same socket.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, queue: self.queue, refused: self.refused.clone() })
    }

    /// Closes its queue, for all processes that have it: clients are refused, and a successor can bind. A second
    /// time it does nothing, and never to a socket that is lent.
    pub(crate) fn shut_down(&self) {
        match self.queue {
            // Fails only where it listens no more.
            Queue::Ours => drop(SockRef::from(&self.fd).shutdown(Shutdown::Read)),
            Queue::Lent => {}
        }
    }

    /// Accepts one connection and resets it. One at a unix socket is closed.
    pub(crate) fn refuse(&self) -> io::Result<()> {
        let Incoming { fd, peer: _ } = accept(self.as_fd())?;
        self.reset(fd);
        Ok(())
    }

    /// Resets a connection that was accepted here.
    pub(crate) fn reset(&self, connection: OwnedFd) {
        // Closed with nothing to wait for, it is reset (socket(7), SO_LINGER), also where nothing was sent yet.
        let _ = SockRef::from(&connection).set_linger(Some(Duration::ZERO));
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that were refused here.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Where it listens, if that is an address of TCP.
    pub(crate) fn tcp_addr(&self) -> Option<SocketAddr> {
        SockRef::from(&self.fd).local_addr().ok()?.as_socket()
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for ListeningSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

// It owns its descriptor, and never changes it.
impl Steady for ListeningSocket {}

impl From<Socket> for ListeningSocket {
    fn from(socket: Socket) -> Self {
        Self::of(socket.into(), Queue::Ours)
    }
}

impl From<OwnedFd> for ListeningSocket {
    fn from(fd: OwnedFd) -> Self {
        Self::of(fd, Queue::Ours)
    }
}

impl From<ListeningSocket> for OwnedFd {
    fn from(socket: ListeningSocket) -> Self {
        socket.fd
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::sys::descriptors::{is_cloexec, is_nonblocking};

    fn tcp() -> (ListeningSocket, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        (OwnedFd::from(listener).into(), addr)
    }

    fn never_waits(incoming: &Incoming) {
        assert_eq!(is_nonblocking(incoming.fd.as_fd()), Ok(true));
        assert_eq!(is_cloexec(incoming.fd.as_fd()), Ok(true));
    }

    #[test]
    fn what_the_whole_machine_or_process_lacks_concerns_no_single_connection() {
        // ENFILE: all descriptors of the machine; ENOSPC: epoll watches of the user.
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM, Errno::ENOSPC] {
            let trouble = Trouble::from(io::Error::from(errno));
            assert!(matches!(trouble, Trouble::Exhausted(_)), "{errno}: {trouble:?}");
        }
        for errno in [Errno::ECONNABORTED, Errno::EPERM, Errno::EPROTO, Errno::EINTR] {
            let trouble = Trouble::from(io::Error::from(errno));
            assert!(matches!(trouble, Trouble::OneConnection(_)), "{errno}: {trouble:?}");
        }
    }

    #[test]
    fn a_tcp_client_is_accepted_with_its_address_and_nobody_waits() {
        let (listener, addr) = tcp();
        assert_eq!(accept(listener.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let client = TcpStream::connect(addr).unwrap();
        let incoming = accept(listener.as_fd()).unwrap();
        assert_eq!(incoming.peer, PeerAddr::Tcp(client.local_addr().unwrap()));
        never_waits(&incoming);
    }

    #[test]
    fn a_unix_client_is_accepted_and_nobody_waits() {
        let path = std::env::temp_dir().join(format!("cluster-accept-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = ListeningSocket::from(OwnedFd::from(listener));
        assert_eq!(accept(listener.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let _client = UnixStream::connect(&path).unwrap();
        let incoming = accept(listener.as_fd()).unwrap();
        assert_eq!(incoming.peer, PeerAddr::Unix);
        never_waits(&incoming);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_descriptor_that_was_handed_over_knows_its_client() {
        let (listener, addr) = tcp();
        let client = TcpStream::connect(addr).unwrap();
        let Incoming { fd, peer } = accept(listener.as_fd()).unwrap();
        assert_eq!(peer, PeerAddr::Tcp(client.local_addr().unwrap()));
        assert_eq!(Incoming::received(fd).unwrap().peer, peer);
        let (unix, _other) = UnixStream::pair().unwrap();
        assert_eq!(Incoming::received(unix.into()).unwrap().peer, PeerAddr::Unix);
    }

    #[test]
    fn a_client_that_is_refused_is_reset_and_counted() {
        use std::io::Read;
        let (listener, addr) = tcp();
        let mut client = TcpStream::connect(addr).unwrap();
        listener.try_clone().unwrap().refuse().unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(listener.refused(), 1);
        assert_eq!(listener.refuse().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_descriptor_that_is_no_connection_is_refused() {
        let (listener, _) = tcp();
        assert_eq!(Incoming::received(listener.into()).unwrap_err().kind(), io::ErrorKind::NotConnected);
        assert!(Incoming::received(std::io::pipe().unwrap().0.into()).is_err());
    }
}
