//! Errors of one's own, with their statuses, and pages for statuses.
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::middleware::{ErrorHandlerResponse, ErrorHandlers};
use actix_web::{App, HttpResponse, ResponseError, get, web};
use cluster_actix::HttpServer; // was: use actix_web::HttpServer;

#[derive(Debug)]
enum Failure {
    Busy,
    Unknown(u32),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Busy => f.write_str("busy"),
            Failure::Unknown(id) => write!(f, "there is no {id}"),
        }
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        match self {
            Failure::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Unknown(_) => StatusCode::NOT_FOUND,
        }
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status_code()).body(self.to_string())
    }
}

#[get("/item/{id}")]
async fn item(id: web::Path<u32>) -> Result<String, Failure> {
    match *id {
        1 => Ok("an item".to_owned()),
        2 => Err(Failure::Busy),
        id => Err(Failure::Unknown(id)),
    }
}

#[actix_web::main]
pub async fn main() -> std::io::Result<()> {
    HttpServer::new(|| {
        let tired = ErrorHandlers::new().handler(StatusCode::SERVICE_UNAVAILABLE, |mut answer| {
            let header = actix_web::http::header::RETRY_AFTER;
            answer.response_mut().headers_mut().insert(header, "1".parse().expect("a header"));
            Ok(ErrorHandlerResponse::Response(answer.map_into_left_body()))
        });
        App::new().wrap(tired).service(item)
    })
    .bind(super::addr())?
    .run()
    .await
}
