//! cluster-actix, for the suite `http`: `http_cluster_actix ADDR [await]`, so many workers as CLUSTER_WORKERS says. With
//! `await` its `main` is async, and workers are this program executed again.
#![forbid(unsafe_code)]
use std::io;

use actix_web::{App, rt};
use bench_work::site;
use cluster_actix::HttpServer;

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let addr = args.next().unwrap_or_else(|| "127.0.0.1:3000".into());
    let app = || App::new().configure(site::configure);
    match args.next().as_deref() {
        Some("await") => rt::System::new().block_on(async { HttpServer::new(app).bind(addr)?.run().await }),
        _ => HttpServer::new(app).bind(addr)?.run().join(),
    }
}
