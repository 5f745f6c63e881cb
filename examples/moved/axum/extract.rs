//! Run with `cargo run --release --example moved_axum -- extract 127.0.0.1:3000`.
//!
//! An extractor of one's own: the version that a path asks for.
use std::collections::HashMap;

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{RequestPartsExt, Router};

#[derive(Debug)]
enum Version {
    V1,
    V2,
}

impl<S: Send + Sync> FromRequestParts<S> for Version {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let params: Path<HashMap<String, String>> =
            parts.extract().await.map_err(IntoResponse::into_response)?;
        match params.get("version").map(String::as_str) {
            Some("v1") => Ok(Version::V1),
            Some("v2") => Ok(Version::V2),
            _ => Err((StatusCode::NOT_FOUND, "unknown version").into_response()),
        }
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = Router::new().route("/{version}/foo", get(handler));
    // was: axum::serve(tokio::net::TcpListener::bind(crate::addr()).await?, app).await?;
    cluster_axum::serve(app).bind(crate::addr()).await?;
    Ok(())
}

async fn handler(version: Version) -> String {
    format!("received request with version {version:?}")
}
