//! cluster-axum, for the suite `http`: `http_cluster_axum ADDR [await]`, so many workers as CLUSTER_WORKERS says. With
//! `await` its `main` is async, and workers are this program executed again.
#![forbid(unsafe_code)]
use bench_work::site;
use cluster_axum::Error;

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let addr = args.next().unwrap_or_else(|| "127.0.0.1:3000".into());
    match args.next().as_deref() {
        Some("await") => in_async_main(addr),
        _ => cluster_axum::serve(site::router()).bind(addr).run(),
    }
}

#[tokio::main]
async fn in_async_main(addr: String) -> Result<(), Error> {
    cluster_axum::serve(site::router()).bind(addr).await
}
