//! One connection and its client, without a worker.
mod deadlines;
mod drains;
mod ends;

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::task::Context;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::routing::get;
use cluster_core::adapter::Traffic;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::transport::Transport;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A worker's server without a worker.
struct Server {
    addr: SocketAddr,
    drain: &'static Drain,
    open: TaskTracker,
    /// What goes over the connections that were accepted.
    traffic: Arc<Mutex<Vec<Arc<Traffic>>>>,
}

impl Server {
    async fn start(app: Router) -> Self {
        let all = Some(LIMIT);
        let timeouts = Timeouts { header_read: all, keep_alive: all, body: all, write: all };
        Self::start_with(app, Settings { timeouts, ..Settings::default() }).await
    }

    async fn start_with<S>(app: S, settings: Settings) -> Self
    where
        S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let protocol: &'static Protocol = Box::leak(Box::new(Protocol::new(settings, None)));
        let open = TaskTracker::new();
        open.close();
        let (counted, traffic) = (open.clone(), Arc::<Mutex<Vec<_>>>::default());
        let seen = traffic.clone();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let stream = Counted::new(Transport::Plain(tcp.into()), counted.token());
                seen.lock().unwrap().push(stream.traffic().clone());
                tokio::spawn(protocol.serve(stream, app.clone()));
            }
        });
        Self { addr, drain: &protocol.drain, open, traffic }
    }

    /// Waits until something is so of what goes over the only connection.
    async fn until(&self, is_so: impl Fn(&Traffic) -> bool) {
        let start = std::time::Instant::now();
        while !self.traffic.lock().unwrap().first().is_some_and(|traffic| is_so(traffic)) {
            assert!(start.elapsed() < LIMIT);
            tokio::task::yield_now().await;
        }
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

/// A service that takes its time before each request.
#[derive(Clone)]
struct Slow(Router, Option<Arc<AtomicBool>>);

impl Service<Request> for Slow {
    type Response = Response;
    type Error = Infallible;
    type Future = <Router as Service<Request>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let is_ready = self.1.get_or_insert_default();
        if is_ready.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let (is_ready, waker) = (is_ready.clone(), cx.waker().clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            is_ready.store(true, Ordering::Relaxed);
            waker.wake();
        });
        Poll::Pending
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let is_ready = self.1.take().expect("asked first");
        assert!(is_ready.load(Ordering::Relaxed), "called before it was ready");
        Service::<Request>::call(&mut self.0, request)
    }
}

#[tokio::test]
async fn a_service_is_called_when_it_is_ready() {
    let server = Server::start_with(Slow(hello(), None), Settings::default()).await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.write_all(GET).await.unwrap();
        assert!(read_answer(&mut client, "hello").await.starts_with("HTTP/1.1 200"));
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
