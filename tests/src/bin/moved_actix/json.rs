//! JSON in and out, with a limit and an error of one's own.
use actix_web::{App, HttpResponse, error, post, web};
use cluster_actix::HttpServer; // was: use actix_web::HttpServer;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
}

#[post("/order")]
async fn order(order: web::Json<Order>) -> web::Json<Order> {
    web::Json(Order { count: order.count + 1, ..order.into_inner() })
}

#[actix_web::main]
pub async fn main() -> std::io::Result<()> {
    HttpServer::new(|| {
        let json = web::JsonConfig::default().limit(128).error_handler(|err, _| {
            let answer = HttpResponse::UnprocessableEntity().body(err.to_string());
            error::InternalError::from_response(err, answer).into()
        });
        App::new().app_data(json).service(order)
    })
    .bind(super::addr())?
    .run()
    .await
}
