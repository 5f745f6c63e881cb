//! actix-web alone, for the suite `http`: `http_actix WORKERS [h2c]`. One process, a thread per worker; with `h2c` it
//! speaks HTTP/2, too. It prints `listening on http://ADDR` when it serves, and ends when its standard input does.
#![forbid(unsafe_code)]
use std::env;
use std::error::Error;

use actix_web::{App, HttpServer, rt};
use bench_work::site;

const ADDR: &str = "127.0.0.1:0";

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let workers = args.next().ok_or("how many workers?")?.parse()?;
    let h2c = args.next().is_some_and(|word| word == "h2c");
    bench_work::end_with_whoever_started_this();
    rt::System::new().block_on(async {
        let server = HttpServer::new(|| App::new().configure(site::configure)).workers(workers);
        let server = if h2c { server.bind_auto_h2c(ADDR) } else { server.bind(ADDR) }?;
        println!("listening on http://{}", server.addrs()[0]);
        Ok(server.run().await?)
    })
}
