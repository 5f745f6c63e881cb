//! Run with `cargo run --release --example moved_axum -- client 127.0.0.1:3000`.
//!
//! Who asks: the address of the client, by a make service.
use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = Router::new().route("/", get(who)).into_make_service_with_connect_info::<SocketAddr>();
    // was: axum::serve(tokio::net::TcpListener::bind(crate::addr()).await?, app).await?;
    cluster_axum::serve(app).bind(crate::addr()).await?;
    Ok(())
}

async fn who(ConnectInfo(client): ConnectInfo<SocketAddr>) -> String {
    format!("you are {client}")
}
