//! Serves one connection: hyper underneath, the application's service on top.
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Version, header};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tower::{Service, ServiceExt};

use crate::drain::Drain;
use crate::stream::Counted;

/// How long a client may take to send the head of a request.
pub(crate) const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// What all connections of a worker share.
#[derive(Debug)]
pub(crate) struct Protocol {
    builder: auto::Builder<TokioExecutor>,
    header_read_timeout: Duration,
    pub(crate) drain: Drain,
}

impl Protocol {
    pub(crate) fn new(header_read_timeout: Duration) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(header_read_timeout);
        // WebSockets over HTTP/2 (RFC 8441), as axum::serve has them.
        builder.http2().timer(TokioTimer::new()).enable_connect_protocol();
        Self { builder, header_read_timeout, drain: Drain::default() }
    }

    /// Serves a connection until its client, its protocol or a drain ends it. `'static`, so that a request
    /// costs no reference count.
    pub(crate) async fn serve<H, S>(&'static self, stream: Counted<H>, service: S)
    where
        H: Send + Unpin + 'static,
        S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
    {
        let asked = &AtomicBool::new(false);
        let service = service_fn(move |request| {
            asked.store(true, Ordering::Relaxed);
            respond(&self.drain, service.clone(), request)
        });
        let mut connection = pin!(self.builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        // hyper-util waits for the first bytes without a limit, and only then does hyper's own begin.
        let mut first_request = pin!(tokio::time::sleep(self.header_read_timeout));
        let mut closing = pin!(self.drain.closing());
        let mut heeds_drain = false;
        let mut told_to_close = false;
        poll_fn(|cx| {
            // An error is the client's doing, or names it: nothing that this side could mend.
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            // Once is enough: this task's waker stays the same, and what is woken reads the phase.
            if !heeds_drain {
                heeds_drain = true;
                let _ = closing.as_mut().poll(cx);
            }
            if self.drain.is_closing() && !told_to_close {
                told_to_close = true;
                connection.as_mut().graceful_shutdown();
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
            }
            if asked.load(Ordering::Relaxed) { Poll::Pending } else { first_request.as_mut().poll(cx) }
        })
        .await;
    }
}

/// Answers one request.
async fn respond<S>(
    drain: &'static Drain,
    service: S,
    request: Request<Incoming>,
) -> Result<Response, Infallible>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let version = request.version();
    // A body of our own kind costs an allocation, an empty one does not.
    let request = request.map(|body| if body.is_end_stream() { Body::empty() } else { Body::new(body) });
    let mut response = service.oneshot(request).await?;
    if drain.says_close() {
        say_close(&mut response, version);
    }
    Ok(response)
}

