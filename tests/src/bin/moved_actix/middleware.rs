//! Middleware: a function around each request, headers on each answer, paths made uniform.
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::{DefaultHeaders, Next, NormalizePath, from_fn};
use actix_web::{App, Error, error, get};
use cluster_actix::HttpServer; // was: use actix_web::HttpServer;

async fn with_key(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if request.headers().get("x-key").is_none_or(|key| key != "sesame") {
        return Err(error::ErrorUnauthorized("no key"));
    }
    let mut answer = next.call(request).await?;
    answer.headers_mut().insert(HeaderName::from_static("x-opened"), HeaderValue::from_static("yes"));
    Ok(answer)
}

#[get("/cave")]
async fn cave() -> &'static str {
    "gold"
}

#[actix_web::main]
pub async fn main() -> std::io::Result<()> {
    HttpServer::new(|| {
        App::new()
            .wrap(from_fn(with_key))
            .wrap(DefaultHeaders::new().add(("x-version", "1")))
            .wrap(NormalizePath::trim())
            .service(cave)
    })
    .bind(super::addr())?
    .run()
    .await
}
