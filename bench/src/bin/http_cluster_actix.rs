//! cluster-actix, for the suite `http`: `http_cluster_actix ADDR [await] [h2c]`, so many workers as CLUSTER_WORKERS says.
//! With `await` its `main` is async, and workers are this program executed again; with `h2c` it speaks HTTP/2, too.
#![forbid(unsafe_code)]
use std::io;

use actix_web::{App, rt};
use bench_work::site;
use cluster_actix::{HttpServer, Server};

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let addr = args.next().unwrap_or_else(|| "127.0.0.1:3000".into());
    let told: Vec<String> = args.collect();
    let is_told = |word: &str| told.iter().any(|one| one == word);
    if is_told("await") {
        return rt::System::new().block_on(async { server(addr, is_told("h2c"))?.await });
    }
    server(addr, is_told("h2c"))?.join()
}

fn server(addr: String, h2c: bool) -> io::Result<Server> {
    let server = HttpServer::new(|| App::new().configure(site::configure));
    let server = if h2c { server.bind_auto_h2c(addr) } else { server.bind(addr) };
    Ok(server?.run())
}
