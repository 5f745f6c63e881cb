//! nginx, which answers as the others do: its configuration, its start and its end.
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use crate::footprint;
use crate::peer::Group;
use crate::scratch::Scratch;

/// How long it may take to serve.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// One that serves. Dropped, it is killed with its workers, BEFORE its folder is removed.
#[derive(Debug)]
pub(crate) struct Nginx {
    group: Group,
    addr: SocketAddr,
    _folder: Scratch,
}

impl Nginx {
    /// Starts it and waits until all its workers are there.
    pub(crate) fn start(mut command: Command, workers: usize) -> io::Result<Self> {
        let folder = Scratch::new()?;
        // It cannot be asked for any free port: one is found, and left to it.
        let addr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration(addr, workers))?;
        command.arg("-p").arg(folder.path()).arg("-c").arg(file).args(["-g", "daemon off;"]);
        let mut nginx = Self { group: Group::start(command)?, addr, _folder: folder };
        let deadline = Instant::now() + PATIENCE;
        while nginx.processes().len() != 1 + workers || TcpStream::connect(addr).is_err() {
            if let Some(status) = nginx.group.has_ended()? {
                return Err(io::Error::other(format!("it ended before it served ({status})")));
            }
            if Instant::now() > deadline {
                let text = format!("it does not serve with {workers} workers after {PATIENCE:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(nginx)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its master first.
    pub(crate) fn processes(&self) -> Vec<u32> {
        footprint::family(self.group.id())
    }
}

/// As the others: the same backlog, no log of requests, and a connection is kept for as long as a client likes.
fn configuration(addr: SocketAddr, workers: usize) -> String {
    format!(
        "worker_processes {workers};\n\
         error_log stderr warn;\n\
         pid nginx.pid;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n\
         access_log off;\n\
         keepalive_requests 1000000000;\n\
         server {{\n\
         listen {addr} backlog=4096;\n\
         location / {{ return 200 \"hello from worker 0 (pid $pid)\\n\"; }}\n\
         }}\n\
         }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_asks_for_what_the_others_have() {
        let text = configuration("127.0.0.1:81".parse().expect("an address"), 3);
        for line in ["worker_processes 3;", "listen 127.0.0.1:81 backlog=4096;", "(pid $pid)\\n\""] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
