//! Clients that keep their connections and ask again as soon as they are answered, many from each thread. They do no
//! more than they must, because they share the processors with whom they ask.
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{CONNECTIONS, Outcome, THREADS};
use crate::failures::Failures;
use crate::window::Window;

const HEAD_END: &[u8] = b"\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 ";
/// The longest head of an answer.
const LONGEST_HEAD: usize = 4096;
/// How many events are taken at once.
const EVENTS: usize = 128;
/// How long one waits for an event before the time is looked at again.
const LOOK_EVERY_MS: u8 = 50;

/// Who asks the same of the same server.
#[derive(Debug)]
pub(super) struct Crowd {
    addr: SocketAddr,
    request: Vec<u8>,
    /// What has to be the answer.
    body: Vec<u8>,
}

/// One connection.
struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
    filled: usize,
    /// Whether it has been answered at all.
    answered: bool,
}

impl Crowd {
    pub(super) fn new(addr: SocketAddr, path: &str, body: String) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").into_bytes();
        Self { addr, request, body: body.into_bytes() }
    }

    /// Asks until the window ends, and counts within it.
    ///
    /// # Errors
    /// A connection cannot be made.
    pub(super) fn ask(&self, window: &Window) -> io::Result<Outcome> {
        let parts: Vec<io::Result<(usize, Failures)>> = thread::scope(|scope| {
            let ask = |_| scope.spawn(|| self.ask_from_one_thread(CONNECTIONS / THREADS, window));
            let threads: Vec<_> = (0..THREADS).map(ask).collect();
            threads.into_iter().map(|thread| thread.join().expect("who asks does not panic")).collect()
        });
        let (mut answers, mut failures) = (0, Failures::default());
        for part in parts {
            let (answered, failed) = part?;
            answers += answered;
            failures.add(failed);
        }
        Ok(Outcome { per_second: answers as f64 / window.length().as_secs_f64(), failures })
    }

    fn ask_from_one_thread(&self, clients: usize, window: &Window) -> io::Result<(usize, Failures)> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let enter = |at| Client::enter(self, &epoll, at);
        let mut clients = (0..clients).map(enter).collect::<io::Result<Vec<Client>>>()?;
        let (mut answers, mut failures) = (0, Failures::default());
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            let count = match epoll.wait(&mut events, EpollTimeout::from(LOOK_EVERY_MS)) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(err) => return Err(err.into()),
            };
            // One look for all that came together.
            let now = Instant::now();
            if now >= window.end {
                break;
            }
            for event in &events[..count] {
                let at = event.data() as usize;
                match clients[at].hear(self) {
                    Ok(true) if window.has(now) => answers += 1,
                    Ok(_) => {}
                    Err(err) => {
                        failures.note(&err);
                        clients[at] = Client::enter(self, &epoll, at)?;
                    }
                }
            }
        }
        for _ in clients.iter().filter(|client| !client.answered) {
            failures.note(&io::Error::new(ErrorKind::TimedOut, "a client that nobody has answered"));
        }
        Ok((answers, failures))
    }

    /// Whether this is all of the answer.
    ///
    /// # Errors
    /// It is none, or not the right one.
    fn is_answered_by(&self, heard: &[u8]) -> io::Result<bool> {
        let (head, body) = heard.split_at(heard.len().saturating_sub(self.body.len()));
        if body == self.body && head.ends_with(HEAD_END) && head.starts_with(OK) {
            return Ok(true);
        }
        // Not yet, or not at all.
        let end = heard.windows(HEAD_END.len()).position(|bytes| bytes == HEAD_END);
        let begun = match end {
            Some(end) => {
                heard.starts_with(OK) && {
                    let body = &heard[end + HEAD_END.len()..];
                    body.len() < self.body.len() && self.body.starts_with(body)
                }
            }
            None => heard.len() < LONGEST_HEAD,
        };
        if begun { Ok(false) } else { Err(another(heard)) }
    }
}

