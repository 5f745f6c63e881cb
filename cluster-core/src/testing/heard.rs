//! What a program under test announces.
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A worker of a program under test.
///
/// # Example
/// ```no_run
/// # fn f(app: cluster_core::testing::Process) {
/// for worker in app.workers() {
///     println!("worker {} in slot {}: pid {}", worker.id, worker.slot, worker.pid);
/// }
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerProcess {
    /// Its number.
    pub id: u64,
    /// Its slot.
    pub slot: u16,
    /// Its process id.
    pub pid: u32,
}

/// What the program has announced so far.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    news: Mutex<News>,
    more: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) lines: Vec<String>,
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) workers: Vec<WorkerProcess>,
    pub(crate) fork_server: Option<u32>,
    pub(crate) director: Option<u32>,
    pub(crate) all_ready: bool,
}

impl Heard {
    pub(crate) fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for more news, no longer than `at_most`.
    pub(crate) fn wait(&self, at_most: Duration) {
        drop(self.more.wait_timeout(self.news(), at_most));
    }
}

impl News {
    fn take(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["listening", ..] => {
                let host = |place: &str| place.rsplit("//").next().and_then(|addr| addr.parse().ok());
                self.addrs = words[1..].iter().filter_map(|place| host(place)).collect();
            }
            ["ready", id, slot, pid] => {
                if let (Ok(id), Ok(slot), Ok(pid)) = (id.parse(), slot.parse(), pid.parse()) {
                    self.workers.push(WorkerProcess { id, slot, pid });
                }
            }
            ["exited" | "draining", id, ..] => self.workers.retain(|worker| worker.id.to_string() != id),
            ["fork-server", pid] => self.fork_server = pid.parse().ok(),
            ["fork-server-lost"] => self.fork_server = None,
            ["director", pid] => self.director = pid.parse().ok(),
            // Another may have come while this one drained.
            ["director-exited", pid] if self.director == pid.parse().ok() => self.director = None,
            ["all-ready"] => self.all_ready = true,
            _ => {}
        }
        self.lines.push(line.to_owned());
    }
}

/// Takes in what one program says.
pub(crate) fn hear(listener: &UnixListener, heard: &Heard) {
    let Ok((stream, _)) = listener.accept() else { return };
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        heard.news().take(&line);
        heard.more.notify_all();
    }
}
