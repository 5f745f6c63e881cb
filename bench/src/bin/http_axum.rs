//! axum alone, for the suite `http`: `http_axum THREADS`. One process, Tokio's multi-thread runtime, `axum::serve`. It
//! prints `listening on http://ADDR` when it serves, and ends when its standard input does.
#![forbid(unsafe_code)]
use std::env;
use std::error::Error;

use bench_work::site;
use tokio::net::TcpListener;

fn main() -> Result<(), Box<dyn Error>> {
    let threads = env::args().nth(1).ok_or("how many threads?")?.parse()?;
    bench_work::end_with_whoever_started_this();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(threads).enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on http://{}", listener.local_addr()?);
        Ok(axum::serve(listener, site::router()).await?)
    })
}
