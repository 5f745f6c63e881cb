//! Run with `cargo run --release --example actix_websocket -- 127.0.0.1:3000`, then connect to `ws://127.0.0.1:3000/`.
//!
//! An echo that its clients survive a reload with: in a drain each is told to connect again (1012, service restart), and
//! reaches another worker.
use actix_web::{App, Error, HttpRequest, HttpResponse, get, rt, web};
use actix_ws::{AggregatedMessage as Message, CloseCode, CloseReason, Closed, Session};
use cluster_actix::{HttpServer, Worker};
use futures::future::{Either, select};
use std::pin::pin;

#[get("/")]
async fn echo(worker: Worker, request: HttpRequest, body: web::Payload) -> Result<HttpResponse, Error> {
    let (answer, session, messages) = actix_ws::handle(&request, body)?;
    let mut messages = messages.aggregate_continuations();
    rt::spawn(async move {
        let mut session = session;
        let mut draining = worker.draining();
        loop {
            match select(pin!(messages.recv()), &mut draining).await {
                Either::Left((Some(Ok(message)), _)) => match reply(&mut session, message).await {
                    Ok(None) => {}
                    Ok(Some(reason)) => break session.close(reason).await,
                    Err(closed) => break Err(closed),
                },
                // The client is gone, or speaks no WebSocket.
                Either::Left((_, _)) => break session.close(Some(CloseCode::Protocol.into())).await,
                Either::Right(((), _)) => {
                    let why = (CloseCode::Restart, "this worker leaves: connect again");
                    break session.close(Some(CloseReason::from(why))).await;
                }
            }
        }
    });
    Ok(answer)
}

/// Answers a message; with a reason, where that was a goodbye.
async fn reply(session: &mut Session, message: Message) -> Result<Option<Option<CloseReason>>, Closed> {
    match message {
        Message::Text(text) => session.text(text).await?,
        Message::Binary(bytes) => session.binary(bytes).await?,
        Message::Ping(bytes) => session.pong(&bytes).await?,
        Message::Pong(_) => {}
        Message::Close(reason) => return Ok(Some(reason)),
    }
    Ok(None)
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    HttpServer::new(|| App::new().service(echo)).bind(addr)?.run().await
}
