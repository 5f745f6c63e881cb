//! Run with `cargo run --release --example message_broadcast_actix -- 127.0.0.1:3000`, then open
//! `http://127.0.0.1:3000/`, or `curl -d hello 127.0.0.1:3000/say` and `curl 127.0.0.1:3000/heard`.
//!
//! As `message_broadcast`, with actix-web.
use std::sync::Mutex;

use actix_web::web::{Data, Html, Json};
use actix_web::{App, get, post};
use cluster_actix::{Ask, HttpServer, Peer, SendError, Slot, Worker};
use serde::{Deserialize, Serialize};

/// What this worker has heard.
type Heard = Mutex<Vec<String>>;

#[derive(Serialize, Deserialize)]
struct Said(String);

#[derive(Serialize, Deserialize)]
struct WhatHaveYouHeard;
impl Ask for WhatHaveYouHeard {
    type Answer = (u64, Vec<String>);
}

fn main() -> std::io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    HttpServer::new(|| {
        let (heard, worker) = (Data::new(Heard::default()), cluster_actix::worker());
        let (id, ears, memory) = (worker.id().0, heard.clone(), heard.clone());
        worker.on_message(move |Said(text)| ears.lock().unwrap().push(text));
        worker.on_ask(move |_: Peer, _: WhatHaveYouHeard| {
            let answer = (id, memory.lock().unwrap().clone());
            async { Ok::<_, SendError>(answer) }
        });
        App::new().app_data(heard).service(page).service(say).service(list)
    })
    .bind(addr)?
    .run()
    .join()
}

#[get("/")]
async fn page() -> Html {
    Html::new(include_str!("message_broadcast.html"))
}

#[post("/say")]
async fn say(worker: Worker, heard: Data<Heard>, text: String) -> Result<String, SendError> {
    heard.lock().unwrap().push(text.clone());
    let delivery = worker.broadcast(&Said(text)).await?;
    Ok(format!("worker {} says it to {} others\n", worker.id(), delivery.reached))
}

#[get("/heard")]
async fn list(worker: Worker) -> Json<Vec<(u64, Vec<String>)>> {
    let mut all = Vec::new();
    for slot in 0..worker.slots() {
        all.extend(worker.ask(Slot(slot as u16), &WhatHaveYouHeard).await);
    }
    Json(all)
}
