//! A program of which there are several builds: `deployed fork|await ADDR`. What a build does is in a note behind its
//! own executable file (`build` in `tests/src/site.rs` writes it): a name, and how it misbehaves.
//!
//! It answers each connection with `NAME ID SLOT PID GENERATION`; one that says `reload` has the director reload, and is
//! told how that went.
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs, process};

use cluster_core::{
    Ask, BoxError, Cluster, Connection, Error, Ready, Role, Scheduling, Worker, WorkerRef, role,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::Notify;

/// Begins the note.
const NOTE: &[u8] = b"\nBUILD ";

/// The director shall reload.
#[derive(Serialize, Deserialize)]
struct Reload;

impl Ask for Reload {
    type Answer = String;
}

/// What is noted of this build.
#[derive(Clone)]
struct Build {
    name: String,
    fault: Option<String>,
}

impl Build {
    /// The build of the file that this process runs.
    fn own() -> Self {
        let file = fs::read("/proc/self/exe").expect("it can read itself");
        let at = file.windows(NOTE.len()).rposition(|part| part == NOTE);
        let note =
            at.map_or(String::new(), |at| String::from_utf8_lossy(&file[at + NOTE.len()..]).into_owned());
        let mut words = note.split_whitespace().map(str::to_owned);
        Self { name: words.next().unwrap_or_else(|| "first".to_owned()), fault: words.next() }
    }

    fn has(&self, fault: &str) -> bool {
        self.fault.as_deref() == Some(fault)
    }
}

fn main() -> ExitCode {
    let build = Build::own();
    let arguments: Vec<String> = env::args().collect();
    let [_, method, addr, knobs @ ..] = &arguments[..] else {
        eprintln!("usage: deployed fork|await ADDR [SCHEDULING]");
        return ExitCode::from(2);
    };
    // Whoever is not the first primary belongs to a reload: or to a build that never comes so far.
    if build.has("exits") && role() != Role::Primary {
        eprintln!("{}: no configuration", build.name);
        process::exit(3);
    }
    if build.has("stuck") && role() != Role::Primary {
        eprintln!("{}: stuck", build.name);
        std::thread::sleep(Duration::from_secs(600));
    }
    let cluster = cluster(build, addr, knobs.first().map(String::as_str));
    let ended = if method == "fork" { cluster.run() } else { run_await(cluster) };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => err.report(),
    }
}

fn run_await(cluster: Ready) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(cluster.into_future())
}

fn cluster(build: Build, addr: &str, scheduling: Option<&str>) -> Ready {
    let scheduling = match scheduling {
        Some("round-robin") => Scheduling::RoundRobin,
        Some("least") => Scheduling::LeastConnections,
        _ => Scheduling::Shared,
    };
    let builder = Cluster::builder()
        .workers(3)
        .scheduling(scheduling)
        .boot_timeout(Duration::from_secs(2))
        .wait_for_ready()
        .bind("main", addr);
    let builder = if build.has("undirected") { builder } else { builder.on_ask(reload) };
    builder.worker(move |worker| serve(worker, build))
}

async fn reload(worker: WorkerRef, _: Reload) -> Result<String, BoxError> {
    Ok(match worker.cluster().reload().await {
        Ok(()) => "reloaded".to_owned(),
        Err(err) => format!("{err:?}"),
    })
}

async fn serve(worker: Worker, build: Build) -> Result<(), BoxError> {
    let mut acceptor = worker.acceptor("main")?;
    if build.has("hangs") {
        eprintln!("{}: waiting for a database", build.name);
        std::future::pending::<()>().await;
    }
    worker.ready();
    let first = Arc::new(Notify::new());
    if build.has("dies") {
        let (name, first) = (build.name.clone(), first.clone());
        tokio::spawn(async move {
            // It serves for that long.
            first.notified().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            eprintln!("{name}: cannot go on");
            process::abort();
        });
    }
    while let Some(connection) = acceptor.accept().await {
        let (worker, name, first) = (worker.clone(), build.name.clone(), first.clone());
        worker.clone().spawn(async move {
            drop(answer(connection, worker, name).await);
            first.notify_one();
        });
    }
    Ok(())
}

async fn answer(connection: Connection, worker: Worker, name: String) -> Result<(), BoxError> {
    let mut stream = BufReader::new(connection);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let said = if line.trim() == "reload" {
        worker.ask(cluster_core::To::Primary, &Reload).timeout(Duration::from_secs(60)).await?
    } else {
        let (id, slot, pid, generation) = (worker.id(), worker.slot(), worker.pid(), worker.generation());
        format!("{name} {id} {slot} {pid} {generation}")
    };
    stream.write_all(format!("{said}\n").as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}
