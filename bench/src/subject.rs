//! A subject: a program of ours or a peer, how it is started, and what can be asked of it while it runs.
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cluster_core::testing::Process;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::{self, Place};
use crate::error::Error;
use crate::footprint::Footprint;
use crate::log::Log;
use crate::nginx::Nginx;
use crate::peer::Peer;
use crate::pm2::Pm2;
use crate::reload;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who is measured.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// As the table names it.
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    /// Where it answers with its worker's process id.
    pub(crate) path: &'static str,
    /// What it is told after its first argument.
    pub(crate) told: Vec<String>,
    /// Variables that are set for it.
    pub(crate) environment: &'static [(&'static str, &'static str)],
}

/// What to start.
#[derive(Debug, Clone)]
pub(crate) enum Program {
    /// A cluster of ours; its first argument is the address.
    Cluster(PathBuf),
    /// A script of `peers/` and what runs it; its first argument is the number of workers.
    Script { runner: PathBuf, script: &'static str },
    /// nginx, with a configuration made for the run.
    Nginx(PathBuf),
    /// A script of `peers/` that PM2 runs in its cluster mode.
    Pm2 { pm2: PathBuf, script: &'static str },
    /// A program of this package that is no cluster of ours; its arguments are those of its suite.
    Peer(PathBuf),
}

/// A subject that serves. Dropped, all its processes are killed.
#[derive(Debug)]
pub(crate) struct Running {
    subject: &'static str,
    path: &'static str,
    host: Host,
    log: Log,
}

#[derive(Debug)]
enum Host {
    Cluster(Process),
    Peer(Peer),
    Nginx(Nginx),
    Pm2(Pm2),
}

impl Subject {
    /// One that is told nothing.
    pub(crate) fn new(name: &'static str, program: Program) -> Self {
        Self { name, program, path: "/", told: Vec::new(), environment: &[] }
    }

    /// Starts it with so many workers and waits until all are ready.
    pub(crate) fn start(&self, workers: usize) -> Result<Running, Error> {
        let failed = |source, said| Error::Start { subject: self.name, source, said };
        let log = Log::new().map_err(|err| failed(err, String::new()))?;
        let started = log.stdio().and_then(|stderr| self.launch(workers, stderr));
        match started {
            Ok(host) => Ok(Running { subject: self.name, path: self.path, host, log }),
            Err(err) => Err(failed(err, log.last_lines())),
        }
    }

    fn launch(&self, workers: usize, stderr: Stdio) -> io::Result<Host> {
        let mut command = self.command();
        command.stderr(stderr);
        match &self.program {
            Program::Cluster(_) => {
                command.arg("127.0.0.1:0").args(&self.told).env("CLUSTER_WORKERS", workers.to_string());
                command.stdout(Stdio::null());
                Process::start(command).map(Host::Cluster)
            }
            Program::Script { .. } | Program::Peer(_) => {
                command.arg(workers.to_string()).args(&self.told);
                Peer::start(command).map(Host::Peer)
            }
            Program::Nginx(_) => Nginx::start(command, workers).map(Host::Nginx),
            Program::Pm2 { pm2, .. } => Pm2::start(pm2, command, workers).map(Host::Pm2),
        }
    }

    /// What starts it, without arguments of its own.
    pub(crate) fn command(&self) -> Command {
        let mut command = match &self.program {
            Program::Cluster(executable) | Program::Peer(executable) | Program::Nginx(executable) => {
                Command::new(executable)
            }
            Program::Script { runner, script } => with_script(Command::new(runner), script),
            Program::Pm2 { pm2, script } => {
                let mut command = Command::new(pm2.with_file_name("pm2-runtime"));
                command.arg("start");
                with_script(command, script)
            }
        };
        command.stdin(Stdio::null()).envs(self.environment.iter().copied());
        command
    }
}

impl Running {
    /// As the table names it.
    pub(crate) fn name(&self) -> &'static str {
        self.subject
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        match &self.host {
            Host::Cluster(process) => process.addr(),
            Host::Peer(peer) => peer.addr(),
            Host::Nginx(nginx) => nginx.addr(),
            Host::Pm2(pm2) => pm2.addr(),
        }
    }

    fn place(&self) -> Place {
        Place { addr: self.addr(), path: self.path }
    }

    /// All of them, also those that serve nobody.
    pub(crate) fn processes(&self) -> Vec<u32> {
        match &self.host {
            Host::Cluster(process) => process.processes(),
            Host::Peer(peer) => peer.processes(),
            Host::Nginx(nginx) => nginx.processes(),
            Host::Pm2(pm2) => pm2.processes(),
        }
    }

    /// Those that serve.
    pub(crate) fn workers(&self) -> Vec<u32> {
        match &self.host {
            Host::Cluster(process) => process.workers().iter().map(|worker| worker.pid).collect(),
            // A peer's first process serves nobody, and starts nobody but workers.
            Host::Peer(_) | Host::Nginx(_) | Host::Pm2(_) => self.processes().split_off(1),
        }
    }

    /// Asks until that many workers have answered at least once; answers with one of them.
    pub(crate) fn hear_from_all(&self, workers: usize) -> Result<u32, Error> {
        let heard = client::hear_from_all(workers, self.place(), PATIENCE);
        let heard = heard.map_err(|err| self.no_answer("all of its workers".into(), &err))?;
        Ok(*heard.first().expect("a subject has at least one worker"))
    }

    /// Kills a worker with SIGKILL and asks, on connections made after that, until its successor answers.
    /// Answers with how long that took.
    pub(crate) fn kill_and_await_successor(&self, victim: u32) -> Result<Duration, Error> {
        let (subject, place) = (self.subject, self.place());
        let start = Instant::now();
        kill(Pid::from_raw(victim as i32), Signal::SIGKILL).map_err(|source| Error::Kill {
            subject,
            pid: victim,
            source,
        })?;
        client::successor_of(victim, place, PATIENCE)
            .map_err(|err| self.no_answer(format!("a successor of worker {victim}"), &err))?;
        Ok(start.elapsed())
    }

    /// Replaces all its workers; answers with how long it took until the last successor was ready.
    pub(crate) fn reload(&self) -> Result<Duration, Error> {
        let reloaded = match &self.host {
            Host::Cluster(process) => reload::replace_all(process),
            Host::Pm2(pm2) => pm2.reload(),
            Host::Peer(_) | Host::Nginx(_) => Err(io::ErrorKind::Unsupported.into()),
        };
        let failed = |source| Error::Reload { subject: self.subject, source, said: self.log.last_lines() };
        reloaded.map_err(failed)
    }

    /// What each of its processes holds.
    pub(crate) fn footprints(&self) -> Result<Vec<(u32, Footprint)>, Error> {
        let of = |pid| match Footprint::of(pid) {
            Ok(footprint) => Ok((pid, footprint)),
            Err(source) => Err(Error::Memory { subject: self.subject, pid, source }),
        };
        self.processes().into_iter().map(of).collect()
    }

    /// What it has said last, to end an error's sentence with.
    pub(crate) fn last_lines(&self) -> String {
        self.log.last_lines()
    }

    /// Stops it. A cluster of ours must end well and leave nothing; a peer is killed.
    pub(crate) fn stop(self) -> Result<(), Error> {
        match self.host {
            Host::Cluster(process) => stop_cluster(self.subject, process, &self.log),
            Host::Peer(_) | Host::Nginx(_) | Host::Pm2(_) => Ok(()),
        }
    }

    fn no_answer(&self, whom: String, last: &io::Error) -> Error {
        let said = self.log.last_lines();
        Error::NoAnswer { subject: self.subject, whom, within: PATIENCE, last: last.to_string(), said }
    }
}

fn with_script(mut command: Command, script: &str) -> Command {
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(script));
    command
}

/// A cluster of ours must end well and leave nothing.
pub(crate) fn stop_cluster(subject: &'static str, process: Process, log: &Log) -> Result<(), Error> {
    let why = match process.stop() {
        Ok(status) if !status.success() => format!("its primary ended with {status}"),
        Ok(_) => return Ok(()),
        Err(err) => err.to_string(),
    };
    Err(Error::Stop { subject, why, said: log.last_lines() })
}
