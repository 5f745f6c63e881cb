//! HTTP/2, and what a drain tells its clients.
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use h2::client::{self, Connection, SendRequest};
use tokio::sync::oneshot;

use super::*;

type Client = (SendRequest<web::Bytes>, Connection<TcpStream, web::Bytes>);

/// A client of a listener for both versions.
async fn connect<F, I, S, B>(factory: F, worker: &Worker) -> Client
where
    F: Fn() -> I,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let settings = Settings::default();
    let (client, _) = served(factory, settings, &Transport::AutoH2c, worker).await;
    client::handshake(client).await.unwrap()
}

fn get(path: &str) -> http::Request<()> {
    http::Request::get(format!("http://x{path}")).body(()).unwrap()
}

async fn text(answer: http::Response<h2::RecvStream>) -> String {
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while let Some(piece) = body.data().await {
        text.extend(piece.unwrap());
    }
    String::from_utf8(text).unwrap()
}

#[actix_web::test]
async fn both_versions_are_served_on_one_listener() {
    let app = || App::new().route("/", web::get().to(async || "hello"));
    let worker = testing::worker();
    let (mut send, connection) = connect(app, &worker).await;
    actix_rt::spawn(connection);
    let (answer, _) = send.send_request(get("/"), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    assert_eq!(text(answer).await, "hello");
    let (mut old, _) = served(app, Settings::default(), &Transport::AutoH2c, &worker).await;
    ask(&mut old, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(rest(&mut old).await.starts_with("HTTP/1.1 200"));
}

#[actix_web::test]
async fn a_drain_says_goaway_serves_what_is_open_and_closes() {
    let (go_on, may_go_on) = oneshot::channel::<()>();
    let may_go_on = std::sync::Mutex::new(Some(may_go_on));
    let may_go_on = web::Data::new(may_go_on);
    let begun = web::Data::new(tokio::sync::Notify::new());
    let has_begun = begun.clone();
    let app = move || {
        let slow = async |wait: web::Data<std::sync::Mutex<Option<oneshot::Receiver<()>>>>,
                          begun: web::Data<tokio::sync::Notify>| {
            begun.notify_one();
            let wait = wait.lock().unwrap().take().expect("it is asked for once");
            wait.await.unwrap();
            "late"
        };
        App::new().app_data(may_go_on.clone()).app_data(begun.clone()).route("/slow", web::get().to(slow))
    };
    let worker = testing::worker();
    let (send, connection) = connect(app, &worker).await;
    let ended = actix_rt::spawn(connection);
    let mut send = send.ready().await.unwrap();
    let (answer, _) = send.send_request(get("/slow"), true).unwrap();
    tokio::time::timeout(LIMIT, has_begun.notified()).await.expect("it is asked for");
    testing::drain();
    // The client is told to open no more streams, which is what it says when it is asked for one.
    let refused = tokio::time::timeout(LIMIT, async {
        while let Ok(mut send) = send.clone().ready().await {
            if send.send_request(get("/nothing"), true).is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    refused.await.expect("it is told");
    worker.end_lame_duck();
    go_on.send(()).unwrap();
    let answer = tokio::time::timeout(LIMIT, answer).await.expect("it is answered").unwrap();
    assert_eq!(text(answer).await, "late");
    drop(send);
    tokio::time::timeout(LIMIT, ended).await.expect("it is closed").unwrap().unwrap();
}

#[actix_web::test]
async fn an_idle_connection_is_closed_when_the_lame_duck_is_over() {
    let worker = testing::worker();
    let (send, connection) = connect(App::new, &worker).await;
    let ended = actix_rt::spawn(connection);
    testing::drain();
    worker.end_lame_duck();
    tokio::time::timeout(LIMIT, ended).await.expect("it is closed").unwrap().unwrap();
    drop(send);
}

#[actix_web::test]
async fn a_client_that_says_nothing_is_hung_up_on() {
    let settings = Settings { client_request_timeout: Duration::from_millis(100), ..Settings::default() };
    let (mut silent, _) = served(App::new, settings, &Transport::AutoH2c, &testing::worker()).await;
    assert_eq!(rest(&mut silent).await, "");
}

#[actix_web::test]
async fn what_is_asked_after_the_last_word_does_not_reach_the_application() {
    let asked = web::Data::new(AtomicU32::new(0));
    let asked_of = asked.clone();
    let app = move || {
        let count = async |asked: web::Data<AtomicU32>| {
            asked.fetch_add(1, Relaxed);
            "hello"
        };
        App::new().app_data(asked_of.clone()).default_service(web::to(count))
    };
    let worker = testing::worker();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let listens = at(Some(addr), &Transport::AutoH2c);
    let service = connections(&app, &Settings::default(), listens, &worker).await.unwrap();
    let mut client = TcpStream::connect(addr).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let served = actix_rt::spawn(async move { service.serve(service.meet(stream.into())).await });
    // The preface, and SETTINGS that say nothing.
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // Its own SETTINGS have come when it is told to leave.
    client.readable().await.unwrap();
    testing::drain();
    worker.end_lame_duck();
    let mut said = Vec::new();
    tokio::time::timeout(LIMIT, client.read_to_end(&mut said)).await.expect("it parts").unwrap();
    assert!(said.ends_with(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0"), "no stream was served: {said:?}");
    // A client that has not read that yet opens stream 1: GET http://x/ (RFC 7541, A).
    client.write_all(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01x").await.unwrap();
    // It has time to be served, wrongly: h2 forgets what comes together with the end.
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.shutdown().await.unwrap();
    tokio::time::timeout(LIMIT, served).await.expect("it ends").unwrap();
    assert_eq!(asked.load(Relaxed), 0, "the client asks elsewhere");
}
