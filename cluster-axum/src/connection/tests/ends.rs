//! How connections are closed: nothing that was sent is lost.
use axum::routing::post;
use tokio::sync::oneshot;

use super::*;

/// More than the sockets' buffers on the client's side hold, so most of it is on its way when the connection ends.
const LARGE: usize = 1024 * 1024;

/// Of a request with a body that goes on for longer.
const BEGIN: &[u8] = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
/// What a client of HTTP/2 begins with, and a request of it.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const GET_2: &[u8] = b"\0\0\x0c\x01\x05\0\0\0\x01\x82\x86\x84\x41\x07foo.bar";
/// It gives back a byte of its window.
const WINDOW_UPDATE: &[u8] = b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01";

/// A client that was told the end sends some more; none of that resets the connection.
async fn send_on(client: &mut TcpStream, what: &[u8]) {
    for _ in 0..10 {
        client.write_all(what).await.unwrap();
        client.flush().await.unwrap();
        turns().await;
    }
}

async fn turns() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_large_answer_to_a_body_that_nobody_reads_arrives_whole() {
    let server = Server::start(Router::new().route("/", post(async || vec![b'x'; LARGE]))).await;
    let mut client = server.connect().await;
    client.write_all(&[BEGIN, &[b'y'; 100_000]].concat()).await.unwrap();
    let answer = read_to_end(&mut client).await;
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), LARGE);
    send_on(&mut client, b"yyy").await;
    drop(client);
    server.open.wait().await;
}

#[tokio::test]
async fn the_same_arrives_whole_where_the_drain_has_begun_meanwhile() {
    /// More than the kernel takes on both sides together, so that the server has to wait with the rest.
    const MORE: usize = 16 * LARGE;

    let (begun, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begin, end) = (begun.clone(), release.clone());
    let handler = async move || {
        begin.notify_one();
        end.notified().await;
        vec![b'x'; MORE]
    };
    let server = Server::start(Router::new().route("/", post(handler))).await;
    let mut client = server.connect().await;
    client.write_all(&[BEGIN, &[b'y'; 100_000]].concat()).await.unwrap();
    begun.notified().await;
    server.drain.begin_lame_duck();
    server.drain.close();
    turns().await;
    release.notify_one();
    // The application is done with it; most has to wait for the client.
    server.until(Traffic::has_answered).await;
    turns().await;
    client.write_all(b"yyy").await.unwrap();
    let answer = read_to_end(&mut client).await;
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), MORE);
}

#[tokio::test]
async fn http2_that_sends_on_after_the_last_answer_is_not_reset() {
    let server = Server::start(hello()).await;
    let mut client = server.connect().await;
    client.write_all(&[PREFACE, GET_2].concat()).await.unwrap();
    server.until(|traffic| traffic.is_http2()).await;
    server.drain.begin_lame_duck();
    let mut came = Vec::new();
    // hyper says GOAWAY twice, and in between it asks whether all has come (PING).
    let ping = |came: &[u8]| came.windows(5).position(|head| head == b"\0\0\x08\x06\0");
    while ping(&came).is_none() {
        assert_ne!(client.read_buf(&mut came).await.unwrap(), 0);
    }
    let at = ping(&came).unwrap() + 9;
    while came.len() < at + 8 {
        assert_ne!(client.read_buf(&mut came).await.unwrap(), 0);
    }
    client.write_all(&[b"\0\0\x08\x06\x01\0\0\0\0", &came[at..at + 8]].concat()).await.unwrap();
    while client.read_buf(&mut came).await.unwrap() > 0 {}
    assert!(came.ends_with(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0"), "{came:?}");
    send_on(&mut client, WINDOW_UPDATE).await;
    drop(client);
    server.open.wait().await;
}

#[tokio::test(start_paused = true)]
async fn who_never_closes_its_side_is_waited_for_no_longer_than_a_moment() {
    let server = Server::start(Router::new().route("/", post(async || "hello"))).await;
    let mut client = server.connect().await;
    client.write_all(BEGIN).await.unwrap();
    let start = Instant::now();
    read_to_end(&mut client).await;
    assert!(!server.open.is_empty(), "it may send on");
    server.open.wait().await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_that_a_drain_closes_is_not_waited_for() {
    let server = Server::start(hello()).await;
    let mut client = server.connect().await;
    client.write_all(GET).await.unwrap();
    read_answer(&mut client, "hello").await;
    server.until(Traffic::is_quiet).await;
    server.drain.begin_lame_duck();
    server.drain.close();
    let start = Instant::now();
    server.open.wait().await;
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
}

#[tokio::test]
async fn who_has_upgraded_may_close_one_side_and_read_on() {
    let (tell, told) = oneshot::channel();
    let tell = Arc::new(Mutex::new(Some(tell)));
    let listens = move |request: Request| async move {
        tokio::spawn(async move {
            let mut stream = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
            stream.shutdown().await.unwrap();
            let mut heard = String::new();
            stream.read_to_string(&mut heard).await.unwrap();
            tell.lock().unwrap().take().unwrap().send(heard).unwrap();
        });
        (StatusCode::SWITCHING_PROTOCOLS, [(header::CONNECTION, "upgrade"), (header::UPGRADE, "ear")])
    };
    let server = Server::start(Router::new().route("/", get(listens))).await;
    let mut client = server.connect().await;
    let ask = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: ear\r\n\r\n";
    client.write_all(ask).await.unwrap();
    read_to_end(&mut client).await;
    client.write_all(b"late").await.unwrap();
    drop(client);
    assert_eq!(told.await.unwrap(), "late");
}

#[tokio::test]
async fn a_client_without_a_body_is_not_waited_for() {
    let server = Server::start(hello()).await;
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let start = Instant::now();
    assert!(read_to_end(&mut client).await.ends_with("hello"));
    server.open.wait().await;
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
}
