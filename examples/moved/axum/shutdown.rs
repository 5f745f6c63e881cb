//! Run with `cargo run --release --example moved_axum -- shutdown 127.0.0.1:3000`.
//!
//! A stop that somebody asks for: when there is a file of the name that `STOP` tells, and what is open is finished.
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::routing::get;

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = Router::new().route("/", get(|| async { "here" })).route("/slow", get(slow));
    // was: axum::serve(tokio::net::TcpListener::bind(crate::addr()).await?, app)
    cluster_axum::serve(app).bind(crate::addr()).with_graceful_shutdown(asked_to_stop()).await?;
    Ok(())
}

async fn asked_to_stop() {
    let file = PathBuf::from(std::env::var_os("STOP").unwrap_or_else(|| "stop".into()));
    while !file.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_secs(1)).await;
    "late"
}
