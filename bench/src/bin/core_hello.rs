//! Core without a framework: answers by hand. `core_hello ADDR [SCHEDULING]`.
#![forbid(unsafe_code)]
use std::process::ExitCode;

use bench_work::Hello;
use cluster_core::{Cluster, Scheduling};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let addr = args.next().unwrap_or_else(|| "127.0.0.1:3000".into());
    let scheduling = match args.next().as_deref() {
        None | Some("shared") => Scheduling::Shared,
        Some("round-robin") => Scheduling::RoundRobin,
        Some("least-connections") => Scheduling::LeastConnections,
        Some(other) => {
            eprintln!("core_hello: no scheduling `{other}`: shared, round-robin or least-connections");
            return ExitCode::FAILURE;
        }
    };
    let cluster = Cluster::builder().scheduling(scheduling).bind("http", addr).worker(|worker| async move {
        let mut acceptor = worker.acceptor("http")?;
        let hello = Hello::from(worker.id(), worker.pid());
        while let Some(connection) = acceptor.accept().await {
            worker.spawn(hello.clone().serve(connection));
        }
        Ok(())
    });
    match cluster.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => err.report(),
    }
}
