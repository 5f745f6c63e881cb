//! A body that is read piece by piece, and an answer that is sent so.
use std::time::Duration;

use actix_web::{App, Error, HttpResponse, get, post, web};
use cluster_actix::HttpServer; // was: use actix_web::HttpServer;
use futures::{StreamExt, stream};

#[post("/length")]
async fn length(mut body: web::Payload) -> Result<String, Error> {
    let mut bytes = 0;
    while let Some(piece) = body.next().await {
        bytes += piece?.len();
    }
    Ok(bytes.to_string())
}

#[get("/count")]
async fn count() -> HttpResponse {
    let numbers = stream::iter(1..=5).then(|number| async move {
        actix_web::rt::time::sleep(Duration::from_millis(5)).await;
        Ok::<_, Error>(web::Bytes::from(format!("{number} ")))
    });
    HttpResponse::Ok().streaming(numbers)
}

#[actix_web::main]
pub async fn main() -> std::io::Result<()> {
    HttpServer::new(|| App::new().service(length).service(count)).bind(super::addr())?.run().await
}
