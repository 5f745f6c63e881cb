//! Run with `cargo run --release --example hello_core -- 127.0.0.1:3000`, then `nc 127.0.0.1 3000`.
//!
//! A TCP echo without a framework: each worker accepts from the same queue.
use std::process::ExitCode;

use cluster_core::Cluster;

fn main() -> ExitCode {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    let cluster = Cluster::builder().bind("echo", addr).worker(|worker| async move {
        let mut acceptor = worker.acceptor("echo")?;
        while let Some(connection) = acceptor.accept().await {
            // What `spawn` runs is waited for when the worker drains.
            worker.spawn(async move {
                let (mut read, mut write) = tokio::io::split(connection);
                tokio::io::copy(&mut read, &mut write).await.ok();
            });
        }
        Ok(())
    });
    match cluster.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => err.report(),
    }
}
