//! What is known of a connection is put beside its requests.
use std::any::Any;
use std::net::SocketAddr;

use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpRequest, get};
use cluster_actix::HttpServer; // was: use actix_web::HttpServer;

struct ConnectionInfo {
    peer: SocketAddr,
    ttl: Option<u32>,
}

#[get("/")]
async fn whoami(request: HttpRequest) -> String {
    match request.conn_data::<ConnectionInfo>() {
        Some(info) => format!("{} {}", info.peer, info.ttl.is_some()),
        None => "nobody knows".to_owned(),
    }
}

fn note(connection: &dyn Any, data: &mut Extensions) {
    if let Some(tcp) = connection.downcast_ref::<TcpStream>() {
        data.insert(ConnectionInfo { peer: tcp.peer_addr().expect("it is connected"), ttl: tcp.ttl().ok() });
    }
}

#[actix_web::main]
pub async fn main() -> std::io::Result<()> {
    HttpServer::new(|| App::new().service(whoami)).on_connect(note).bind_auto_h2c(super::addr())?.run().await
}
