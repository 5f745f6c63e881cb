//! Run with `cargo run --release --example rate_limit -- 127.0.0.1:3000`, then
//! `for i in $(seq 15); do curl -i 127.0.0.1:3000; done`.
//!
//! Ten requests at once per client, and one more each second, whichever workers they reach. The accounts are in one place,
//! on the primary's side: so it is exact, and each request costs a question. A `Counter` would not do: to read it and then
//! to act is two steps, with others in between. Where some too many do no harm, give each worker its part.
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, middleware, middleware::Next, routing::get};
use cluster_axum::{Ask, Error, To, Worker, WorkerRef};
use serde::{Deserialize, Serialize};

const AT_ONCE: u32 = 10;
const EVERY: Duration = Duration::from_secs(1);

/// May this client ask for something? The answer: how long it has to wait for that.
#[derive(Serialize, Deserialize)]
struct May(IpAddr);
impl Ask for May {
    type Answer = Duration;
}

/// Until when each client has paid.
type Accounts = Mutex<HashMap<IpAddr, Instant>>;

fn main() -> Result<(), Error> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    let accounts = Accounts::default();
    let may = move |_: WorkerRef, may: May| std::future::ready(Ok::<_, Error>(ask(&accounts, may.0)));
    let app = Router::new().route("/", get(|| async { "welcome\n" })).layer(middleware::from_fn(limit));
    cluster_axum::serve(app).bind(addr).cluster(|cluster| cluster.on_ask(may)).run()
}

/// On the primary's side. (A service with very many clients would forget those whose time is in the past.)
fn ask(accounts: &Accounts, client: IpAddr) -> Duration {
    let (now, mut accounts) = (Instant::now(), accounts.lock().expect("nobody panics with it"));
    let paid = accounts.entry(client).or_insert(now);
    *paid = now.max(*paid);
    let wait = (*paid + EVERY).saturating_duration_since(now + EVERY * AT_ONCE);
    *paid += if wait.is_zero() { EVERY } else { Duration::ZERO };
    wait
}

type Client = ConnectInfo<SocketAddr>;
async fn limit(worker: Worker, client: Client, request: Request, next: Next) -> Response {
    match worker.ask(To::Primary, &May(client.ip())).timeout(EVERY).await {
        Ok(wait) if !wait.is_zero() => {
            let after = [(header::RETRY_AFTER, wait.as_secs_f64().ceil().to_string())];
            (StatusCode::TOO_MANY_REQUESTS, after).into_response()
        }
        // Nobody there to ask: better served than locked out.
        Ok(_) | Err(_) => next.run(request).await,
    }
}
