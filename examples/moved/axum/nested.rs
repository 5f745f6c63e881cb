//! Run with `cargo run --release --example moved_axum -- nested 127.0.0.1:3000`.
//!
//! Routers in routers, each a part of the application, and what answers where there is no route.
use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::routing::get;

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = Router::new().nest("/api", api()).merge(pages()).fallback(not_found);
    // was: axum::serve(tokio::net::TcpListener::bind(crate::addr()).await?, app).await?;
    cluster_axum::serve(app).bind(crate::addr()).await?;
    Ok(())
}

fn api() -> Router {
    Router::new().nest("/v1", Router::new().route("/items", get(|| async { "items of version 1" })))
}

fn pages() -> Router {
    Router::new().route("/about", get(|| async { "about" }))
}

async fn not_found(uri: Uri) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, format!("nothing to see at {uri}"))
}
