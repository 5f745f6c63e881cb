//! A WebSocket at `/` that says everything again, served by axum: `echo_axum fork|await ADDR`. On a drain it says 1012.
use std::env;
use std::future::IntoFuture;
use std::process::ExitCode;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::routing::any;
use cluster_axum::until_draining;
use futures::{SinkExt, StreamExt};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let [_, method, addr] = &arguments[..] else {
        eprintln!("usage: echo_axum fork|await ADDR");
        return ExitCode::from(2);
    };
    let app = Router::new().route("/", any(|upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(echo) }));
    let serve = cluster_axum::serve(app).bind(addr.as_str()).workers(2);
    let ended = if method == "fork" {
        serve.run()
    } else {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(serve.into_future())
    };
    ended.map_or_else(|err| err.report(), |()| ExitCode::SUCCESS)
}

async fn echo(socket: WebSocket) {
    let (mut say, said) = socket.split();
    let mut said = until_draining(said);
    // Pings, and the other side's close, are answered by whoever reads on.
    while let Some(Ok(message)) = said.next().await {
        if matches!(message, Message::Text(_) | Message::Binary(_)) && say.send(message).await.is_err() {
            return;
        }
    }
    if said.is_cut() {
        let restart = CloseFrame { code: close_code::RESTART, reason: "restart".into() };
        let _ = say.send(Message::Close(Some(restart))).await;
        // What was on its way is answered, too; then the client closes.
        let mut said = said.into_inner();
        while let Some(Ok(_)) = said.next().await {}
    }
}
