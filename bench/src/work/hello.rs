//! A tiny HTTP server's side of one connection, written by hand: what programs of ours and the prefork server of
//! the suite `connections` share, so that they differ in how a connection comes to a worker and in nothing else.
use std::fmt::Display;
use std::time::Duration;
use std::{str, thread};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest head of a request that is understood.
const LONGEST_HEAD: usize = 1024;
const END: &[u8] = b"\r\n\r\n";
/// Blocks the worker's loop for so many milliseconds, then is answered as everything else is.
const BLOCK: &str = "/block?ms=";

/// What a worker answers, made once.
#[derive(Debug, Clone)]
pub struct Hello {
    last: String,
    further: String,
}

impl Hello {
    /// `hello from worker ID (pid PID)`.
    pub fn from(worker: impl Display, pid: u32) -> Self {
        let hello = format!("hello from worker {worker} (pid {pid})\n");
        let length = hello.len();
        let answer =
            |connection| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{connection}\r\n{hello}");
        Self { last: answer("connection: close\r\n"), further: answer("") }
    }

    /// Answers whatever is asked for, until the client leaves or has asked for the last time.
    pub async fn serve(self, mut client: impl AsyncRead + AsyncWrite + Unpin) {
        let (mut head, mut filled) = ([0; LONGEST_HEAD], 0);
        loop {
            match client.read(&mut head[filled..]).await {
                Ok(read) if read > 0 => filled += read,
                // It has left, or says more than is understood.
                _ => return,
            }
            // A client asks again when it has its answer: what ends a head ends all there is.
            if !head[..filled].ends_with(END) {
                continue;
            }
            let request = Request::of(&head[..filled]);
            if let Some(pause) = request.blocks {
                thread::sleep(pause);
            }
            let answer = if request.is_last { &self.last } else { &self.further };
            // A client that has left needs no answer.
            if client.write_all(answer.as_bytes()).await.is_err() || request.is_last {
                return;
            }
            filled = 0;
        }
    }
}

/// What of a request matters.
#[derive(Debug, PartialEq)]
struct Request {
    blocks: Option<Duration>,
    is_last: bool,
}

impl Request {
    fn of(head: &[u8]) -> Self {
        let mut lines = str::from_utf8(head).unwrap_or_default().lines();
        let path = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
        let pause = path.strip_prefix(BLOCK).and_then(|pause| pause.parse().ok());
        let is_last = lines.any(|line| line.eq_ignore_ascii_case("connection: close"));
        Self { blocks: pause.map(Duration::from_millis), is_last }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::duplex;
    use tokio::runtime::Builder;

    use super::*;

    /// All that is answered to these requests, each asked when the one before has been answered.
    fn answers(requests: &[&str]) -> String {
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (mut client, server) = duplex(4096);
            let serving = tokio::spawn(Hello::from(3, 77).serve(server));
            let mut heard = Vec::new();
            for (at, request) in requests.iter().enumerate() {
                client.write_all(request.as_bytes()).await.expect("it is there");
                while str::from_utf8(&heard).expect("text").matches("(pid 77)\n").count() <= at {
                    assert!(client.read_buf(&mut heard).await.expect("it answers") > 0, "no answer");
                }
            }
            client.shutdown().await.expect("it is there or has left");
            client.read_to_end(&mut heard).await.expect("it closes");
            serving.await.expect("it does not panic");
            String::from_utf8(heard).expect("text")
        })
    }

    #[test]
    fn the_length_that_is_told_is_that_of_the_body() {
        let answer = answers(&["GET / HTTP/1.1\r\nConnection: close\r\n\r\n"]);
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert_eq!(body, "hello from worker 3 (pid 77)\n");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        assert!(head.contains("connection: close"), "{head}");
    }

    #[test]
    fn a_connection_is_kept_until_the_client_asks_for_the_last_time() {
        let ask = "GET / HTTP/1.1\r\n\r\n";
        let answers = answers(&[ask, ask, "GET / HTTP/1.1\r\nconnection: CLOSE\r\n\r\n"]);
        assert_eq!(answers.matches("(pid 77)").count(), 3);
        assert_eq!(answers.matches("connection: close").count(), 1);
    }

    #[test]
    fn a_request_that_blocks_says_for_how_long() {
        let blocks = |path: &str| Request::of(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).blocks;
        assert_eq!(blocks("/block?ms=500"), Some(Duration::from_millis(500)));
        assert_eq!(blocks("/"), None);
        assert_eq!(blocks("/block?ms="), None);
        let start = Instant::now();
        answers(&["GET /block?ms=20 HTTP/1.1\r\n\r\n"]);
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn who_says_too_much_is_left() {
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (mut client, server) = duplex(4096);
            client.write_all(&[b'x'; 2 * LONGEST_HEAD]).await.expect("there is room");
            Hello::from(1, 1).serve(server).await;
        });
    }
}
