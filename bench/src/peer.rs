//! A server that is not ours: started from a script in `peers/`, killed with all it has started.
//!
//! A script prints `listening on http://ADDR` when all its workers serve, answers `GET /` with
//! `hello from worker ID (pid PID)`, and ends when its standard input does, so that it never outlives us.
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::footprint;

/// How long a peer may take to serve.
const PATIENCE: Duration = Duration::from_secs(30);

/// One that serves. Dropped, its process group is killed.
#[derive(Debug)]
pub(crate) struct Peer {
    group: Group,
    addr: SocketAddr,
}

/// A process and all that it starts, killed together when this is dropped.
#[derive(Debug)]
pub(crate) struct Group(Child);

impl Peer {
    /// Starts it and waits until it serves.
    pub(crate) fn start(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut group = Group::start(command)?;
        let stdout = group.0.stdout.take().expect("it was asked for above");
        let addr = first_address(stdout)?;
        Ok(Self { group, addr })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// It and all it has started.
    pub(crate) fn processes(&self) -> Vec<u32> {
        footprint::family(self.group.id())
    }
}

impl Group {
    /// A group of its own: whatever it starts is killed with it, and their ids cannot become another's before.
    pub(crate) fn start(mut command: Command) -> io::Result<Self> {
        command.process_group(0).spawn().map(Self)
    }

    /// How its first process has ended, if it has.
    pub(crate) fn has_ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    /// The process id of the first.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Group {
    /// Kills the group BEFORE its leader is reaped: until then no other group can have its number.
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.0.id() as i32), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// Waits for the line with the address, no longer than `PATIENCE`.
fn first_address(stdout: ChildStdout) -> io::Result<SocketAddr> {
    let (found, address) = mpsc::channel();
    // Reads on to the end, so that whatever else the peer prints does not stop it.
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let place = line.strip_prefix("listening on ").and_then(|place| place.split_once("://"));
            if let Some(addr) = place.and_then(|(_, addr)| addr.parse().ok()) {
                let _ = found.send(addr);
            }
        }
    });
    address.recv_timeout(PATIENCE).map_err(|err| match err {
        mpsc::RecvTimeoutError::Timeout => {
            io::Error::new(io::ErrorKind::TimedOut, format!("it does not serve after {PATIENCE:?}"))
        }
        mpsc::RecvTimeoutError::Disconnected => io::Error::other("it ended before it served"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn is_there(pid: u32) -> bool {
        // A zombie, which nobody may have reaped yet, has no memory map.
        std::fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| !maps.is_empty())
    }

    #[test]
    fn a_peer_tells_its_address_and_is_killed_with_its_children() {
        let peer = Peer::start(shell("sleep 60 & echo hello; echo listening on http://127.0.0.1:4000; wait"));
        let peer = peer.expect("it tells its address");
        assert_eq!(peer.addr(), "127.0.0.1:4000".parse().expect("an address"));
        let processes = peer.processes();
        assert!(processes.len() >= 2 && processes.iter().all(|pid| is_there(*pid)), "{processes:?}");
        drop(peer);
        let deadline = std::time::Instant::now() + PATIENCE;
        while processes.iter().any(|pid| is_there(*pid)) {
            assert!(std::time::Instant::now() < deadline, "of {processes:?} some are left");
            thread::yield_now();
        }
    }

    #[test]
    fn a_peer_that_ends_at_once_is_an_error() {
        let err = Peer::start(shell("echo no; exit 3")).expect_err("it has no address").to_string();
        assert!(err.contains("ended before it served"), "{err}");
    }
}