impl Client {
    /// Connects and asks for the first time.
    fn enter(crowd: &Crowd, epoll: &Epoll, at: usize) -> io::Result<Self> {
        let mut stream = TcpStream::connect(crowd.addr)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, at as u64))?;
        stream.write_all(&crowd.request)?;
        let answer = vec![0; LONGEST_HEAD + crowd.body.len()];
        Ok(Self { stream, answer, filled: 0, answered: false })
    }

    /// Reads what has come, and asks again where that was all: whether it was.
    fn hear(&mut self, crowd: &Crowd) -> io::Result<bool> {
        match self.stream.read(&mut self.answer[self.filled..]) {
            Ok(0) => return Err(io::Error::other("a connection that was to be kept was closed")),
            Ok(read) => self.filled += read,
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(false);
            }
            Err(err) => return Err(err),
        }
        if !crowd.is_answered_by(&self.answer[..self.filled])? {
            return Ok(false);
        }
        (self.filled, self.answered) = (0, true);
        // So short that there is room for it, or there is no connection.
        self.stream.write_all(&crowd.request)?;
        Ok(true)
    }
}

fn another(heard: &[u8]) -> io::Error {
    let text = String::from_utf8_lossy(&heard[..heard.len().min(400)]).into_owned();
    io::Error::other(format!("another answer than the one that is right: {text:?}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    fn crowd(addr: SocketAddr) -> Crowd {
        Crowd::new(addr, "/hello", "hello".to_owned())
    }

    fn nowhere() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    /// Each connection is answered so many times, with this.
    fn server(answer: &'static str, times: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("its address");
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.expect("a client");
                thread::spawn(move || {
                    for _ in 0..times {
                        // The client may have left.
                        if !client.read(&mut [0; 1024]).is_ok_and(|read| read > 0)
                            || client.write_all(answer.as_bytes()).is_err()
                        {
                            return;
                        }
                    }
                });
            }
        });
        addr
    }

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        for length in 1..answer.len() {
            assert!(!crowd(nowhere()).is_answered_by(&answer[..length]).expect("its start"), "{length}");
        }
        assert!(crowd(nowhere()).is_answered_by(answer).expect("the answer"));
    }

    #[test]
    fn another_answer_is_an_error() {
        for answer in [
            "HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhallo",
            "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello!",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ] {
            let err = crowd(nowhere()).is_answered_by(answer.as_bytes()).expect_err(answer).to_string();
            assert!(err.contains(&answer[..15]), "{err}");
        }
    }

    #[test]
    fn what_is_answered_within_the_window_counts() {
        let addr = server("HTTP/1.1 200 OK\r\n\r\nhello", usize::MAX);
        let window = Window::after(Duration::from_millis(50), Duration::from_millis(200));
        let outcome = crowd(addr).ask(&window).expect("it can connect");
        assert_eq!(outcome.failures.told(), None);
        assert!(outcome.per_second > 0.0);
        let never = Window { start: Instant::now() + Duration::from_millis(200), ..window };
        assert_eq!(crowd(addr).ask_from_one_thread(1, &never).expect("it can connect").0, 0);
    }

    #[test]
    fn who_is_closed_comes_again_and_counts_as_a_failure() {
        let addr = server("HTTP/1.1 200 OK\r\n\r\nhello", 2);
        let window = Window::after(Duration::ZERO, Duration::from_millis(200));
        let (answers, failures) = crowd(addr).ask_from_one_thread(1, &window).expect("it can connect");
        assert!(answers > 2 && failures.count > 0, "{answers} {failures:?}");
        // Reset, where a request had come meanwhile that nobody will read.
        let says_so = |told: String| told.contains("closed") || told.contains("reset");
        assert!(failures.told().is_some_and(says_so), "{failures:?}");
    }

    #[test]
    fn who_is_never_answered_counts_as_a_failure() {
        let addr = server("", usize::MAX);
        let window = Window::after(Duration::ZERO, Duration::from_millis(100));
        let (answers, failures) = crowd(addr).ask_from_one_thread(3, &window).expect("it can connect");
        assert_eq!((answers, failures.count), (0, 3), "{failures:?}");
    }
}
