//! Run with `cargo run --release --example moved_axum -- config 127.0.0.1:3000`.
//!
//! State that is only read, whole and in parts.
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::routing::get;

#[derive(Clone)]
struct AppState {
    config: Arc<Config>,
    greeting: Greeting,
}

struct Config {
    title: String,
}

#[derive(Clone)]
struct Greeting(&'static str);

impl FromRef<AppState> for Greeting {
    fn from_ref(state: &AppState) -> Self {
        state.greeting.clone()
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Arc::new(Config { title: std::env::var("TITLE").unwrap_or_else(|_| "Untitled".into()) });
    let state = AppState { config, greeting: Greeting("welcome") };
    let app = Router::new().route("/", get(title)).route("/greet", get(greet)).with_state(state);
    // was: axum::serve(tokio::net::TcpListener::bind(crate::addr()).await?, app).await?;
    cluster_axum::serve(app).bind(crate::addr()).await?;
    Ok(())
}

async fn title(State(state): State<AppState>) -> String {
    state.config.title.clone()
}

async fn greet(State(Greeting(text)): State<Greeting>) -> &'static str {
    text
}
