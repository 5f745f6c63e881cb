//! The program whose processes hang: `hanger fork|await FILE [KNOB..]`.
//!
//! A worker does on its runtime what it is told in a line, and the director what a worker passes on
//! (`director spin`). How a process ended, and its trace, are lines in the file. The functions have telling names.
mod allocator;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use cluster_core::{BoxError, Cluster, Connection, Event, Ready, Restart, Runtime, Worker, WorkerRef};
use nix::sys::signal::SigSet;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

#[global_allocator]
static ALLOCATOR: allocator::Lockable = allocator::Lockable;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, method, file, knobs @ ..] = &arguments[..] else {
        eprintln!("usage: hanger fork|await FILE [KNOB..]");
        return ExitCode::from(2);
    };
    let threads = if knobs.iter().any(|knob| knob == "threads") { 2 } else { 1 };
    let ended = if method == "fork" {
        let runtime = if threads == 1 { Runtime::current_thread() } else { Runtime::multi_thread(threads) };
        cluster(file, Some(runtime)).run()
    } else {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
        runtime.expect("a runtime").block_on(cluster(file, None).into_future())
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => err.report(),
    }
}

fn cluster(file: &str, runtime: Option<Runtime>) -> Ready {
    let file = file.to_owned();
    let mut builder = Cluster::builder()
        .workers(1)
        .hang_timeout(Duration::from_secs(1))
        .restart(
            Restart::default().delay(Duration::ZERO, Duration::ZERO).limit(1_000, Duration::from_secs(1)),
        )
        .on_message(|_: WorkerRef, what: String| hang(&what))
        .on_event(move |event: Event| note(&file, &event));
    if let Some(runtime) = runtime {
        builder = builder.runtime(runtime);
    }
    builder.bind("lines", "127.0.0.1:0").worker(serve)
}

fn note(file: &str, event: &Event) {
    let trace = match event {
        Event::WorkerExited(exit) => &exit.trace,
        Event::DirectorExited { trace, .. } => trace,
        _ => return,
    };
    let mut file =
        std::fs::File::options().append(true).create(true).open(file).expect("the folder is there");
    let text = format!("{event}\n{}\nend\n", trace.join("\n"));
    file.write_all(text.as_bytes()).expect("there is room on the disk");
}

async fn serve(worker: Worker) -> Result<(), BoxError> {
    let mut acceptor = worker.acceptor("lines")?;
    while let Some(connection) = acceptor.accept().await {
        tokio::spawn(obey(worker.clone(), connection));
    }
    Ok(())
}

async fn obey(worker: Worker, connection: Connection) -> Result<(), BoxError> {
    let mut stream = BufReader::new(connection);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    match line.trim().split_once(' ') {
        Some(("director", what)) => {
            worker.send(&what.to_owned()).await?;
            stream.write_all(b"passed on\n").await?;
        }
        Some(("everywhere", what)) => {
            let what = what.to_owned();
            for _ in 0..8 {
                let what = what.clone();
                tokio::spawn(async move { hang(&what) });
            }
            hang(&what);
        }
        _ => hang(line.trim()),
    }
    Ok(())
}

fn hang(what: &str) {
    match what {
        "spin" => spin_for_ever(),
        "sleep" => sleep_for_ever(),
        "stderr" => spin_with_the_lock_of_stderr(),
        "allocator" => {
            allocator::take_lock();
            spin_for_ever();
        }
        "deaf" => {
            SigSet::all().thread_block().expect("signals can be blocked");
            spin_for_ever();
        }
        "deep" => drop(recurse(500)),
        other => panic!("how is {other:?}?"),
    }
}

#[inline(never)]
#[expect(
    clippy::empty_loop,
    reason = "what were called in it would be one line more of its trace, now and then"
)]
fn spin_for_ever() {
    loop {}
}

#[inline(never)]
fn sleep_for_ever() {
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

#[inline(never)]
fn spin_with_the_lock_of_stderr() {
    let _lock = io::stderr().lock();
    spin_for_ever();
}

#[inline(never)]
fn recurse(deeper: u32) -> u32 {
    match deeper.checked_sub(1) {
        // Something to do afterwards, so that it is a call.
        Some(deeper) => recurse(deeper) + 1,
        None => {
            spin_for_ever();
            0
        }
    }
}
