//! Run with `cargo run --release --example moved_axum -- middleware 127.0.0.1:3000`.
//!
//! Middleware on all routes: who may come in, and a header in each answer.
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;

const ANSWERED_BY: HeaderName = HeaderName::from_static("x-answered-by");

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = Router::new()
        .route("/", get(|| async { "come in" }))
        .layer(middleware::from_fn(authorize))
        .layer(middleware::map_response(sign));
    // was: axum::serve(tokio::net::TcpListener::bind(crate::addr()).await?, app).await?;
    cluster_axum::serve(app).bind(crate::addr()).await?;
    Ok(())
}

async fn authorize(request: Request, next: Next) -> Result<Response, StatusCode> {
    let token = request.headers().get(header::AUTHORIZATION);
    if token.is_some_and(|token| token == "Bearer secret") {
        Ok(next.run(request).await)
    } else {
        Err(StatusCode::UNAUTHORIZED)
    }
}

async fn sign<B>(mut response: Response<B>) -> Response<B> {
    response.headers_mut().insert(ANSWERED_BY, HeaderValue::from_static("axum"));
    response
}
