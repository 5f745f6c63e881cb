//! A WebSocket at `/` that says everything again, served by actix-web: `echo_actix fork|await ADDR`. On a drain it says
//! 1012.
use std::env;
use std::process::ExitCode;

use actix_web::{App, HttpRequest, HttpResponse, rt, web};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, Session};
use cluster_actix::{HttpServer, Worker};

/// actix-ws takes 64 KiB unless it is told otherwise.
const LARGEST: usize = 4 * 1024 * 1024;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let [_, method, addr] = &arguments[..] else {
        eprintln!("usage: echo_actix fork|await ADDR");
        return ExitCode::from(2);
    };
    let server = || {
        let app = || App::new().route("/", web::get().to(upgrade));
        std::io::Result::Ok(HttpServer::new(app).workers(2).bind(addr.as_str())?.run())
    };
    let ended = if method == "fork" {
        server().and_then(cluster_actix::Server::join)
    } else {
        rt::System::new().block_on(async { server()?.await })
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{err}");
            ExitCode::FAILURE
        }
    }
}

async fn upgrade(
    worker: Worker,
    request: HttpRequest,
    body: web::Payload,
) -> actix_web::Result<HttpResponse> {
    let (response, session, messages) = actix_ws::handle(&request, body)?;
    let messages = messages.max_frame_size(LARGEST).aggregate_continuations().max_continuation_size(LARGEST);
    rt::spawn(echo(worker, session, messages));
    Ok(response)
}

async fn echo(worker: Worker, mut session: Session, mut said: AggregatedMessageStream) {
    let mut draining = worker.draining();
    loop {
        let message = tokio::select! {
            message = said.recv() => message,
            () = &mut draining => {
                let restart = CloseReason { code: CloseCode::Restart, description: None };
                let _ = session.close(Some(restart)).await;
                // What was on its way is read; then the client closes.
                while let Some(Ok(message)) = said.recv().await {
                    if matches!(message, AggregatedMessage::Close(_)) {
                        return;
                    }
                }
                return;
            }
        };
        let answered = match message {
            Some(Ok(AggregatedMessage::Text(text))) => session.text(text).await,
            Some(Ok(AggregatedMessage::Binary(bytes))) => session.binary(bytes).await,
            Some(Ok(AggregatedMessage::Ping(bytes))) => session.pong(&bytes).await,
            Some(Ok(AggregatedMessage::Pong(_))) => Ok(()),
            Some(Ok(AggregatedMessage::Close(reason))) => {
                let _ = session.close(reason).await;
                return;
            }
            Some(Err(_)) => {
                let _ = session.close(Some(CloseCode::Protocol.into())).await;
                return;
            }
            None => return,
        };
        if answered.is_err() {
            return;
        }
    }
}
