//! What a cluster counts, as its primary's side sees it: programs with the knobs `director` and `status-at=`, whose
//! primary's side tells it by [`tell`].
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use cluster_core::testing::Process;
use cluster_core::{ClusterHandle, ConnectionCounts, ListenerStatus};
use tokio::io::AsyncWriteExt;

use crate::{eventually, subject};

/// A cluster whose counters are asked for.
#[derive(Debug)]
pub struct Counted {
    /// The cluster.
    pub app: Process,
    path: Socket,
}

/// Where it is asked. Removed when dropped.
#[derive(Debug)]
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a worker has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// The worker's number.
    pub worker: u64,
    /// As in `ConnectionCounts`.
    pub open: u64,
    /// As there.
    pub total: u64,
    /// As there.
    pub offered: u64,
    /// As there.
    pub claimed: u64,
    /// As there.
    pub revoked: u64,
    /// As there.
    pub rings: u64,
}

/// How a listener stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// As in `ListenerStatus`.
    pub address: String,
    /// As there.
    pub scheduling: String,
    /// As there.
    pub queued: Option<u32>,
    /// As there.
    pub backlog: Option<u32>,
    /// As there.
    pub refused: u64,
}

impl Counted {
    /// Starts `subject METHOD 127.0.0.1:0 KNOB..`.
    pub fn start(program: &str, method: &str, knobs: &[&str]) -> Self {
        Self::launch(subject(program, method, knobs))
    }

    /// Starts a command for a program that takes the knobs.
    pub fn launch(mut command: Command) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cluster-status-{}-{number}", std::process::id()));
        command.args(["director", &format!("status-at={}", path.display())]);
        Self { app: Process::start(command).expect("it starts"), path: Socket(path) }
    }

    /// All counters, as the primary's side knows them now.
    pub fn counters(&self) -> (Vec<Counts>, Vec<Listener>) {
        let mut text = String::new();
        eventually("the primary's side answers", || {
            text.clear();
            let asked =
                UnixStream::connect(&self.path.0).and_then(|mut stream| stream.read_to_string(&mut text));
            asked.is_ok() && !text.is_empty()
        });
        let mut all = (Vec::new(), Vec::new());
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["worker", ref numbers @ ..] => all.0.push(counts(numbers)),
                ["listener", address, scheduling, queued, backlog, refused] => all.1.push(Listener {
                    address: address.to_owned(),
                    scheduling: scheduling.to_owned(),
                    queued: queued.parse().ok(),
                    backlog: backlog.parse().ok(),
                    refused: refused.parse().expect("a number"),
                }),
                _ => panic!("{line:?}"),
            }
        }
        all
    }

    /// Where the listener of this scheduling is; the first of them.
    ///
    /// # Panics
    /// There is none.
    pub fn address_by(&self, scheduling: &str) -> SocketAddr {
        let mut listeners = self.counters().1.into_iter();
        let found = listeners.find(|listener| listener.scheduling == scheduling).expect("there is one");
        found.address.parse().expect("it is one of TCP")
    }

    /// What all workers have counted, together.
    pub fn sum(&self, of: impl Fn(&Counts) -> u64) -> u64 {
        self.counters().0.iter().map(of).sum()
    }
}

/// On the primary's side: says all counters to whoever connects there, a line for each worker and each listener.
///
/// # Panics
/// The path cannot be bound.
pub async fn tell(cluster: ClusterHandle, path: String) {
    // A predecessor's.
    let _ = std::fs::remove_file(&path);
    let listener = tokio::net::UnixListener::bind(path).expect("a free path");
    while let Ok((mut client, _)) = listener.accept().await {
        let _ = client.write_all(lines(&cluster).as_bytes()).await;
    }
}

fn lines(cluster: &ClusterHandle) -> String {
    let status = cluster.status();
    let workers = status.workers.iter().map(|worker| {
        let ConnectionCounts { open, total, offered, claimed, revoked, rings, .. } = worker.connections;
        format!("worker {} {open} {total} {offered} {claimed} {revoked} {rings}\n", worker.id)
    });
    let listeners = status.listeners.iter().map(|listener| {
        let number = |number: Option<u32>| number.map_or("-".to_owned(), |number| number.to_string());
        let ListenerStatus { address, scheduling, queued, backlog, refused, .. } = listener;
        format!("listener {address} {scheduling:?} {} {} {refused}\n", number(*queued), number(*backlog))
    });
    workers.chain(listeners).collect()
}

fn counts(numbers: &[&str]) -> Counts {
    let numbers: Vec<u64> = numbers.iter().map(|number| number.parse().expect("a number")).collect();
    let [worker, open, total, offered, claimed, revoked, rings] = numbers[..] else { panic!("{numbers:?}") };
    Counts { worker, open, total, offered, claimed, revoked, rings }
}
