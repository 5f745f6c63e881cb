//! A request on a connection of its own, and its answer: nothing here waits.
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{Domain, Socket, Type};

use crate::client::pid_in;

/// Clients come from this many addresses, so that a source port is free however many connections there were.
const SOURCES: u8 = 8;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// What is asked, and on what kind of connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// `/`, then the server closes.
    Hello,
    /// Blocks the loop of whoever answers for [`Request::BLOCKED_MS`], then the server closes.
    Block,
    /// `/`, and again on the same connection when it is answered.
    KeptAlive,
}

impl Request {
    /// For how long [`Request::Block`] blocks a loop.
    pub(crate) const BLOCKED_MS: u64 = 500;

    fn text(self) -> &'static [u8] {
        match self {
            Self::Hello => b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n",
            Self::Block => b"GET /block?ms=500 HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n",
            Self::KeptAlive => b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n",
        }
    }
}

/// One request that waits for its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    socket: Socket,
    request: Request,
    begun: Instant,
    sent: usize,
    answer: Vec<u8>,
}

impl Exchange {
    /// Connects, and sends what can be sent at once. `nth` decides which address it comes from.
    pub(crate) fn begin(addr: SocketAddr, request: Request, nth: usize) -> io::Result<Self> {
        let begun = Instant::now();
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), None)?;
        // The port is chosen by connect(2): it has to differ for this server only.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        let last = 2 + (nth % usize::from(SOURCES)) as u8;
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into())?;
        match socket.connect(&addr.into()) {
            Ok(()) => {}
            Err(err) if err.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {}
            Err(err) => return Err(err),
        }
        let mut exchange = Self { socket, request, begun, sent: 0, answer: Vec::with_capacity(256) };
        exchange.send()?;
        Ok(exchange)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn request(&self) -> Request {
        self.request
    }

    /// When it was about to connect, or to ask again.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// Does what can be done now: the process id of who has answered, once the answer has ended.
    pub(crate) fn advance(&mut self) -> io::Result<Option<u32>> {
        self.send()?;
        let mut buffer = [0; 1024];
        loop {
            let ended = match self.socket.read(&mut buffer) {
                Ok(0) if self.request == Request::KeptAlive => {
                    return Err(io::Error::other("a connection that was to be kept was closed"));
                }
                Ok(0) => true,
                Ok(read) => {
                    self.answer.extend_from_slice(&buffer[..read]);
                    self.request == Request::KeptAlive && is_whole(&self.answer)?
                }
                Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(err) if err.kind() == ErrorKind::Interrupted => continue,
                Err(err) => return Err(err),
            };
            if ended {
                return pid_in(&self.answer).map(Some).ok_or_else(|| unclear(&self.answer));
            }
        }
    }

    /// Asks once more on the same connection.
    pub(crate) fn again(&mut self) -> io::Result<()> {
        (self.begun, self.sent) = (Instant::now(), 0);
        self.answer.clear();
        self.send()
    }

    fn send(&mut self) -> io::Result<()> {
        let text = self.request.text();
        while self.sent < text.len() {
            match self.socket.write(&text[self.sent..]) {
                Ok(sent) => self.sent += sent,
                // Not connected yet.
                Err(err) if err.kind() == ErrorKind::WouldBlock => break,
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }
}

/// Whether all has come that the head announces.
fn is_whole(answer: &[u8]) -> io::Result<bool> {
    let Some(head) = answer.windows(HEAD_END.len()).position(|bytes| bytes == HEAD_END) else {
        return Ok(false);
    };
    let length = content_length(&answer[..head]).ok_or_else(|| unclear(answer))?;
    Ok(answer.len() >= head + HEAD_END.len() + length)
}

fn content_length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    })
}

fn unclear(answer: &[u8]) -> io::Error {
    io::Error::other(match String::from_utf8_lossy(answer).lines().next() {
        Some(line) => format!("an answer without a process id or a length, `{line}`"),
        None => "the connection was closed without an answer".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is_there() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        for length in 0..answer.len() {
            assert!(!is_whole(&answer[..length]).expect("a length"), "after {length} bytes");
        }
        assert!(is_whole(answer).expect("a length"));
    }

    #[test]
    fn an_answer_without_a_length_is_an_error() {
        let err = is_whole(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").expect_err("no length");
        assert!(err.to_string().contains("HTTP/1.1 200 OK"), "{err}");
    }

    #[test]
    fn a_loop_is_blocked_for_as_long_as_is_said() {
        let text = String::from_utf8_lossy(Request::Block.text());
        assert!(text.starts_with(&format!("GET /block?ms={} ", Request::BLOCKED_MS)), "{text}");
    }
}
