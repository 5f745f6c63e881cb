//! Run with `cargo run --release --example axum_websocket_chat -- 127.0.0.1:3000`, and open `http://127.0.0.1:3000/` twice.
//! One chat over all workers. Reload it (SIGHUP): clients are told to come back, and nothing that was said is lost.
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code::RESTART};
use axum::{Router, response::Html, routing::get};
use cluster_axum::{Ask, Error, SendError, Slot, Worker};
use futures::{FutureExt, future::ready};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// All that was said, as `ID TEXT`. Clients make the ids, and say again what they have not heard.
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
        let page = get(|| async { Html(include_str!("axum_websocket_chat.html")) });
        let chat = get(|ws: WebSocketUpgrade| async { ws.on_upgrade(|it| chat(worker, room, it).map(drop)) });
        Ok(Router::new().route("/", page).route("/chat", chat))
    })
    .bind(std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into()))
    .run()
}

fn hear(room: &Room, Said(said): Said) {
    let new: Vec<String> = said.into_iter().filter(|text| !room.borrow().contains(text)).collect();
    room.send_modify(|all| all.extend(new));
}

async fn chat(worker: Worker, room: Room, mut socket: WebSocket) -> Option<()> {
    let (mut all, mut told, mut is_over) = (room.subscribe(), 0, false);
    loop {
        let next = async { Some(all.wait_for(|all| all.len() > told).await.ok()?[told].clone()) };
        tokio::select! {
            text = next, if !is_over => { socket.send(text?.into()).await.ok()?; told += 1 }
            () = worker.draining(), if !is_over => {
                is_over = true;
                socket.send(Message::Close(Some(CloseFrame { code: RESTART, reason: "".into() }))).await.ok()?;
            }
            // Also when it is to leave: what was on its way is heard, and then the client closes.
            message = socket.recv() => if let Message::Text(text) = message?.ok()? {
                worker.broadcast(&Said(vec![text.to_string()])).await.ok()?;
                hear(&room, Said(vec![text.to_string()]));
            },
        }
    }
}
