//! A scope with a guard and a nested configuration, and work that blocks.
use actix_web::{App, Responder, guard, web};
use cluster_actix::HttpServer; // was: use actix_web::HttpServer;

fn routes(config: &mut web::ServiceConfig) {
    config.route("/sum/{upto}", web::get().to(sum));
}

async fn sum(upto: web::Path<u64>) -> actix_web::Result<impl Responder> {
    let sum = web::block(move || (1..=*upto).sum::<u64>()).await?;
    Ok(sum.to_string())
}

#[actix_web::main]
pub async fn main() -> std::io::Result<()> {
    HttpServer::new(|| {
        let scope = web::scope("/api").guard(guard::Header("x-api", "1")).configure(routes);
        App::new().service(scope)
    })
    .worker_max_blocking_threads(4)
    .bind(super::addr())?
    .run()
    .await
}
