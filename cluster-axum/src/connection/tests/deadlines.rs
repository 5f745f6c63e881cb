//! What a client has how long for.
use axum::body::Body;
use axum::routing::{any, post};
use futures::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::client::conn::http2;
use tokio::time::sleep;

use super::*;
use crate::connection::patience::PROGRESS;

const SECOND: Duration = Duration::from_secs(1);
const HEAD: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(40);
const BODY: Duration = Duration::from_secs(20);
const WRITE: Duration = Duration::from_secs(70);
/// More than any socket takes by itself.
const MUCH: usize = 64 * 1024 * 1024;

fn settings() -> Settings {
    let timeouts =
        Timeouts { header_read: Some(HEAD), keep_alive: Some(IDLE), body: Some(BODY), write: Some(WRITE) };
    let mut settings = Settings { timeouts, ..Settings::default() };
    // A clock that jumps leaves no time for a ping's answer.
    settings.configure.push(Box::new(|http| {
        http.http2().keep_alive_interval(None);
    }));
    settings
}

fn near(elapsed: Duration, limit: Duration) {
    assert!(elapsed.abs_diff(limit) < SECOND, "{elapsed:?}, and not {limit:?}");
}

/// Greets, takes bodies, and has more to say than anybody wants to hear.
fn app() -> Router {
    let all = || async { Bytes::from(vec![b'x'; MUCH]) };
    hello()
        .route("/take", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/leave", post(|| async { "not read" }))
        .route("/much", get(all))
        .route("/pieces", get(|| async { Body::from_stream(stream::repeat_with(piece)) }))
}

fn piece() -> Result<Bytes, Infallible> {
    Ok(Bytes::from(vec![b'x'; 16 * 1024]))
}

fn post_of(len: usize, path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\r\n")
}

/// Sends one byte per second until the connection ends.
async fn trickle(client: &mut TcpStream) -> (String, Duration) {
    let start = Instant::now();
    let (mut read, mut write) = client.split();
    let mut rest = Vec::new();
    let trickling = async {
        loop {
            sleep(SECOND).await;
            // It may have been closed in this second.
            if write.write_all(b"x").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        // A reset is an end, too: bytes were on their way.
        _ = read.read_to_end(&mut rest) => {}
        () = trickling => {}
    }
    (String::from_utf8(rest).unwrap(), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_by_the_deadline_for_idle_ones() {
    let server = Server::start_with(app(), settings()).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.write_all(GET).await.unwrap();
        read_answer(&mut client, "hello").await;
        sleep(IDLE - SECOND).await;
    }
    client.write_all(GET).await.unwrap();
    read_answer(&mut client, "hello").await;
    let start = Instant::now();
    assert_eq!(read_to_end(&mut client).await, "");
    near(start.elapsed(), IDLE);
    server.open.wait().await;
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_is_closed_by_the_deadline_from_its_first_byte() {
    let server = Server::start_with(app(), settings()).await;
    let mut client = server.connect().await;
    near(trickle(&mut client).await.1, HEAD);
    let mut client = server.connect().await;
    client.write_all(GET).await.unwrap();
    read_answer(&mut client, "hello").await;
    sleep(IDLE - SECOND * 2).await;
    let (rest, elapsed) = trickle(&mut client).await;
    assert_eq!(rest, "");
    near(elapsed, HEAD + SECOND);
    server.open.wait().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_answered_with_408_and_closed() {
    let server = Server::start_with(app(), settings()).await;
    for begin in ["", "some"] {
        let mut client = server.connect().await;
        client.write_all(post_of(100, "/take").as_bytes()).await.unwrap();
        client.write_all(begin.as_bytes()).await.unwrap();
        let start = Instant::now();
        let answer = read_to_end(&mut client).await;
        near(start.elapsed(), BODY);
        assert!(
            answer.starts_with("HTTP/1.1 408 ") && answer.contains("\r\nconnection: close\r\n"),
            "{answer}"
        );
    }
    server.open.wait().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_of_one_byte_per_second_is_too_slow() {
    let server = Server::start_with(app(), settings()).await;
    let mut client = server.connect().await;
    client.write_all(post_of(1_000_000, "/take").as_bytes()).await.unwrap();
    let (answer, elapsed) = trickle(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    near(elapsed, BODY);
    server.open.wait().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_makes_progress_may_take_as_long_as_it_wants() {
    let server = Server::start_with(app(), settings()).await;
    let mut client = server.connect().await;
    client.write_all(post_of(PROGRESS * 5, "/take").as_bytes()).await.unwrap();
    for _ in 0..5 {
        sleep(BODY - SECOND).await;
        client.write_all(&vec![b'x'; PROGRESS]).await.unwrap();
    }
    let answer = read_answer(&mut client, &(PROGRESS * 5).to_string()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_wait_for_a_body_without_end() {
    let patiently = |timeout: BodyTimeout, body: Body| async move {
        timeout.lift();
        body.collect().await.unwrap().to_bytes().len().to_string()
    };
    let server = Server::start_with(Router::new().route("/", post(patiently)), settings()).await;
    let mut client = server.connect().await;
    client.write_all(post_of(4, "/").as_bytes()).await.unwrap();
    sleep(BODY * 50).await;
    client.write_all(b"done").await.unwrap();
    read_answer(&mut client, "\r\n\r\n4").await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_has_something_good_to_say_says_it() {
    let count = |body: Body| async move { format!("{} came", bytes_before_error(body).await) };
    let server = Server::start_with(Router::new().route("/", post(count)), settings()).await;
    let mut client = server.connect().await;
    client.write_all(post_of(100, "/").as_bytes()).await.unwrap();
    client.write_all(b"four").await.unwrap();
    let answer = read_answer(&mut client, "4 came").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

async fn bytes_before_error(body: Body) -> usize {
    let mut body = body.into_data_stream();
    let mut bytes = 0;
    while let Some(Ok(chunk)) = body.next().await {
        bytes += chunk.len();
    }
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_reads_holds_nothing_up() {
    let server = Server::start_with(app(), settings()).await;
    let mut client = server.connect().await;
    client.write_all(post_of(1_000_000, "/leave").as_bytes()).await.unwrap();
    let start = Instant::now();
    assert!(read_to_end(&mut client).await.ends_with("not read"));
    near(start.elapsed(), Duration::ZERO);
    server.open.wait().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_given_up() {
    let server = Server::start_with(app(), settings()).await;
    for path in ["/much", "/pieces"] {
        let mut client = server.connect().await;
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        client.readable().await.unwrap();
        let start = Instant::now();
        while !server.open.is_empty() {
            sleep(SECOND / 4).await;
        }
        near(start.elapsed(), WRITE);
    }
}

/// In real time, because the kernel's clock does not jump.
#[tokio::test]
async fn an_answer_that_is_taken_slowly_is_finished() {
    let some = |millis| Some(Duration::from_millis(millis));
    let timeouts =
        Timeouts { header_read: some(200), keep_alive: some(300), body: some(200), write: some(2000) };
    let server = Server::start_with(app(), Settings { timeouts, ..Settings::default() }).await;
    let mut client = server.connect().await;
    client.write_all(b"GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut buffer = vec![0; MUCH / 20];
    let (mut read, start) = (0, Instant::now());
    // To hyper the answer is over from the start: all of it is in its hands.
    while read < MUCH {
        sleep(Duration::from_millis(20)).await;
        let some = client.read(&mut buffer).await.unwrap();
        assert_ne!(some, 0, "closed after {:?} and {read} bytes", start.elapsed());
        read += some;
    }
    assert!(start.elapsed() > Duration::from_millis(300), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_nothing_to_say_is_no_slow_client() {
    let silent = || async {
        let later = stream::once(async {
            sleep(WRITE * 10).await;
            Ok::<_, Infallible>("at last")
        });
        Body::from_stream(later)
    };
    let server = Server::start_with(Router::new().route("/", get(silent)), settings()).await;
    let mut client = server.connect().await;
    client.write_all(GET).await.unwrap();
    read_answer(&mut client, "at last\r\n0\r\n\r\n").await;
    let (mut client, connection) = http2(server.connect().await, 65_535).await;
    let answer = client.send_request(get_of("/")).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "at last");
    connection.abort();
}

type Client = http2::SendRequest<Full<Bytes>>;

/// A client of HTTP/2 that takes so much of a stream until it is asked to read.
async fn http2(tcp: TcpStream, window: u32) -> (Client, tokio::task::JoinHandle<hyper::Result<()>>) {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window);
    let (client, connection) = builder.handshake(TokioIo::new(tcp)).await.unwrap();
    (client, tokio::spawn(connection))
}

fn get_of(path: &str) -> Request<Full<Bytes>> {
    Request::builder().uri(format!("http://localhost{path}")).body(Full::default()).unwrap()
}

/// In real time: a clock that jumps while something is on its way takes the one for the other.
#[tokio::test]
async fn an_idle_connection_of_http2_is_told_to_leave() {
    let mut settings = settings();
    settings.timeouts.keep_alive = Some(SECOND / 2);
    let server = Server::start_with(app(), settings).await;
    let (mut client, connection) = http2(server.connect().await, 65_535).await;
    let answer = client.send_request(get_of("/")).await.unwrap();
    let start = Instant::now();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
    // No error: it was GOAWAY, and not a cut.
    connection.await.unwrap().unwrap();
    // The answer was sent a little before it came.
    assert!(start.elapsed() > SECOND / 4, "{:?}", start.elapsed());
    server.open.wait().await;
}

/// Says what it hears, as a WebSocket over HTTP/2 begins (RFC 8441).
async fn tunnel(request: Request) {
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
        tokio::io::copy(&mut read, &mut write).await
    });
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_through_http2_has_no_deadline() {
    let server = Server::start_with(hello().route("/tunnel", any(tunnel)), settings()).await;
    let (mut client, connection) = http2(server.connect().await, 65_535).await;
    let get = hyper::Request::get("http://localhost/").body(Full::default()).unwrap();
    client.send_request(get).await.unwrap().into_body().collect().await.unwrap();
    let connect = hyper::Request::connect("http://localhost/tunnel")
        .extension(hyper::ext::Protocol::from_static("websocket"))
        .body(Full::default())
        .unwrap();
    let answer = client.send_request(connect).await.unwrap();
    let mut tunnel = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    for _ in 0..3 {
        sleep(IDLE + HEAD + SECOND).await;
        tunnel.write_all(b"word").await.unwrap();
        let mut word = [0; 4];
        tunnel.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"word");
    }
    assert!(!connection.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_http2_that_nobody_reads_is_reset_and_the_others_go_on() {
    let server = Server::start_with(app(), settings()).await;
    let (mut client, connection) = http2(server.connect().await, 1000).await;
    for path in ["/much", "/pieces"] {
        let mut stalled = client.send_request(get_of(path)).await.unwrap().into_body();
        sleep(WRITE - SECOND).await;
        let answer = client.send_request(get_of("/")).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        sleep(SECOND * 2).await;
        let ended = loop {
            match stalled.frame().await {
                Some(Ok(_)) => {}
                ended => break ended,
            }
        };
        assert!(matches!(ended, Some(Err(_))), "{path}: it is reset");
    }
    assert!(!connection.is_finished());
    let answer = client.send_request(get_of("/")).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
}

#[tokio::test]
async fn a_large_answer_of_http2_comes_whole() {
    let server = Server::start_with(app(), settings()).await;
    let (mut client, _connection) = http2(server.connect().await, 1_000_000).await;
    let answer = client.send_request(get_of("/much")).await.unwrap();
    assert_eq!(answer.headers()[header::CONTENT_LENGTH], MUCH.to_string());
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(bytes.len() == MUCH && bytes.iter().all(|byte| *byte == b'x'));
}

#[tokio::test(start_paused = true)]
async fn a_body_of_http2_that_does_not_come_is_answered_with_408() {
    let server = Server::start_with(app(), settings()).await;
    let io = TokioIo::new(server.connect().await);
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let silent =
        http_body_util::StreamBody::new(stream::pending::<Result<hyper::body::Frame<Bytes>, Infallible>>());
    let request = Request::post("http://localhost/take").body(silent).unwrap();
    let start = Instant::now();
    let answer = client.send_request(request).await.unwrap();
    near(start.elapsed(), BODY);
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    assert!(!answer.headers().contains_key(header::CONNECTION));
}

#[tokio::test]
async fn a_head_may_be_so_large_and_no_larger() {
    let settings = Settings { max_header_size: 20_000, ..settings() };
    let server = Server::start_with(app(), settings).await;
    for (size, status) in [(10_000, "HTTP/1.1 200 "), (40_000, "HTTP/1.1 431 ")] {
        let mut client = server.connect().await;
        let long = "x".repeat(size);
        let request =
            format!("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nLong: {long}\r\n\r\n");
        // It may be answered before all of it is read.
        let _ = client.write_all(request.as_bytes()).await;
        let mut answer = vec![0; status.len()];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), status);
    }
    let (mut client, _connection) = http2(server.connect().await, 65_535).await;
    let mut request = get_of("/");
    request.headers_mut().insert("long", "x".repeat(40_000).parse().unwrap());
    assert_ne!(client.send_request(request).await.map(|answer| answer.status()).ok(), Some(StatusCode::OK));
}

#[tokio::test]
async fn what_hyper_can_be_told_it_is_told() {
    let mut settings = settings();
    settings.configure.push(Box::new(|http| {
        http.http1().title_case_headers(true).keep_alive(false);
    }));
    settings.configure.push(Box::new(|http| {
        http.http1().max_headers(3);
    }));
    let server = Server::start_with(app(), settings).await;
    let mut client = server.connect().await;
    client.write_all(GET).await.unwrap();
    let answer = read_to_end(&mut client).await;
    assert!(answer.contains("\r\nContent-Length: 5\r\n") && answer.ends_with("hello"), "{answer}");
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n").await.unwrap();
    assert!(read_to_end(&mut client).await.starts_with("HTTP/1.1 431 "));
}

/// It is an empty body, whose kind does not matter.
#[tokio::test]
async fn a_body_that_is_not_there_is_not_waited_for() {
    let server = Server::start_with(app(), settings()).await;
    let io = TokioIo::new(server.connect().await);
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://localhost/take").body(Empty::<Bytes>::new()).unwrap();
    let answer = client.send_request(request).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "0");
}
