//! The program whose processes talk to each other: `speaker fork|await FOLDER [KNOB..]`.
//!
//! Each of its processes answers on a socket in the folder (`slot-0`, `director`), a line for a line, and writes
//! what it hears to a file beside (`slot-0.heard`): that outlives it. The line protocol is in `words`.
mod director;
mod types;
mod words;
mod worker;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use cluster_core::{Builder, Cluster, Ready, Restart};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::types::{Flat, Tagged};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let [_, method, folder, knobs @ ..] = &arguments[..] else {
        eprintln!("usage: speaker fork|await FOLDER [KNOB..]");
        return ExitCode::from(2);
    };
    let stage = Stage { folder: folder.into(), knobs: knobs.to_vec().into() };
    let cluster = cluster(&stage);
    let ended = if method == "fork" {
        cluster.run()
    } else {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime").block_on(cluster.into_future())
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => err.report(),
    }
}

/// What all processes of one run know.
#[derive(Clone)]
struct Stage {
    folder: PathBuf,
    /// Words on the command line: `name` or `name=value`.
    knobs: Arc<[String]>,
}

impl Stage {
    fn has(&self, name: &str) -> bool {
        self.knobs.iter().any(|knob| knob == name)
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.knobs.iter().find_map(|knob| knob.strip_prefix(name)?.strip_prefix('='))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.value(name).map(|value| value.parse().expect("a number"))
    }

    /// What a process of this name hears goes there.
    fn ear(&self, name: &str) -> io::Result<Ear> {
        let path = self.folder.join(format!("{name}.heard"));
        Ok(Ear(Arc::new(File::options().append(true).create(true).open(path)?)))
    }

    /// The socket of a process of this name; it takes the place of its predecessor's.
    fn socket(&self, name: &str) -> io::Result<UnixListener> {
        let (path, new) =
            (self.folder.join(name), self.folder.join(format!("{name}.{}", std::process::id())));
        let listener = UnixListener::bind(&new)?;
        fs::rename(new, path)?;
        Ok(listener)
    }
}

/// Where a process writes what it hears, a line at a time.
#[derive(Clone)]
struct Ear(Arc<File>);

impl Ear {
    fn hears(&self, line: &str) {
        (&*self.0).write_all(format!("{line}\n").as_bytes()).expect("the folder is there");
    }
}

/// Answers lines until the client goes.
async fn converse<F: Future<Output = String>>(
    stream: UnixStream,
    answer: impl Fn(String) -> F,
) -> io::Result<()> {
    let (lines, mut to) = stream.into_split();
    let mut lines = BufReader::new(lines).lines();
    while let Some(line) = lines.next_line().await? {
        let said = answer(line).await;
        to.write_all(format!("{said}\n").as_bytes()).await?;
    }
    Ok(())
}

/// Waits for a file.
async fn appears(path: impl AsRef<Path>) {
    while !path.as_ref().exists() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn cluster(stage: &Stage) -> Ready {
    let mut builder = Cluster::builder().workers(stage.number("workers").unwrap_or(2) as usize);
    if let Some(millis) = stage.number("drain") {
        builder = builder.drain_timeout(Duration::from_millis(millis));
    }
    builder = match stage.value("hang") {
        Some("off") => builder.hang_timeout(None),
        Some(millis) => builder.hang_timeout(Duration::from_millis(millis.parse().expect("a number"))),
        None => builder,
    };
    builder = match stage.number("restart-delay") {
        Some(millis) => {
            let delay = Duration::from_millis(millis);
            builder.restart(Restart::default().delay(delay, delay))
        }
        None if stage.has("never") => builder.restart(Restart::never()),
        None => builder.restart(
            Restart::default().delay(Duration::ZERO, Duration::ZERO).limit(1_000_000, Duration::from_secs(1)),
        ),
    };
    builder = unsupported(builder, stage.value("bad"));
    if !stage.has("no-director") {
        builder = director::take_part(builder, stage);
    }
    let stage = stage.clone();
    builder.worker(move |worker| worker::run(worker, stage))
}

/// Registers what cannot be carried, on the primary's side.
fn unsupported(builder: Builder, kind: Option<&str>) -> Builder {
    match kind {
        Some("flatten") => builder.on_message(|_: Flat| ()),
        Some("tag") => builder.on_message(|_: Tagged| ()),
        Some("value") => builder.on_message(|_: serde_json::Value| ()),
        Some(other) => panic!("there is no type {other:?}"),
        None => builder,
    }
}
