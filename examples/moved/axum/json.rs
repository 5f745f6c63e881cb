//! Run with `cargo run --release --example moved_axum -- json 127.0.0.1:3000`.
//!
//! JSON in and out, a path, a query.
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct CreateUser {
    username: String,
}

#[derive(Serialize)]
struct User {
    id: u64,
    username: String,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default = "first")]
    page: u32,
}

fn first() -> u32 {
    1
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = Router::new().route("/users", post(create)).route("/users/{id}/posts", get(posts));
    // was: axum::serve(tokio::net::TcpListener::bind(crate::addr()).await?, app).await?;
    cluster_axum::serve(app).bind(crate::addr()).await?;
    Ok(())
}

async fn create(Json(user): Json<CreateUser>) -> (StatusCode, Json<User>) {
    (StatusCode::CREATED, Json(User { id: 1337, username: user.username }))
}

async fn posts(Path(id): Path<u64>, Query(Page { page }): Query<Page>) -> String {
    format!("page {page} of user {id}")
}
