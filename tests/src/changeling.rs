//! A `changeling` under test: what became of its processes, as the kernel sees them.
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use nix::unistd::geteuid;

use crate::{Folder, Process, eventually, subject_at};

/// The running program, with a folder that everybody may write to.
#[derive(Debug)]
pub struct Changeling {
    /// Its processes.
    pub app: Process,
    folder: Folder,
}

/// A worker as the program's `status()` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its process.
    pub pid: u32,
    /// Connections that it has taken.
    pub connections: u64,
    /// Its private memory in bytes, if that is known.
    pub memory: Option<u64>,
}

impl Changeling {
    /// Starts `WRAPPER.. changeling core METHOD ADDR KNOB..` and waits until all its workers are ready.
    pub fn start(program: &str, wrapper: &[&str], method: &str, addr: &str, knobs: &[&str]) -> Self {
        let (command, folder) = command(program, wrapper, ["core", method, addr], knobs);
        let app = Process::start(command).unwrap_or_else(|err| {
            panic!(
                "{method} {knobs:?}: {err}: {}",
                fs::read_to_string(folder.path("log")).unwrap_or_default()
            )
        });
        Self { app, folder }
    }

    /// Starts it and waits for nothing.
    pub fn launch(program: &str, wrapper: &[&str], method: &str, addr: &str, knobs: &[&str]) -> Self {
        let (command, folder) = command(program, wrapper, ["core", method, addr], knobs);
        Self { app: Process::launch(command).unwrap(), folder }
    }

    /// Starts it with a framework and waits until all its workers are ready.
    pub fn with(program: &str, framework: &str, method: &str, knobs: &[&str]) -> Self {
        let (command, folder) = command(program, &[], [framework, method, "127.0.0.1:0"], knobs);
        let app = Process::start(command).unwrap_or_else(|err| {
            panic!(
                "{framework} {method}: {err}: {}",
                fs::read_to_string(folder.path("log")).unwrap_or_default()
            )
        });
        Self { app, folder }
    }

    /// Runs it until it ends by itself: its code, what it said, and what was noted.
    pub fn end_of(
        program: &str,
        wrapper: &[&str],
        how: [&str; 2],
        knobs: &[&str],
    ) -> (Option<i32>, String, Vec<String>) {
        let [framework, method] = how;
        let (command, folder) = command(program, wrapper, [framework, method, "127.0.0.1:0"], knobs);
        let status = Process::launch(command).unwrap().wait().unwrap();
        let ended = Self::read(&folder);
        (status.code(), ended.0, ended.1)
    }

    fn read(folder: &Folder) -> (String, Vec<String>) {
        let read = |name| fs::read_to_string(folder.path(name)).unwrap_or_default();
        (read("log"), read("notes").lines().map(str::to_owned).collect())
    }

    /// What it has said on standard error.
    pub fn log(&self) -> String {
        Self::read(&self.folder).0
    }

    /// What was noted by what is called at births and ends.
    pub fn notes(&self) -> Vec<String> {
        Self::read(&self.folder).1
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }

    /// Asks the primary to stop; answers with what was noted. Nothing of it may be left.
    pub fn stop(self) -> Vec<String> {
        self.stop_and_tell().0
    }

    /// Asks the primary to stop; answers with what was noted, and said. Nothing of it may be left.
    pub fn stop_and_tell(self) -> (Vec<String>, String) {
        let Self { app, folder } = self;
        assert!(app.stop().unwrap().success(), "{}", Self::read(&folder).0);
        let (said, notes) = Self::read(&folder);
        (notes, said)
    }

    /// How its workers stand.
    pub fn standing(&self) -> Vec<Standing> {
        let mut text = String::new();
        eventually("the director answers", || {
            text.clear();
            let asked = UnixStream::connect(self.path("status"));
            asked.and_then(|mut stream| stream.read_to_string(&mut text)).is_ok_and(|read| read > 0)
        });
        let parse = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let [pid, connections, memory] = words[..] else { return None };
            let (pid, connections) = (pid.parse().ok()?, connections.parse().ok()?);
            Some(Standing { pid, connections, memory: memory.parse().ok() })
        };
        text.lines().map(|line| parse(line).unwrap_or_else(|| panic!("{line}"))).collect()
    }
}

fn command(program: &str, wrapper: &[&str], how: [&str; 3], knobs: &[&str]) -> (Command, Folder) {
    let folder = Folder::new("changeling");
    let everybody = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours")
    };
    everybody(&folder.path("."), 0o777);
    let log = fs::File::create(folder.path("log")).expect("the folder is there");
    fs::write(folder.path("notes"), "").expect("the folder is there");
    everybody(&folder.path("notes"), 0o666);
    let [framework, method, addr] = how;
    let mut all = wrapper.to_vec();
    all.extend([program, framework]);
    let mut command = subject_at(all[0], method, addr, knobs);
    let rest: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut whole = Command::new(all[0]);
    whole.args(&all[1..]).args(rest);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => whole.env(name, value),
            None => whole.env_remove(name),
        };
    }
    whole.arg(format!("notes={}", folder.path("notes").display()));
    if knobs.contains(&"status") {
        whole.arg(format!("status-at={}", folder.path("status").display()));
    }
    command = whole;
    command.stdin(Stdio::null()).stderr(log);
    (command, folder)
}

/// A field of `/proc/PID/status`, as it is written there, words separated by one blank.
pub fn status_words(pid: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{field} of {pid}: {status}"))
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// The soft and the hard limit of a process with this name in `/proc/PID/limits`.
pub fn limit_of(pid: u32, name: &str) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let line =
        limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {limits}"));
    let mut words = line.split_whitespace().map(str::to_owned);
    (words.next().expect("a soft limit"), words.next().expect("a hard limit"))
}

/// The niceness of a thread (proc_pid_stat(5), field 19).
pub fn niceness(pid: u32, thread: u32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    fields.get(16).and_then(|field| field.parse().ok()).unwrap_or_else(|| panic!("{stat}"))
}

/// The threads of a process.
pub fn threads(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A privileged port of the loopback network that no other test has.
pub fn privileged_addr() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [high, low] = ((std::process::id() % 0xffff) as u16).to_be_bytes();
    SocketAddr::from(([127, high.max(1), low, NEXT.fetch_add(1, Ordering::Relaxed)], 80))
}

/// Whether this test runs as root; says so where it does not.
pub fn is_root(what: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("skipped: {what} is for root to show");
    }
    root
}

/// Whether util-linux's `setpriv` takes these arguments here; says so where it does not.
pub fn can_set_privileges(arguments: &[&str]) -> bool {
    let tried = Command::new("setpriv").args(arguments).arg("true").stderr(Stdio::null()).status();
    let can = tried.is_ok_and(|status| status.success());
    if !can {
        eprintln!("skipped: setpriv {arguments:?} is not there, or not permitted");
    }
    can
}
