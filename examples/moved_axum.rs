//! Run with `cargo run --release --example moved_axum -- hello 127.0.0.1:3000`.
//!
//! Ten programs in the spirit of axum's own examples (`moved/axum`), each moved over by one line: `docs/from-axum.md`. They are
//! in one file so that they are linked once.
#[path = "moved/axum/client.rs"]
mod client;
#[path = "moved/axum/config.rs"]
mod config;
#[path = "moved/axum/error.rs"]
mod error;
#[path = "moved/axum/extract.rs"]
mod extract;
#[path = "moved/axum/form.rs"]
mod form;
#[path = "moved/axum/hello.rs"]
mod hello;
#[path = "moved/axum/json.rs"]
mod json;
#[path = "moved/axum/middleware.rs"]
mod middleware;
#[path = "moved/axum/nested.rs"]
mod nested;
#[path = "moved/axum/stream.rs"]
mod stream;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("client") => client::main(),
        Some("config") => config::main(),
        Some("error") => error::main(),
        Some("extract") => extract::main(),
        Some("form") => form::main(),
        Some("hello") => hello::main(),
        Some("json") => json::main(),
        Some("middleware") => middleware::main(),
        Some("nested") => nested::main(),
        Some("stream") => stream::main(),
        other => Err(format!("which program? {other:?} is none").into()),
    }
}

/// Where to listen.
fn addr() -> String {
    std::env::args().nth(2).unwrap_or_else(|| "127.0.0.1:3000".into())
}
