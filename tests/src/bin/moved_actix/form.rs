//! A form, and what was asked for in the query.
use actix_web::{App, HttpResponse, Responder, get, post, web};
use cluster_actix::HttpServer; // was: use actix_web::HttpServer;
use serde::Deserialize;

#[derive(Deserialize)]
struct Signup {
    name: String,
    years: u8,
}

#[get("/")]
async fn page() -> impl Responder {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body("<form method=post action=/signup>")
}

#[post("/signup")]
async fn signup(form: web::Form<Signup>) -> impl Responder {
    format!("welcome, {} of {} years", form.name, form.years)
}

#[get("/search")]
async fn search(query: web::Query<std::collections::BTreeMap<String, String>>) -> impl Responder {
    format!("{:?}", query.into_inner())
}

#[actix_web::main]
pub async fn main() -> std::io::Result<()> {
    HttpServer::new(|| App::new().service(page).service(signup).service(search))
        .bind(super::addr())?
        .run()
        .await
}
