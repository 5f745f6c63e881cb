//! actix-web alone, for the suite `http`: `http_actix WORKERS`. One process, a thread per worker. It prints
//! `listening on http://ADDR` when it serves, and ends when its standard input does.
#![forbid(unsafe_code)]
use std::env;
use std::error::Error;

use actix_web::{App, HttpServer, rt};
use bench_work::site;

fn main() -> Result<(), Box<dyn Error>> {
    let workers = env::args().nth(1).ok_or("how many workers?")?.parse()?;
    bench_work::end_with_whoever_started_this();
    rt::System::new().block_on(async {
        let server = HttpServer::new(|| App::new().configure(site::configure)).workers(workers);
        let server = server.bind("127.0.0.1:0")?;
        println!("listening on http://{}", server.addrs()[0]);
        Ok(server.run().await?)
    })
}
