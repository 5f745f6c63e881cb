//! What a drain does to connections.
use std::time::Instant;

use cluster_core::adapter::HALF_SENT;
use futures::stream;
use tokio::sync::mpsc;

use super::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
/// The begin of a request's head, and the rest.
const HALVES: [&str; 2] = ["GET / HTTP/1.1\r\nHo", "st: x\r\n\r\n"];

/// Reads one answer, up to the end of a body that is `end`.
async fn read_answer(client: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        answer.push(client.read_u8().await.unwrap());
    }
    String::from_utf8(answer).unwrap()
}

async fn hello() -> &'static str {
    "hello"
}

/// An application that says hello, and at `/stream` answers for as long as somebody sends.
async fn streaming(worker: &Worker) -> (TcpStream, mpsc::Sender<&'static str>) {
    let (say, said) = mpsc::channel::<&'static str>(1);
    let said = web::Data::new(std::sync::Mutex::new(Some(said)));
    let app = move || {
        let begin = async |said: web::Data<std::sync::Mutex<Option<mpsc::Receiver<&'static str>>>>| {
            let said = said.lock().unwrap().take().expect("it is asked for once");
            HttpResponse::Ok().streaming(stream::unfold(said, |mut said| async {
                said.recv().await.map(|chunk| (Ok::<_, Error>(web::Bytes::from(chunk)), said))
            }))
        };
        let app = App::new().app_data(said.clone());
        app.route("/", web::get().to(hello)).route("/stream", web::get().to(begin))
    };
    (client(app, worker).await.0, say)
}

/// The drain begins, and its lame duck is over.
fn close(worker: &Worker) {
    testing::drain();
    worker.end_lame_duck();
}

/// The connection's task has its turns: it sees the drain, reads what has come, and looks whether it may close.
async fn turns() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

#[actix_web::test]
async fn an_idle_connection_is_closed_when_the_lame_duck_is_over() {
    let worker = testing::worker();
    let app = || App::new().route("/", web::get().to(HttpResponse::NoContent));
    let (mut client, _) = client(app, &worker).await;
    ask(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 204"));
    // Without the signal it would stay: keep-alive has no end here.
    worker.end_lame_duck();
    assert_eq!(rest(&mut client).await, "");
}

#[actix_web::test]
async fn an_answer_in_the_lame_duck_says_close() {
    let worker = testing::worker();
    let (mut client, _) = client(|| App::new().route("/", web::get().to(hello)), &worker).await;
    ask(&mut client, GET).await;
    let answer = read_answer(&mut client, "hello").await;
    assert!(!answer.contains("connection:"), "{answer}");
    testing::drain();
    ask(&mut client, GET).await;
    let answer = rest(&mut client).await;
    assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("hello"), "{answer}");
}

#[actix_web::test]
async fn half_a_request_is_answered_when_the_rest_comes_after_the_lame_duck() {
    for asked_before in [false, true] {
        let worker = testing::worker();
        let (mut client, _) = client(|| App::new().route("/", web::get().to(hello)), &worker).await;
        if asked_before {
            ask(&mut client, GET).await;
            read_answer(&mut client, "hello").await;
        }
        ask(&mut client, HALVES[0]).await;
        close(&worker);
        turns().await;
        ask(&mut client, HALVES[1]).await;
        let answer = rest(&mut client).await;
        assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("hello"), "{answer}");
    }
}

#[actix_web::test]
async fn half_a_request_that_never_goes_on_holds_up_a_drain_for_five_seconds() {
    let worker = testing::worker();
    let (mut client, _) = client(|| App::new().route("/", web::get().to(hello)), &worker).await;
    ask(&mut client, GET).await;
    read_answer(&mut client, "hello").await;
    ask(&mut client, HALVES[0]).await;
    close(&worker);
    let start = Instant::now();
    assert_eq!(rest(&mut client).await, "");
    assert!(start.elapsed() >= HALF_SENT && start.elapsed() < HALF_SENT * 2, "{:?}", start.elapsed());
}

#[actix_web::test]
async fn pipelined_requests_are_answered_up_to_the_one_that_says_close() {
    let worker = testing::worker();
    let (mut client, say) = streaming(&worker).await;
    // The first answer has begun before anybody knew of a drain, and so does not say it.
    ask(&mut client, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").await;
    say.send("begun").await.unwrap();
    read_answer(&mut client, "begun\r\n").await;
    ask(&mut client, GET).await;
    close(&worker);
    turns().await;
    drop(say);
    let rest = rest(&mut client).await;
    assert!(rest.contains("\r\nconnection: close\r\n") && rest.ends_with("hello"), "{rest}");
}

#[actix_web::test]
async fn an_answer_that_streams_is_finished_after_the_lame_duck() {
    let worker = testing::worker();
    let (mut client, say) = streaming(&worker).await;
    ask(&mut client, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").await;
    say.send("one").await.unwrap();
    close(&worker);
    for chunk in ["two", "three"] {
        say.send(chunk).await.unwrap();
    }
    drop(say);
    let answer = rest(&mut client).await;
    assert!(answer.contains("one") && answer.ends_with("three\r\n0\r\n\r\n"), "{answer}");
}
