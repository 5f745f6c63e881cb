//! A program that prepares each generation: `preparer fork|await ADDR FOLDER`.
//!
//! What happens is in `FOLDER/lines`, one line each: `sync ENV ROLE` and `async` of a preparation, `worker GENERATION` of each
//! worker that begins. How the preparation misbehaves is in `FOLDER/mode`, read when it runs: `fails`, `panics`, `exits`,
//! or `hangs`, which leaves a child in its group, `child PID`, and never ends. Where there is `FOLDER/without`, nothing is
//! prepared.
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;
use std::{env, process};

use cluster_core::{BoxError, Cluster, Ready, Worker, role};
use tokio::io::AsyncWriteExt;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let [_, method, addr, folder] = &arguments[..] else {
        eprintln!("usage: preparer fork|await ADDR FOLDER");
        return ExitCode::from(2);
    };
    let cluster = cluster(addr, folder);
    let ended = if method == "fork" {
        cluster.run()
    } else {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(cluster.into_future())
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => err.report(),
    }
}

fn cluster(addr: &str, folder: &str) -> Ready {
    let builder = Cluster::builder()
        .workers(2)
        .boot_timeout(Duration::from_secs(3))
        .directory(folder)
        .env("PREPARED_AS", "worker")
        .bind("main", addr);
    if Path::new(folder).join("without").exists() {
        return builder.worker(serve);
    }
    builder
        .prepare(prepare)
        .prepare(|| async {
            // There is a runtime, with a clock.
            tokio::time::sleep(Duration::from_millis(1)).await;
            note("async")
        })
        .worker(serve)
}

/// One more line, in the directory that workers have.
fn note(line: &str) -> io::Result<()> {
    let mut lines = OpenOptions::new().append(true).create(true).open("lines")?;
    lines.write_all(format!("{line}\n").as_bytes())
}

fn prepare() -> Result<(), BoxError> {
    note(&format!("sync {} {:?}", env::var("PREPARED_AS").unwrap_or_default(), role()))?;
    match fs::read_to_string("mode").unwrap_or_default().as_str() {
        "fails" => return Err("there is no such table".into()),
        "panics" => panic!("the table is locked"),
        "exits" => process::exit(3),
        "hangs" => {
            let mut child = Command::new("sleep").arg("600").spawn()?;
            note(&format!("child {}", child.id()))?;
            child.wait()?;
        }
        _ => {}
    }
    Ok(())
}

async fn serve(worker: Worker) -> Result<(), BoxError> {
    note(&format!("worker {}", worker.generation()))?;
    let mut acceptor = worker.acceptor("main")?;
    while let Some(mut connection) = acceptor.accept().await {
        let answer = format!("{} {} {}\n", worker.id(), worker.pid(), worker.generation());
        let _ = connection.write_all(answer.as_bytes()).await;
    }
    Ok(())
}
