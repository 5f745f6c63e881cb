//! How many connections wait at a listening socket that nobody has accepted yet.
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

/// The state of a socket that listens, in `tcpi_state` (include/net/tcp_states.h, TCP_LISTEN).
const LISTENS: u8 = 10;

/// An accept queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AcceptQueue {
    /// Connections in it.
    pub(crate) waiting: u32,
    /// As many as it takes, after what the kernel has cut.
    pub(crate) limit: u32,
}

/// The accept queue of a TCP socket that listens. None of any other: a unix socket does not tell.
pub(crate) fn accept_queue(listener: BorrowedFd<'_>) -> Option<AcceptQueue> {
    // SAFETY: plain data for which all zero is valid.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` is valid for `len` bytes, which is all that the kernel writes (tcp(7), TCP_INFO).
    let done = unsafe {
        libc::getsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    // Of a socket that listens these two have another meaning (net/ipv4/tcp.c, tcp_get_info).
    (done == 0 && info.tcpi_state == LISTENS)
        .then_some(AcceptQueue { waiting: info.tcpi_unacked, limit: info.tcpi_sacked })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn who_waits_at_a_tcp_socket_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let waiting = |listener: &TcpListener| accept_queue(listener.as_fd()).unwrap().waiting;
        assert_eq!(waiting(&listener), 0);
        let _clients: Vec<TcpStream> =
            (0..3).map(|_| TcpStream::connect(listener.local_addr().unwrap()).unwrap()).collect();
        assert_eq!(waiting(&listener), 3);
        drop(listener.accept().unwrap());
        assert_eq!(waiting(&listener), 2);
        assert!(accept_queue(listener.as_fd()).unwrap().limit >= 128);
    }

    #[test]
    fn what_is_no_listening_tcp_socket_has_no_queue() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(accept_queue(client.as_fd()), None);
        let path = std::env::temp_dir().join(format!("cluster-no-queue-{}", std::process::id()));
        let unix = UnixListener::bind(&path).unwrap();
        assert_eq!(accept_queue(unix.as_fd()), None);
        std::fs::remove_file(path).unwrap();
    }
}