/// Tells the client not to reuse the connection. HTTP/2 has no such header (RFC 9113, 8.2.2), and on a switch
/// of protocols it says that there is one.
#[cold]
fn say_close(response: &mut Response, version: Version) {
    if version <= Version::HTTP_11 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use axum::Router;
    use axum::routing::get;
    use http_body_util::Empty;
    use hyper::body::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Notify;
    use tokio::time::Instant;
    use tokio_util::task::TaskTracker;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);
    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

    /// A worker's server without a worker.
    struct Server {
        addr: SocketAddr,
        drain: &'static Drain,
        open: TaskTracker,
    }

    impl Server {
        async fn start(app: Router) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let protocol: &'static Protocol = Box::leak(Box::new(Protocol::new(LIMIT)));
            let open = TaskTracker::new();
            open.close();
            let counted = open.clone();
            tokio::spawn(async move {
                loop {
                    let (tcp, _) = listener.accept().await.unwrap();
                    tokio::spawn(protocol.serve(Counted::new(tcp, counted.token()), app.clone()));
                }
            });
            Self { addr, drain: &protocol.drain, open }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.addr).await.unwrap()
        }
    }

    fn hello() -> Router {
        Router::new().route("/", get(|| async { "hello" }))
    }

    /// A handler that has begun, and ends when it is told to.
    fn held() -> (Router, Arc<Notify>, Arc<Notify>) {
        let (begun, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begin, end) = (begun.clone(), release.clone());
        let handler = move || async move {
            begin.notify_one();
            end.notified().await;
            "held"
        };
        (Router::new().route("/", get(handler)), begun, release)
    }

    /// Reads one answer, up to the end of a body that is `end`.
    async fn read_answer(client: &mut TcpStream, end: &str) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(end.as_bytes()) {
            assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0, "closed after {answer:?}");
        }
        String::from_utf8(answer).unwrap()
    }

    /// Waits until the server closes; answers with what came before.
    async fn read_to_end(client: &mut TcpStream) -> String {
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        rest
    }

    #[tokio::test]
    async fn a_connection_serves_several_requests() {
        let server = Server::start(hello()).await;
        let mut client = server.connect().await;
        for _ in 0..2 {
            client.write_all(GET).await.unwrap();
            let answer = read_answer(&mut client, "hello").await;
            assert!(!answer.contains("connection:"), "{answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_closed_by_the_deadline() {
        let server = Server::start(hello()).await;
        let start = Instant::now();
        assert_eq!(read_to_end(&mut server.connect().await).await, "");
        assert!(start.elapsed().abs_diff(LIMIT) < Duration::from_secs(1), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_byte_at_the_last_moment_buys_no_time() {
        let server = Server::start(hello()).await;
        let start = Instant::now();
        let mut client = server.connect().await;
        tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
        client.write_all(b"G").await.unwrap();
        assert_eq!(read_to_end(&mut client).await, "");
        assert!(start.elapsed().abs_diff(LIMIT) < Duration::from_secs(1), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_handler_has_all_the_time_it_wants() {
        let slow = || async {
            tokio::time::sleep(LIMIT * 3).await;
            "at last"
        };
        let server = Server::start(Router::new().route("/", get(slow))).await;
        let mut client = server.connect().await;
        client.write_all(GET).await.unwrap();
        read_answer(&mut client, "at last").await;
    }

    #[tokio::test]
    async fn a_request_in_flight_is_answered_and_told_to_close() {
        let (app, begun, release) = held();
        let server = Server::start(app).await;
        let mut client = server.connect().await;
        client.write_all(GET).await.unwrap();
        begun.notified().await;
        server.drain.begin_lame_duck();
        server.drain.close();
        release.notify_one();
        let answer = read_to_end(&mut client).await;
        assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("held"), "{answer}");
        server.open.wait().await;
    }

    #[tokio::test]
    async fn an_idle_connection_is_served_until_the_lame_duck_ends() {
        let server = Server::start(hello()).await;
        let (mut asks, mut waits) = (server.connect().await, server.connect().await);
        for client in [&mut asks, &mut waits] {
            client.write_all(GET).await.unwrap();
            read_answer(client, "hello").await;
        }
        server.drain.begin_lame_duck();
        asks.write_all(GET).await.unwrap();
        let answer = read_to_end(&mut asks).await;
        assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("hello"), "{answer}");
        assert!(!server.open.is_empty(), "the other connection is open");
        server.drain.close();
        assert_eq!(read_to_end(&mut waits).await, "");
        server.open.wait().await;
    }

    #[tokio::test]
    async fn a_connection_accepted_late_heeds_the_drain_too() {
        let server = Server::start(hello()).await;
        server.drain.begin_lame_duck();
        server.drain.close();
        assert_eq!(read_to_end(&mut server.connect().await).await, "");
        server.open.wait().await;
    }

    #[tokio::test]
    async fn http2_ends_gracefully_and_never_says_connection() {
        let (app, begun, release) = held();
        let server = Server::start(app).await;
        let io = TokioIo::new(server.connect().await);
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let connection = tokio::spawn(connection);
        let answer = client.send_request(Request::new(Empty::<Bytes>::new()));
        let drain = async {
            begun.notified().await;
            server.drain.begin_lame_duck();
            server.drain.close();
            release.notify_one();
        };
        let (answer, ()) = tokio::join!(answer, drain);
        let answer = answer.unwrap();
        assert_eq!((answer.version(), answer.status()), (Version::HTTP_2, StatusCode::OK));
        assert!(!answer.headers().contains_key(header::CONNECTION));
        drop(answer);
        connection.await.unwrap().unwrap();
        server.open.wait().await;
    }

    #[tokio::test]
    async fn an_upgraded_connection_is_open_until_its_handler_drops_it() {
        let echo = |request: Request| async {
            tokio::spawn(async {
                let mut stream = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
                let byte = stream.read_u8().await.unwrap();
                stream.write_u8(byte).await.unwrap();
            });
            (StatusCode::SWITCHING_PROTOCOLS, [(header::CONNECTION, "upgrade"), (header::UPGRADE, "echo")])
        };
        let server = Server::start(Router::new().route("/", get(echo))).await;
        server.drain.begin_lame_duck();
        let mut client = server.connect().await;
        let ask = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        client.write_all(ask).await.unwrap();
        let answer = read_answer(&mut client, "\r\n\r\n").await;
        assert!(answer.contains("\r\nconnection: upgrade\r\n"), "{answer}");
        server.drain.close();
        assert!(!server.open.is_empty());
        client.write_u8(b'!').await.unwrap();
        assert_eq!(read_to_end(&mut client).await, "!");
        server.open.wait().await;
    }
}
