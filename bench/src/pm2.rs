//! PM2, with a script in cluster mode: its start, its reload and its end.
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::footprint;
use crate::peer::Group;
use crate::scratch::Scratch;

/// How long it may take to serve.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One that serves. Dropped, it is killed with its workers, BEFORE its folder is removed.
#[derive(Debug)]
pub(crate) struct Pm2 {
    group: Group,
    addr: SocketAddr,
    pm2: PathBuf,
    home: Scratch,
}

impl Pm2 {
    /// Starts it in the foreground and waits until all its workers are there. `command` is `pm2-runtime SCRIPT`.
    pub(crate) fn start(pm2: &Path, mut command: Command, workers: usize) -> io::Result<Self> {
        let home = Scratch::new()?;
        // It cannot be asked for any free port: one is found, and left to it.
        let addr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        command.args(["-i", &workers.to_string()]).env("PORT", addr.port().to_string());
        command.env("PM2_HOME", home.path()).stdout(Stdio::null());
        let mut running = Self { group: Group::start(command)?, addr, pm2: pm2.to_owned(), home };
        let deadline = Instant::now() + PATIENCE;
        while running.processes().len() < 1 + workers || TcpStream::connect(addr).is_err() {
            if let Some(status) = running.group.has_ended()? {
                return Err(io::Error::other(format!("it ended before it served ({status})")));
            }
            if Instant::now() > deadline {
                let text = format!("it does not serve with {workers} workers after {PATIENCE:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(running)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Itself first.
    pub(crate) fn processes(&self) -> Vec<u32> {
        footprint::family(self.group.id())
    }

    /// `pm2 reload all`; answers with how long that took.
    pub(crate) fn reload(&self) -> io::Result<Duration> {
        let start = Instant::now();
        let mut reload = Command::new(&self.pm2);
        reload.args(["reload", "all", "--silent"]).env("PM2_HOME", self.home.path());
        let status = reload.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("`pm2 reload all` ended with {status}")));
        }
        Ok(start.elapsed())
    }
}
