//! Core without a framework: answers by hand. `core_hello ADDR [SCHEDULING [STATUS]]`; at the unix socket STATUS the
//! cluster's status is told to whoever connects, as JSON.
#![forbid(unsafe_code)]
use std::io;
use std::process::ExitCode;

use bench_work::Hello;
use cluster_core::{Builder, Cluster, ClusterHandle, Scheduling};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;

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
    let mut builder = Cluster::builder().scheduling(scheduling).bind("http", addr);
    if let Some(socket) = args.next() {
        builder = builder.primary(|cluster: ClusterHandle| tell_status(cluster, socket));
    }
    run(builder)
}

fn run(builder: Builder) -> ExitCode {
    let cluster = builder.worker(|worker| async move {
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

/// Until the cluster ends.
async fn tell_status(cluster: ClusterHandle, socket: String) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    loop {
        let (mut asker, _) = listener.accept().await?;
        asker.write_all(serde_json::to_string(&cluster.status())?.as_bytes()).await?;
    }
}
