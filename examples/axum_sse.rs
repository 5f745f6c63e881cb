//! Run with `cargo run --release --example axum_sse -- 127.0.0.1:3000`, then `curl -N 127.0.0.1:3000/ticks`, or open
//! `http://127.0.0.1:3000/`. Reload it (SIGHUP): the page comes back by itself and has missed nothing.
use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::{Router, response::Html, routing::get};
use cluster_axum::{ClusterHandle, Error, SendError, until_draining};
use futures::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Tenths of a second since 1970: also after a reload it goes on from there.
#[derive(Serialize, Deserialize)]
struct Tick(u64);

fn main() -> Result<(), Error> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    cluster_axum::serve_with(|worker| async move {
        let now = watch::Sender::new(0);
        let ticks = now.subscribe();
        worker.on_message(move |Tick(tick)| {
            now.send_replace(tick);
        });
        let page = get(|| async { Html(include_str!("axum_sse.html")) });
        let ticks = get(move |headers: HeaderMap| async move { tell(ticks, &headers) });
        Ok(Router::new().route("/", page).route("/ticks", ticks))
    })
    .bind(addr)
    .cluster(|cluster| cluster.primary(tick))
    .run()
}

/// Runs once, on the primary's side.
async fn tick(cluster: ClusterHandle) -> Result<(), SendError> {
    let mut interval = tokio::time::interval(Duration::from_millis(100));
    loop {
        interval.tick().await;
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        cluster.broadcast(&Tick(now.as_millis() as u64 / 100)).await?;
    }
}

/// The ticks after the last that this client has heard, for a minute at the most, and then each as it comes.
fn tell(
    ticks: watch::Receiver<u64>,
    headers: &HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let ticks = stream::unfold((ticks, last), |(mut ticks, last)| async move {
        let now = *ticks.wait_for(|now| last.is_none_or(|last| *now > last) && *now > 0).await.ok()?;
        let next = last.map_or(now, |last| now.saturating_sub(600).max(last + 1));
        Some((Ok(Event::default().id(next.to_string()).data(next.to_string())), (ticks, Some(next))))
    });
    // A stream without an end would hold up its worker; and browsers wait for seconds, unless they are told otherwise.
    let goodbye =
        stream::once(async { Ok(Event::default().event("bye").retry(Duration::from_millis(20)).data("")) });
    Sse::new(until_draining(ticks).chain(goodbye)).keep_alive(KeepAlive::default())
}
