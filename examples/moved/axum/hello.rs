//! Run with `cargo run --release --example moved_axum -- hello 127.0.0.1:3000`.
//!
//! A handler.
use axum::Router;
use axum::response::Html;
use axum::routing::get;

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = Router::new().route("/", get(handler));
    // was: axum::serve(tokio::net::TcpListener::bind(crate::addr()).await?, app).await?;
    cluster_axum::serve(app).bind(crate::addr()).await?;
    Ok(())
}

async fn handler() -> Html<&'static str> {
    Html("<h1>Hello, World!</h1>")
}
