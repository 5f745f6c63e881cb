//! The smallest client that will do: who answers a request on a new connection?
use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

/// How often somebody new asks, while those before wait for their answers.
const ASK_EVERY: Duration = Duration::from_millis(5);
/// How soon after a question that failed.
const ASK_AGAIN: Duration = Duration::from_micros(500);

/// Where to ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) addr: SocketAddr,
    pub(crate) path: &'static str,
}

/// A request on a connection of its own, and what has come of the answer.
struct Question {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Question {
    fn ask(Place { addr, path }: Place, patience: Duration) -> io::Result<Self> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
        let mut stream = TcpStream::connect_timeout(&addr, patience)?;
        stream.set_nodelay(true)?;
        stream.write_all(request.as_bytes())?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, answer: Vec::new() })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Reads what has come: the process id of who answers, if all of it is there.
    fn hear(&mut self) -> io::Result<Option<u32>> {
        let mut buffer = [0; 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::Error::other(no_answer(&self.answer))),
                Ok(read) => self.answer.extend_from_slice(&buffer[..read]),
                Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(err) => return Err(err),
            }
            // Not read to the end: how soon a server closes is not what is measured.
            if let Some(pid) = pid_in(&self.answer) {
                return Ok(Some(pid));
            }
        }
    }
}

/// The process id in `hello from worker ID (pid PID)`, once all of it is there.
pub(crate) fn pid_in(answer: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(answer).ok()?.strip_prefix("HTTP/1.1 200 ")?;
    let (_, rest) = text.split_once("(pid ")?;
    rest.split_once(')')?.0.parse().ok()
}

fn no_answer(answer: &[u8]) -> String {
    match String::from_utf8_lossy(answer).lines().next() {
        Some(line) => format!("an answer without a process id, `{line}`"),
        None => "the connection was closed without an answer".to_owned(),
    }
}

/// Questions that wait, and why the last one failed.
struct Inquiry {
    place: Place,
    waiting: Vec<Question>,
    failure: io::Error,
}

impl Inquiry {
    /// Asks once more; answers with when to ask again.
    fn ask(&mut self, patience: Duration) -> Instant {
        match Question::ask(self.place, patience) {
            Ok(question) => {
                self.waiting.push(question);
                Instant::now() + ASK_EVERY
            }
            Err(err) => self.failed(err),
        }
    }

    fn failed(&mut self, err: io::Error) -> Instant {
        self.failure = err;
        Instant::now() + ASK_AGAIN
    }

    /// Waits for something to read until `next`, and takes all who answer. Where one was asked in vain, `next`
    /// comes sooner.
    fn hear(&mut self, next: &mut Instant) -> io::Result<Vec<u32>> {
        self.wait(next.saturating_duration_since(Instant::now()))?;
        let mut heard = Vec::new();
        for mut question in std::mem::take(&mut self.waiting) {
            match question.hear() {
                Ok(None) => self.waiting.push(question),
                Ok(Some(pid)) => heard.push(pid),
                Err(err) => *next = self.failed(err).min(*next),
            }
        }
        Ok(heard)
    }

    fn wait(&self, at_most: Duration) -> io::Result<()> {
        let readable = |question| PollFd::new(Question::fd(question), PollFlags::POLLIN);
        let mut fds: Vec<PollFd> = self.waiting.iter().map(readable).collect();
        match ppoll(&mut fds, Some(TimeSpec::from(at_most)), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(err) => Err(err.into()),
        }
    }
}

/// Asks until somebody answers who `is_meant`.
///
/// A question that fails is asked again, and none is waited for alone: the kernel may have given it to a
/// worker while that died, and so does the primary of a peer that hands connections out.
///
/// # Errors
/// The last failure, where nobody answers in time.
fn who_answers(place: Place, is_meant: impl Fn(u32) -> bool, patience: Duration) -> io::Result<u32> {
    let start = Instant::now();
    let mut inquiry = Inquiry { place, waiting: Vec::new(), failure: io::ErrorKind::TimedOut.into() };
    while start.elapsed() < patience {
        let mut next = inquiry.ask(patience);
        while Instant::now() < next {
            let heard = inquiry.hear(&mut next)?;
            if let Some(pid) = heard.iter().find(|pid| is_meant(**pid)) {
                return Ok(*pid);
            }
            if !heard.is_empty() {
                break;
            }
        }
    }
    Err(inquiry.failure)
}

