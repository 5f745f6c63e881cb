//! Run with `cargo run --release --example message_broadcast -- 127.0.0.1:3000`, then open
//! `http://127.0.0.1:3000/`, or `curl -d hello 127.0.0.1:3000/say` and `curl 127.0.0.1:3000/heard`.
//!
//! What is said to any worker is heard by all.
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::response::Html;
use axum::routing::{get, post};
use axum::{Json, Router};
use cluster_axum::{Ask, Error, Peer, SendError, Slot, Worker};
use serde::{Deserialize, Serialize};

/// What this worker has heard.
type Heard = Arc<Mutex<Vec<String>>>;

#[derive(Serialize, Deserialize)]
struct Said(String);

#[derive(Serialize, Deserialize)]
struct WhatHaveYouHeard;
impl Ask for WhatHaveYouHeard {
    type Answer = (u64, Vec<String>);
}

fn main() -> Result<(), Error> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    cluster_axum::serve_with(|worker| async move {
        let heard = Heard::default();
        let (id, ears, memory) = (worker.id().0, heard.clone(), heard.clone());
        worker.on_message(move |Said(text)| ears.lock().unwrap().push(text));
        worker.on_ask(move |_: Peer, _: WhatHaveYouHeard| {
            let answer = (id, memory.lock().unwrap().clone());
            async { Ok::<_, SendError>(answer) }
        });
        let app = Router::new().route("/", get(|| async { Html(include_str!("message_broadcast.html")) }));
        Ok(app.route("/say", post(say)).route("/heard", get(list)).with_state(heard))
    })
    .bind(addr)
    .run()
}

async fn say(worker: Worker, State(heard): State<Heard>, text: String) -> Result<String, SendError> {
    heard.lock().unwrap().push(text.clone());
    let delivery = worker.broadcast(&Said(text)).await?;
    Ok(format!("worker {} says it to {} others\n", worker.id(), delivery.reached))
}

async fn list(worker: Worker) -> Json<Vec<(u64, Vec<String>)>> {
    let mut all = Vec::new();
    for slot in 0..worker.slots() {
        // One that restarts is not listed: it has heard nothing yet.
        all.extend(worker.ask(Slot(slot as u16), &WhatHaveYouHeard).await);
    }
    Json(all)
}
