//! State that all handlers share. It compiles as it was, and counts per worker: what has to be changed is what the program
//! promises, or where the number is kept (docs/actix.md).
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::{App, get, web};
use cluster_actix::HttpServer; // was: use actix_web::HttpServer;

#[get("/")]
async fn hits(hits: web::Data<AtomicUsize>) -> String {
    format!("request number {}", hits.fetch_add(1, Ordering::Relaxed) + 1)
}

#[actix_web::main]
pub async fn main() -> std::io::Result<()> {
    let counter = web::Data::new(AtomicUsize::new(0));
    HttpServer::new(move || App::new().app_data(counter.clone()).service(hits))
        .bind(super::addr())?
        .run()
        .await
}
