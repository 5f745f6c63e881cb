//! A program that is deployed, and deployed anew while it runs.
use std::cell::Cell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::{fs, io};

use nix::sys::signal::Signal;

use crate::{Folder, Process, ask, eventually, signal, subject};

/// A place where a program is deployed, and the cluster that runs it.
#[derive(Debug)]
pub struct Site {
    /// Its files.
    pub folder: Folder,
    /// Its processes.
    pub app: Process,
    deployed: &'static str,
    /// Lines of the program that have been waited for.
    seen: Cell<usize>,
}

/// Who has answered.
#[derive(Debug)]
pub struct Voice {
    /// Of which build.
    pub build: String,
    /// Its process.
    pub pid: u32,
    /// Of which generation.
    pub generation: u64,
}

/// Writes a build of the program, with its note. By another process: a descriptor that this one has for writing would be
/// in whatever other tests fork at that moment, and what is open for writing cannot be executed (execve(2), ETXTBSY).
pub fn build(program: &str, at: &Path, note: &str) {
    shell(&[
        "cat \"$1\" > \"$2\" && printf '\\nBUILD %s\\n' \"$3\" >> \"$2\" && chmod 755 \"$2\"",
        program,
        path(at),
        note,
    ]);
}

/// Runs a line with its parameters.
pub fn shell(line: &[&str]) {
    let [script, parameters @ ..] = line else { return };
    let ended = Command::new("sh").args(["-c", script, "sh"]).args(parameters).status().unwrap();
    assert!(ended.success(), "{line:?}");
}

/// A path as text.
pub fn path(of: &Path) -> &str {
    of.to_str().unwrap()
}

impl Site {
    /// Starts a build `old` there, and waits until all are ready.
    pub fn start(deployed: &'static str, method: &str, scheduling: &str) -> Self {
        let folder = Folder::new("site");
        build(deployed, &folder.path("program"), "old");
        Self::run(deployed, folder, "program", [method, scheduling])
    }

    /// Starts what is deployed in a folder, under that name.
    pub fn run(deployed: &'static str, folder: Folder, name: &str, [method, scheduling]: [&str; 2]) -> Self {
        let program = folder.path(name).display().to_string();
        let mut command = subject(&program, method, &[scheduling]);
        command.stderr(fs::File::create(folder.path("log")).unwrap());
        let app = Process::start(command).unwrap();
        app.wait_for_director(None).unwrap();
        let seen = app.wait_for_line("all-ready", 0).unwrap();
        Self { folder, app, deployed, seen: Cell::new(seen) }
    }

    /// Where the program is.
    pub fn program(&self) -> PathBuf {
        self.folder.path("program")
    }

    /// What it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path("log")).unwrap()
    }

    /// As most tools deploy: written beside, then renamed.
    pub fn deploy(&self, note: &str) {
        let new = self.folder.path("new");
        build(self.deployed, &new, note);
        fs::rename(new, self.program()).unwrap();
    }

    /// Asks for a reload.
    pub fn hang_up(&self) {
        signal(self.app.pid(), Signal::SIGHUP).unwrap();
    }

    /// Waits for the next such line.
    pub fn wait_for(&self, line: &str) {
        self.seen.set(self.app.wait_for_line(line, self.seen.get()).unwrap());
    }

    /// Reloads, and waits until that is done, or has failed.
    pub fn reload(&self, outcome: &str) {
        self.hang_up();
        self.wait_for(outcome);
    }

    /// Who answers now.
    pub fn voice(&self) -> Voice {
        voice(self.app.addr()).unwrap()
    }

    /// All who answer are of this build; those that have just been told to leave may still take a few.
    pub fn wait_for_build(&self, name: &str, why: &str) {
        eventually(why, || (0..30).all(|_| self.voice().build == name));
    }

    /// Predecessors have nothing open, and leave.
    pub fn wait_for_calm(&self) {
        // The primary, its workers and director, and the fork server where there is one.
        let wanted = 1 + 3 + 1 + usize::from(self.app.fork_server().is_some());
        eventually("predecessors leave", || self.app.processes().len() == wanted);
    }

    /// Processes of its workers.
    pub fn pids(&self) -> Vec<u32> {
        self.app.workers().into_iter().map(|worker| worker.pid).collect()
    }

    /// Stops it: nothing is left.
    pub fn stop(self) {
        assert!(self.app.stop().unwrap().success());
    }
}

/// Who answers there.
pub fn voice(addr: SocketAddr) -> io::Result<Voice> {
    let answer = ask(addr, "who")?;
    let words: Vec<&str> = answer.split(' ').collect();
    let [build, _, _, pid, generation] = words[..] else { return Err(io::Error::other(answer)) };
    let (pid, generation) =
        (pid.parse().map_err(io::Error::other)?, generation.parse().map_err(io::Error::other)?);
    Ok(Voice { build: build.to_owned(), pid, generation })
}

/// So many come at a time.
pub const CLIENTS: usize = 4;

/// Clients that come again and again until they are told to end.
#[derive(Debug)]
pub struct Clients {
    ends: Arc<AtomicBool>,
    all: Vec<JoinHandle<(Vec<String>, Vec<String>)>>,
}

/// Answers that they have had.
#[derive(Debug)]
pub struct Served {
    /// Of which build, each.
    pub builds: Vec<String>,
}

impl Served {
    /// How many are from a build whose name begins so.
    pub fn by(&self, build: &str) -> usize {
        self.builds.iter().filter(|served| served.starts_with(build)).count()
    }
}

impl Clients {
    /// They begin to come.
    pub fn begin(addr: SocketAddr) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let come = |ends: Arc<AtomicBool>| {
            move || {
                let (mut served, mut failed) = (Vec::new(), Vec::new());
                loop {
                    match voice(addr) {
                        Ok(voice) => served.push(voice.build),
                        Err(err) => failed.push(err.to_string()),
                    }
                    if ends.load(Ordering::Relaxed) {
                        return (served, failed);
                    }
                }
            }
        };
        let all = (0..CLIENTS).map(|_| thread::spawn(come(ends.clone()))).collect();
        Self { ends, all }
    }

    /// All were served.
    pub fn end(self, what: &str) -> Served {
        self.end_but_for(what, 0)
    }

    /// So many at the most were not served.
    pub fn end_but_for(self, what: &str, most: usize) -> Served {
        self.ends.store(true, Ordering::Relaxed);
        let clients = self.all.into_iter().map(|client| client.join().unwrap());
        let (mut builds, mut lost) = (Vec::new(), Vec::new());
        for (served, failed) in clients {
            builds.extend(served);
            lost.extend(failed);
        }
        assert!(lost.len() <= most, "{what}: {} failed: {lost:?}", lost.len());
        assert!(!builds.is_empty(), "{what}: somebody came");
        Served { builds }
    }
}
