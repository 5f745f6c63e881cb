//! Run with `cargo run --release --example moved_axum -- error 127.0.0.1:3000`.
//!
//! Errors of a handler become answers.
use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Any error, so that `?` works on all of them.
struct AppError(Box<dyn std::error::Error>);

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("Something went wrong: {}", self.0)).into_response()
    }
}

impl<E: Into<Box<dyn std::error::Error>>> From<E> for AppError {
    fn from(err: E) -> Self {
        Self(err.into())
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = Router::new().route("/double/{number}", get(double));
    // was: axum::serve(tokio::net::TcpListener::bind(crate::addr()).await?, app).await?;
    cluster_axum::serve(app).bind(crate::addr()).await?;
    Ok(())
}

async fn double(Path(number): Path<String>) -> Result<String, AppError> {
    let number: i64 = number.parse()?;
    Ok(number.checked_mul(2).ok_or("too large")?.to_string())
}
