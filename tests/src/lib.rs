//! The harness: starts the program under test and talks to it.
mod speech;

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub mod browser;
pub mod changeling;
pub mod counters;
pub mod examples;
pub mod lender;
pub mod load;
pub mod site;
pub mod tls;
pub mod websocket;
pub mod wire;

// Here and not with the examples, because it needs the feature `testing`.
#[cfg(doctest)]
#[doc = include_str!("../../docs/testing.md")]
mod guide {}

pub use cluster_core::testing::{Process, WorkerProcess};

pub use crate::speech::{Line, Speech, expect, numbers};

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Both ways to start a cluster.
pub const METHODS: [&str; 2] = ["fork", "await"];

/// What the knob `scheduling=` may be.
pub const SCHEDULINGS: [&str; 3] = ["shared", "round-robin", "least"];

/// The command for `subject METHOD 127.0.0.1:0 KNOB..`.
pub fn subject(program: &str, method: &str, knobs: &[&str]) -> Command {
    subject_at(program, method, "127.0.0.1:0", knobs)
}

/// The command for `subject METHOD ADDR KNOB..`.
pub fn subject_at(program: &str, method: &str, addr: &str, knobs: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args([method, addr]).args(knobs);
    let service_manager = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];
    for variable in ["CLUSTER_WORKERS", "WEB_CONCURRENCY", "CLUSTER_ROLE"].into_iter().chain(service_manager)
    {
        command.env_remove(variable);
    }
    command
}

/// Says one line on a new connection and takes the answer.
pub fn ask(addr: SocketAddr, line: &str) -> io::Result<String> {
    listen(say(addr, line)?)
}

/// Says one line on a new connection.
pub fn say(addr: SocketAddr, line: &str) -> io::Result<TcpStream> {
    let mut stream = connect(addr)?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    Ok(stream)
}

/// Connects, and says nothing yet.
pub fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Says one line on a new connection to a unix socket, whose path may be longer than an address.
pub fn say_at(path: &Path, line: &str) -> io::Result<UnixStream> {
    use std::os::fd::AsRawFd;
    let (folder, name) = (path.parent().expect("a path"), path.file_name().expect("a name"));
    let folder = std::fs::File::open(folder)?;
    let mut stream =
        UnixStream::connect(Path::new(&format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    Ok(stream)
}

/// Says one line on a new connection to a unix socket and takes the answer.
pub fn ask_at(path: &Path, line: &str) -> io::Result<String> {
    listen(say_at(path, line)?)
}

/// A folder of one test's own, for as long as it is held.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it, with a short path: it is for unix sockets, too.
    pub fn new(name: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("cluster-{}-{number}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        Self(folder)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Takes the answer on a connection; a connection that ends without one is an error.
pub fn listen(mut stream: impl Read) -> io::Result<String> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.is_empty() {
        Err(io::ErrorKind::UnexpectedEof.into())
    } else {
        Ok(answer.trim_end().to_owned())
    }
}

/// Says something that takes long, and waits until a worker has it.
pub fn begin(app: &Process, line: &str) -> TcpStream {
    let stream = say(app.addr(), line).unwrap();
    // Every worker has answered something since, so whoever took the connection has it in hand.
    all_answer(&app.workers(), || who(app.addr()).unwrap());
    stream
}

/// A worker as it describes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Who {
    /// Its number.
    pub id: u64,
    /// Its slot.
    pub slot: u16,
    /// Its process id.
    pub pid: u32,
}

/// Asks some worker who it is.
pub fn who(addr: SocketAddr) -> io::Result<Who> {
    parse_who(&ask(addr, "who")?)
}

/// Asks until each of these workers has answered, and nobody else may. How many connections that takes is nobody's
/// promise: on a machine that is busy a worker that has a processor may take many before another has its turn.
pub fn all_answer(workers: &[WorkerProcess], mut who: impl FnMut() -> Who) {
    let wanted: HashSet<u64> = workers.iter().map(|worker| worker.id).collect();
    let mut seen = HashSet::new();
    eventually("all workers answer", || {
        let who = who();
        assert!(wanted.contains(&who.id), "{who:?} is none of {wanted:?}");
        seen.insert(who.id);
        seen.len() == wanted.len()
    });
}

/// Asks some worker at a unix socket who it is.
pub fn who_at(path: &Path) -> io::Result<Who> {
    parse_who(&ask_at(path, "who")?)
}

pub(crate) fn parse_who(answer: &str) -> io::Result<Who> {
    let words: Vec<&str> = answer.split(' ').collect();
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, answer.to_owned());
    let [id, slot, pid] = words[..] else { return Err(invalid()) };
    let parsed = (id.parse(), slot.parse(), pid.parse());
    let (Ok(id), Ok(slot), Ok(pid)) = parsed else { return Err(invalid()) };
    Ok(Who { id, slot, pid })
}

/// Sends a signal to a process.
pub fn signal(pid: u32, signal: nix::sys::signal::Signal) -> io::Result<()> {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal).map_err(io::Error::from)
}

/// The descriptors of a process: number and what it is.
pub fn descriptors(pid: u32) -> io::Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let what = std::fs::read_link(entry.path())
            .map_or_else(|_| "gone".into(), |path| path.display().to_string());
        all.push(format!("{} {what}", entry.file_name().display()));
    }
    Ok(all)
}

/// A field of `/proc/PID/status`, such as `VmRSS`, as a number.
pub fn status_field(pid: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line =
        status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Whether a set of signals in `/proc/PID/status`, such as `SigIgn`, has this one.
pub fn has_in(pid: u32, set: &str, signal: nix::sys::signal::Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(set)?.strip_prefix(":\t"));
    let set = line.and_then(|line| u64::from_str_radix(line, 16).ok()).unwrap_or(0);
    set >> (signal as i32 - 1) & 1 == 1
}

/// Whether what this process starts has this signal ignored, and shall have it so: a script has started it with `&`.
pub fn ignores(signal: nix::sys::signal::Signal) -> bool {
    let ignores = has_in(std::process::id(), "SigIgn", signal);
    if ignores {
        println!("skipped: {signal} is ignored in whatever is started here");
    }
    ignores
}

/// Processor time that a process has used, in ticks of 10 ms.
pub fn processor_time(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    fields.iter().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// Whether all threads of a process have stopped (SIGSTOP): one may run on for a moment after the signal.
pub fn is_stopped(pid: u32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    tasks.flatten().all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    })
}

/// Runs a program that shall end by itself; answers with its code and what it said.
pub fn end_of(mut command: Command) -> (Option<i32>, String) {
    let log = std::env::temp_dir().join(format!(
        "cluster-said-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let file = std::fs::File::create(&log).unwrap();
    command.stdout(file.try_clone().unwrap()).stderr(file);
    let stopped = Process::launch(command).unwrap().wait().unwrap();
    let said = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(log).unwrap();
    (stopped.code(), said)
}

/// The program ends with this code and says all of this.
pub fn fails(command: Command, code: i32, words: &[&str]) {
    let shown = format!("{command:?}");
    let (ended, said) = end_of(command);
    assert_eq!(ended, Some(code), "{shown} said: {said}");
    for word in words {
        assert!(said.contains(word), "{shown} does not say `{word}` but: {said}");
    }
}

/// Waits until something is so; panics after a minute.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