/// Asks until somebody other than `victim` answers.
pub(crate) fn successor_of(victim: u32, place: Place, patience: Duration) -> io::Result<u32> {
    who_answers(place, |pid| pid != victim, patience)
}

/// Asks until `workers` of them have answered.
pub(crate) fn hear_from_all(workers: usize, place: Place, patience: Duration) -> io::Result<BTreeSet<u32>> {
    let mut heard = BTreeSet::new();
    while heard.len() < workers {
        let next = who_answers(place, |pid| !heard.contains(&pid), patience);
        heard.insert(next.map_err(|err| {
            let some = heard.len();
            io::Error::new(err.kind(), format!("{some} of {workers} workers have answered, then: {err}"))
        })?);
    }
    Ok(heard)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Answers one connection after the other in these words, and all further ones as the last. `None` is a
    /// connection that stays open and silent.
    fn server(answers: &'static [Option<&'static str>]) -> Place {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("its address");
        thread::spawn(move || {
            let mut silent = Vec::new();
            let (last, others) = answers.split_last().expect("a server says something");
            for answer in others.iter().chain(std::iter::repeat(last)) {
                let (mut stream, _) = listener.accept().expect("a connection");
                match answer {
                    // Read first: closing a connection with unread data resets it.
                    Some(answer) => {
                        drop(read_request(&mut stream).and_then(|()| stream.write_all(answer.as_bytes())))
                    }
                    None => silent.push(stream),
                }
            }
        });
        Place { addr, path: "/" }
    }

    fn read_request(stream: &mut TcpStream) -> io::Result<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            request.extend(byte);
        }
        Ok(())
    }

    #[test]
    fn the_pid_is_read_only_when_all_of_it_has_come() {
        assert_eq!(pid_in(b"HTTP/1.1 200 OK\r\n\r\nhello from worker 3 (pid 123)"), Some(123));
        assert_eq!(pid_in(b"HTTP/1.1 200 OK\r\n\r\nhello from worker 3 (pid 12"), None);
        assert_eq!(pid_in(b"HTTP/1.1 500 Oh\r\n\r\nhello from worker 3 (pid 123)"), None);
    }

    #[test]
    fn the_victims_last_answer_and_a_lost_connection_are_no_successor() {
        let place = server(&[
            Some("HTTP/1.1 200 OK\r\n\r\n(pid 1)"),
            Some(""),
            Some("HTTP/1.1 200 OK\r\n\r\n(pid 2)"),
        ]);
        assert_eq!(successor_of(1, place, PATIENCE).expect("the third answers"), 2);
    }

    #[test]
    fn a_connection_that_is_never_answered_holds_up_nobody() {
        let place = server(&[None, None, Some("HTTP/1.1 200 OK\r\n\r\n(pid 2)")]);
        assert_eq!(successor_of(1, place, PATIENCE).expect("the third answers"), 2);
    }

    #[test]
    fn all_workers_are_heard() {
        const ONE: Option<&str> = Some("HTTP/1.1 200 OK\r\n\r\n(pid 1)");
        let place = server(&[ONE, ONE, Some("HTTP/1.1 200 OK\r\n\r\n(pid 7)")]);
        assert_eq!(hear_from_all(2, place, PATIENCE).expect("both answer"), BTreeSet::from([1, 7]));
    }

    #[test]
    fn who_does_not_answer_in_time_is_told_by_the_last_failure() {
        let place = server(&[Some("HTTP/1.1 404 Not Found\r\n\r\n")]);
        let err = hear_from_all(3, place, Duration::from_millis(50)).expect_err("no pid").to_string();
        assert!(err.contains("0 of 3 workers") && err.contains("404 Not Found"), "{err}");
    }
}
