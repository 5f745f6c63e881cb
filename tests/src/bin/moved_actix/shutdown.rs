//! A request that stops the service. Two lines are changed: the handle in a worker stops that worker alone, so the handler
//! tells the primary's side.
use actix_web::{App, HttpResponse, post};
use cluster_actix::{HttpServer, SendError, Worker, WorkerRef}; // was: use actix_web::HttpServer; and dev::ServerHandle
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Stop;

#[post("/stop")]
async fn stop(worker: Worker) -> Result<HttpResponse, SendError> {
    worker.send(&Stop).await?; // was: handle.stop(true), in a task of its own
    Ok(HttpResponse::NoContent().finish())
}

#[actix_web::main]
pub async fn main() -> std::io::Result<()> {
    HttpServer::new(|| App::new().service(stop))
        .cluster(|cluster| {
            cluster.on_message(|from: WorkerRef, _: Stop| async move { from.cluster().stop().await })
        })
        .bind(super::addr())?
        .run()
        .await
}
