//! Routes, a path with a part that varies, a redirect, a page for what is not there.
use actix_web::http::{StatusCode, header};
use actix_web::{App, HttpRequest, HttpResponse, Responder, get, guard, web};
use cluster_actix::HttpServer; // was: use actix_web::HttpServer;

#[get("/favicon")]
async fn favicon() -> impl Responder {
    HttpResponse::Ok().content_type("image/x-icon").body(&b"\0\0\x01\0"[..])
}

#[get("/user/{name}")]
async fn user(name: web::Path<String>, request: HttpRequest) -> impl Responder {
    format!("hello {name}, you asked for {}", request.path())
}

async fn home() -> impl Responder {
    HttpResponse::Found().insert_header((header::LOCATION, "/user/nobody")).finish()
}

async fn not_there() -> impl Responder {
    ("no such page", StatusCode::NOT_FOUND)
}

#[actix_web::main]
pub async fn main() -> std::io::Result<()> {
    HttpServer::new(|| {
        App::new()
            .service(favicon)
            .service(user)
            .route("/", web::get().to(home))
            .default_service(web::route().guard(guard::Get()).to(not_there))
    })
    .bind(super::addr())?
    .run()
    .await
}
