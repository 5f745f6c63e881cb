//! Run with `cargo run --release --example axum_websocket_chat -- 127.0.0.1:3000`, and open `http://127.0.0.1:3000/` twice.
//! One chat over all workers. Reload it (SIGHUP): clients are told to come back, and nothing that was said is lost.
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code::RESTART};
use axum::{Router, response::Html, routing::get};
use cluster_axum::{Ask, Error, SendError, Slot, Worker};
use futures::{FutureExt, future::ready};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// The last 2,000 texts, as `ID TEXT`, of 4 KiB at the most. Clients make the ids, and say again what they have not heard.
type Room = watch::Sender<Vec<String>>;

#[derive(Serialize, Deserialize)]
struct Said(Vec<String>);
impl Ask for Said {
    type Answer = Said;
}

fn main() -> Result<(), Error> {
    cluster_axum::serve_with(|worker| async move {
        let room = Room::default();
        let (ears, memory) = (room.clone(), room.clone());
        worker.on_message(move |said: Said| hear(&ears, said));
        worker.on_ask(move |_, _: Said| ready(Ok::<_, SendError>(Said(memory.borrow().clone()))));
        // Whoever is new asks the others what was said before.
        for slot in 0..worker.slots() as u16 {
            worker.ask(Slot(slot), &Said(vec![])).await.into_iter().for_each(|said| hear(&room, said));
        }
        let chat = get(|ws: WebSocketUpgrade| async { ws.on_upgrade(|it| chat(worker, room, it).map(drop)) });
        Ok(Router::new().route("/", get(Html(include_str!("axum_websocket_chat.html")))).route("/chat", chat))
    })
    .bind(std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into()))
    .run()
}

fn hear(room: &Room, Said(mut said): Said) {
    said.retain(|text| !room.borrow().contains(text));
    room.send_modify(|all| all.append(&mut said));
    room.send_modify(|all| drop(all.drain(..all.len().saturating_sub(2000))));
}

async fn chat(worker: Worker, room: Room, mut socket: WebSocket) -> Option<()> {
    let (mut all, mut told, mut is_over) = (room.subscribe(), None, false);
    let goodbye = Message::Close(Some(CloseFrame { code: RESTART, reason: "".into() }));
    loop {
        tokio::select! {
            // What comes behind the text that was told last, or the oldest where that is forgotten.
            text = async {
                let all = all.wait_for(|all| all.last() != told.as_ref()).await.ok()?;
                all.iter().rev().take_while(|text| Some(*text) != told.as_ref()).last().cloned()
            }, if !is_over => { socket.send(text.clone()?.into()).await.ok()?; told = text }
            () = worker.draining(), if !is_over => { is_over = true; socket.send(goodbye.clone()).await.ok()?; }
            // Also when it is to leave: what was on its way is heard, and then the client closes.
            message = socket.recv() => if let Message::Text(text) = message?.ok()? && text.len() <= 4096 {
                worker.broadcast(&Said(vec![text.to_string()])).await.ok()?;
                hear(&room, Said(vec![text.to_string()]));
            },
        }
    }
}
