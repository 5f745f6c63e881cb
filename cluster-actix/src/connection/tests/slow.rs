//! Clients that take their time.
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::Instant;

use super::*;

const SHORT: Duration = Duration::from_millis(200);

fn app() -> App<
    impl ServiceFactory<
        actix_web::dev::ServiceRequest,
        Config = (),
        Response = actix_web::dev::ServiceResponse,
        Error = Error,
        InitError = (),
    >,
> {
    App::new()
        .route("/", web::get().to(async || "hello"))
        .route("/", web::post().to(async |body: web::Bytes| format!("{} bytes", body.len())))
}

fn hasty() -> Settings {
    Settings { client_request_timeout: SHORT, client_body_timeout: SHORT, ..Settings::default() }
}

/// Sends `end` byte by byte, slowly, until the server has had enough.
async fn trickle(client: &mut TcpStream, text: &str) -> String {
    let (mut read, mut write) = client.split();
    let mut answer = String::new();
    let sending = async {
        for byte in text.bytes().cycle() {
            if write.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    // It may be reset: what is sent meets nobody.
    let reading = async { drop(read.read_to_string(&mut answer).await) };
    tokio::time::timeout(LIMIT, futures::future::select(std::pin::pin!(sending), std::pin::pin!(reading)))
        .await
        .expect("it closes");
    answer
}

#[actix_web::test]
async fn a_first_head_that_trickles_is_answered_408() {
    let mut client = client_with(app, hasty(), &testing::worker()).await;
    ask(&mut client, "GET / HTTP/1.1\r\n").await;
    let answer = trickle(&mut client, "X-Slow: y\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[actix_web::test]
async fn a_later_head_that_trickles_closes_the_connection() {
    let mut client = client_with(app, hasty(), &testing::worker()).await;
    ask(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let begin = Instant::now();
    let answer = trickle(&mut client, "X").await;
    assert!(begin.elapsed() >= SHORT, "{:?}", begin.elapsed());
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 2, "{answer}");
}

#[actix_web::test]
async fn a_body_that_trickles_is_answered_408_and_the_connection_is_closed() {
    let mut client = client_with(app, hasty(), &testing::worker()).await;
    ask(&mut client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n").await;
    let answer = trickle(&mut client, "x").await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("connection: close"), "{answer}");
}

#[actix_web::test]
async fn a_body_does_not_get_more_time_by_a_header_that_speaks_of_an_upgrade() {
    let mut client = client_with(app, hasty(), &testing::worker()).await;
    let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 100000\r\n\r\n";
    ask(&mut client, head).await;
    let answer = trickle(&mut client, "x").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[actix_web::test]
async fn what_became_another_protocol_has_all_the_time_there_is() {
    let app = || {
        let echo = async |mut body: web::Payload| {
            let echoed = streamed(move |send| async move {
                while let Some(Ok(piece)) = body.next().await {
                    drop(send.send(piece));
                }
            });
            HttpResponse::SwitchingProtocols().upgrade("websocket").streaming(echoed)
        };
        App::new().route("/", web::get().to(echo))
    };
    let mut client =
        client_with(app, Settings { client_body_timeout: SHORT, ..Settings::default() }, &testing::worker())
            .await;
    ask(&mut client, "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let mut heard = Vec::new();
    while !heard.ends_with(b"\r\n\r\n") {
        assert_ne!(client.read_buf(&mut heard).await.unwrap(), 0);
    }
    assert!(heard.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&heard));
    tokio::time::sleep(SHORT * 2).await;
    client.write_all(b"late").await.unwrap();
    heard.clear();
    while !heard.ends_with(b"late") {
        assert_ne!(client.read_buf(&mut heard).await.unwrap(), 0, "closed after {heard:?}");
    }
}

/// What `pump` sends, as it is sent.
fn streamed<F: Future<Output = ()> + 'static>(
    pump: impl FnOnce(tokio::sync::mpsc::UnboundedSender<web::Bytes>) -> F,
) -> impl futures::Stream<Item = Result<web::Bytes, Error>> {
    let (send, mut sent) = tokio::sync::mpsc::unbounded_channel();
    actix_rt::spawn(pump(send));
    futures::stream::poll_fn(move |cx| sent.poll_recv(cx).map(|piece| piece.map(Ok)))
}

#[actix_web::test]
async fn whoever_a_handler_blames_for_a_slow_body_it_was_the_client() {
    let app = || {
        let upload = async |mut body: web::Payload| {
            while let Some(piece) = body.next().await {
                piece.map_err(actix_web::error::ErrorInternalServerError)?;
            }
            Ok::<_, Error>("all is there")
        };
        App::new().route("/", web::post().to(upload))
    };
    let mut client = client_with(app, hasty(), &testing::worker()).await;
    ask(&mut client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n").await;
    let answer = trickle(&mut client, "x").await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("connection: close"), "{answer}");
}

#[actix_web::test]
async fn a_body_that_is_sent_in_time_arrives() {
    let mut client = client_with(app, hasty(), &testing::worker()).await;
    ask(&mut client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nConnection: close\r\n\r\n").await;
    for piece in ["abc", "def"] {
        tokio::time::sleep(SHORT / 4).await;
        ask(&mut client, piece).await;
    }
    assert!(rest(&mut client).await.ends_with("6 bytes"));
}

#[actix_web::test]
async fn a_client_that_takes_nothing_is_closed() {
    let endless = async || {
        let pieces = futures::stream::repeat_with(|| Ok::<_, Error>(web::Bytes::from(vec![b'x'; 65_536])));
        HttpResponse::Ok().streaming(pieces)
    };
    let app = move || App::new().route("/", web::get().to(endless));
    let settings = Settings { client_write_timeout: SHORT, ..Settings::default() };
    let mut client = client_with(app, settings, &testing::worker()).await;
    ask(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut some = vec![0; 65_536];
    // While it takes something the connection stays open for longer than that.
    let begin = Instant::now();
    while begin.elapsed() < SHORT * 3 {
        client.read_exact(&mut some).await.unwrap();
    }
    tokio::time::sleep(SHORT * 5).await;
    // The rest is what was on its way.
    let end = async { while client.read(&mut some).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(LIMIT, end).await.expect("it is closed");
}
