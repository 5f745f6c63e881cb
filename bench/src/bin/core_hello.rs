//! Core without a framework: answers `GET /` by hand.
#![forbid(unsafe_code)]
use std::process::ExitCode;

use cluster_core::{Cluster, Connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn main() -> ExitCode {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    let cluster = Cluster::builder().bind("http", addr).worker(|worker| async move {
        let mut acceptor = worker.acceptor("http")?;
        let hello = format!("hello from worker {} (pid {})\n", worker.id(), worker.pid());
        let length = hello.len();
        let answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{hello}");
        while let Some(connection) = acceptor.accept().await {
            worker.spawn(reply(connection, answer.clone()));
        }
        Ok(())
    });
    match cluster.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => err.report(),
    }
}

/// Answers one request, whatever it asks for.
async fn reply(mut connection: Connection, answer: String) {
    let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        match connection.read(&mut buffer).await {
            Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
    // A client that has left needs no answer.
    let _ = connection.write_all(answer.as_bytes()).await;
}
