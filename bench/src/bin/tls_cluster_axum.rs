//! cluster-axum over TLS, for the suite `tls`: `tls_cluster_axum ADDR CERT KEY`, workers by CLUSTER_WORKERS.
use std::env;

use axum::Router;
use axum::routing::get;
use cluster_axum::{BoxError, Worker};

fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [addr, cert, key] = &arguments[..] else { return Err("usage: ADDR CERT KEY".into()) };
    let hello = async |worker: Worker| format!("hello from worker {} (pid {})\n", worker.id(), worker.pid());
    let app = Router::new().route("/", get(hello));
    cluster_axum::serve(app).bind_tls(addr.clone(), cert, key).run()?;
    Ok(())
}
