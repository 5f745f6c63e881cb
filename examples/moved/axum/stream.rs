//! Run with `cargo run --release --example moved_axum -- stream 127.0.0.1:3000`.
//!
//! An answer in pieces, as they come.
use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures::stream::{self, Stream, StreamExt};

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = Router::new().route("/", get(|| async { Body::from_stream(count()) }));
    // was: axum::serve(tokio::net::TcpListener::bind(crate::addr()).await?, app).await?;
    cluster_axum::serve(app).bind(crate::addr()).await?;
    Ok(())
}

fn count() -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::iter(1..=5).then(|number| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(Bytes::from(format!("{number}\n")))
    })
}
