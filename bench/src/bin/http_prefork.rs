//! axum in several processes by hand, for the suite `http`: `http_prefork WORKERS`; `bench_work::prefork` says how.
#![forbid(unsafe_code)]
use std::error::Error;

use bench_work::site;

fn main() -> Result<(), Box<dyn Error>> {
    bench_work::prefork(|_, listener| async { axum::serve(listener, site::router()).await })
}
