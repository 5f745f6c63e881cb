//! Run with `cargo run --release --example moved_axum -- form 127.0.0.1:3000`.
//!
//! A form, and what is made of it.
use axum::response::Html;
use axum::routing::get;
use axum::{Form, Router};
use serde::Deserialize;

#[derive(Deserialize)]
struct Input {
    name: String,
    email: String,
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = Router::new().route("/", get(show).post(accept));
    // was: axum::serve(tokio::net::TcpListener::bind(crate::addr()).await?, app).await?;
    cluster_axum::serve(app).bind(crate::addr()).await?;
    Ok(())
}

async fn show() -> Html<&'static str> {
    Html(r#"<form method="post"><input name="name"><input name="email"><button>Send</button></form>"#)
}

async fn accept(Form(input): Form<Input>) -> String {
    format!("email={}, name={}", input.email, input.name)
}
