//! What a drain does to connections.
use cluster_core::adapter::HALF_SENT;
use futures::stream;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use tokio::sync::mpsc;

use super::*;

/// The begin of a request's head, and the rest.
const HALVES: [&[u8]; 2] = [b"GET / HTTP/1.1\r\nHo", b"st: localhost\r\n\r\n"];

/// At `/stream` an answer that goes on for as long as somebody sends.
fn streaming() -> (Router, mpsc::Sender<&'static str>) {
    let (say, said) = mpsc::channel::<&'static str>(1);
    let said = Arc::new(tokio::sync::Mutex::new(Some(said)));
    let handler = move || async move {
        let said = said.lock().await.take().expect("it is asked for once");
        Body::from_stream(stream::unfold(said, |mut said| async {
            said.recv().await.map(|chunk| (Ok::<_, Infallible>(chunk), said))
        }))
    };
    (hello().route("/stream", get(handler)), say)
}

/// A client of HTTP/2 on this connection, which it drives.
async fn http2(
    tcp: TcpStream,
) -> (http2::SendRequest<Empty<Bytes>>, tokio::task::JoinHandle<hyper::Result<()>>) {
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
    (client, tokio::spawn(connection))
}

fn request() -> Request<Empty<Bytes>> {
    Request::new(Empty::new())
}

/// The connection's task has its turns: it sees the drain, reads what has come, and looks whether it may close.
async fn turns() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
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

#[tokio::test]
async fn half_a_request_is_answered_when_the_rest_comes_after_the_lame_duck() {
    for asked_before in [false, true] {
        let server = Server::start(hello()).await;
        let mut client = server.connect().await;
        if asked_before {
            client.write_all(GET).await.unwrap();
            read_answer(&mut client, "hello").await;
        }
        server.until(Traffic::is_quiet).await;
        client.write_all(HALVES[0]).await.unwrap();
        server.until(|traffic| !traffic.is_quiet()).await;
        server.drain.begin_lame_duck();
        server.drain.close();
        turns().await;
        client.write_all(HALVES[1]).await.unwrap();
        let answer = read_to_end(&mut client).await;
        assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("hello"), "{answer}");
        server.open.wait().await;
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_request_that_never_goes_on_holds_up_a_drain_for_five_seconds() {
    let server = Server::start(hello()).await;
    let mut client = server.connect().await;
    client.write_all(HALVES[0]).await.unwrap();
    server.until(|traffic| !traffic.is_quiet()).await;
    server.drain.begin_lame_duck();
    server.drain.close();
    let start = Instant::now();
    assert_eq!(read_to_end(&mut client).await, "");
    assert!(start.elapsed().abs_diff(HALF_SENT) < Duration::from_millis(100), "{:?}", start.elapsed());
    server.open.wait().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_up_to_the_one_that_says_close() {
    let (app, say) = streaming();
    let server = Server::start(app).await;
    let mut client = server.connect().await;
    // The first answer has begun before anybody knew of a drain, and so does not say it.
    client.write_all(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    say.send("begun").await.unwrap();
    read_answer(&mut client, "begun\r\n").await;
    client.write_all(&[GET, GET].concat()).await.unwrap();
    server.drain.begin_lame_duck();
    server.drain.close();
    turns().await;
    drop(say);
    let rest = read_to_end(&mut client).await;
    assert_eq!(rest.matches("HTTP/1.1 200").count(), 1, "{rest}");
    assert!(rest.contains("\r\nconnection: close\r\n") && rest.ends_with("hello"), "{rest}");
    server.open.wait().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_streams_is_finished_however_long_it_takes() {
    let (app, say) = streaming();
    let server = Server::start(app).await;
    let mut client = server.connect().await;
    client.write_all(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    say.send("one").await.unwrap();
    server.drain.begin_lame_duck();
    server.drain.close();
    tokio::time::sleep(HALF_SENT * 10).await;
    say.send("two").await.unwrap();
    drop(say);
    let answer = read_to_end(&mut client).await;
    assert!(answer.contains("one") && answer.ends_with("two\r\n0\r\n\r\n"), "{answer}");
    server.open.wait().await;
}

#[tokio::test]
async fn an_idle_connection_of_http2_leaves_at_the_start_of_the_lame_duck() {
    let server = Server::start(hello()).await;
    let (mut client, connection) = http2(server.connect().await).await;
    let answer = client.send_request(request()).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
    server.drain.begin_lame_duck();
    connection.await.unwrap().unwrap();
    server.open.wait().await;
}

#[tokio::test]
async fn a_stream_of_http2_that_is_open_at_the_start_of_the_lame_duck_is_finished() {
    let (app, say) = streaming();
    let server = Server::start(app).await;
    let (mut client, connection) = http2(server.connect().await).await;
    let asked = Request::builder().uri("http://localhost/stream").body(Empty::new()).unwrap();
    let mut answer = client.send_request(asked).await.unwrap().into_body();
    server.drain.begin_lame_duck();
    server.drain.close();
    say.send("late").await.unwrap();
    drop(say);
    assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "late");
    assert!(answer.frame().await.is_none_or(|frame| frame.unwrap().is_data()));
    connection.await.unwrap().unwrap();
    server.open.wait().await;
}

#[tokio::test]
async fn a_client_of_http2_that_begins_in_the_lame_duck_is_answered_once_and_told_to_leave() {
    let server = Server::start(hello()).await;
    let tcp = server.connect().await;
    server.until(|_| true).await;
    server.drain.begin_lame_duck();
    let (mut client, connection) = http2(tcp).await;
    let answer = client.send_request(request()).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
    connection.await.unwrap().unwrap();
    server.open.wait().await;
}
