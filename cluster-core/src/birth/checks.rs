//! What must hold before a fork: one thread, and no trace of Tokio.
use std::os::fd::RawFd;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use nix::sys::socket::{AddressFamily, SockType, getsockopt, sockopt};

use crate::error::StartError;
use crate::sys::{channel, descriptors};

/// How long a second thread may take to end: one that was just joined lingers in `/proc`.
const LINGER: Duration = Duration::from_millis(100);

/// Proof that this process had one thread when it was checked; the only way to a fork.
pub(crate) struct SingleThreaded(());

impl SingleThreaded {
    /// Looks at `/proc/self/task`, again for up to 100 ms where there are more threads.
    pub(crate) fn check() -> Result<Self, StartError> {
        let patience = Instant::now() + LINGER;
        loop {
            let names = other_threads().map_err(StartError::Proc)?;
            if names.is_empty() {
                return Ok(Self(()));
            }
            if Instant::now() >= patience {
                return Err(StartError::Threads(describe(&names)));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Refuses a process in which Tokio has been used: its workers would share one set of signals.
///
/// A runtime that was made and dropped leaves the socket pair by which Tokio's signal handler wakes it.
pub(crate) fn no_trace_of_tokio() -> Result<(), StartError> {
    if tokio::runtime::Handle::try_current().is_ok() {
        return Err(StartError::InsideRuntime);
    }
    let mut pair = 0;
    for number in open_descriptors().map_err(StartError::Proc)? {
        pair += usize::from(is_end_of_own_pair(number));
    }
    // A pair has two ends here; a socket with only one end of ours is somebody else's business.
    if pair >= 2 { Err(StartError::TokioUsed) } else { Ok(()) }
}

/// Names of the threads besides the main one.
pub(crate) fn other_threads() -> io::Result<Vec<String>> {
    let main = nix::unistd::getpid().to_string();
    let mut names = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?;
        if task.file_name().to_string_lossy() == main {
            continue;
        }
        // A thread that ends between the two looks is no thread any more.
        if let Ok(name) = fs::read_to_string(task.path().join("comm")) {
            names.push(name.trim_end().to_owned());
        }
    }
    Ok(names)
}

/// The threads by name, each with what usually starts it.
fn describe(names: &[String]) -> String {
    let mut told: Vec<String> = Vec::new();
    // A thread that was given no name has that of the program.
    let program = fs::read_to_string("/proc/self/comm").unwrap_or_default();
    for name in names {
        let from = match name.as_str() {
            name if name == program.trim_end() => {
                " (a thread without a name: rayon's global pool, or a library's; start it in the worker)"
            }
            "tracing-appende" => " (tracing-appender: make its writer in serve_with or in the worker)",
            "jemalloc_bg_thd" => " (jemalloc: switch background_thread off until the worker runs)",
            "tokio-runtime-w" | "tokio-rt-worker" => " (a Tokio runtime: use `.await` instead of run())",
            name if name.starts_with("actix") => " (actix: use `.await` instead of join())",
            _ => "",
        };
        let line = format!("`{name}`{from}");
        if !told.contains(&line) {
            told.push(line);
        }
    }
    told.join(", ")
}

fn open_descriptors() -> io::Result<Vec<RawFd>> {
    let entries = fs::read_dir("/proc/self/fd")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Tokio's pair: unix stream sockets, nonblocking, closed on exec, made by this very process.
fn is_end_of_own_pair(number: RawFd) -> bool {
    descriptors::peek(number, |fd| {
        matches!(nix::sys::socket::getsockname::<nix::sys::socket::SockaddrStorage>(number),
            Ok(name) if nix::sys::socket::SockaddrLike::family(&name) == Some(AddressFamily::Unix))
            && matches!(getsockopt(&fd, sockopt::SockType), Ok(SockType::Stream))
            && descriptors::is_nonblocking(fd) == Ok(true)
            && descriptors::is_cloexec(fd) == Ok(true)
            && channel::peer_pid(fd) == Ok(nix::unistd::getpid().as_raw())
    })
}
