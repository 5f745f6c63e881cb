//! What a cluster of ours tells of itself, where it is asked to.
use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::scratch::Scratch;

/// How long it may take until it tells.
const PATIENCE: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_millis(5);
/// Counters are told at most every 100 ms: what is the same after this time is all there is.
const SETTLED: Duration = Duration::from_millis(150);

/// Where it tells: a unix socket in a folder of its own.
#[derive(Debug)]
pub(crate) struct StatusSocket(Scratch);

/// Counters of all workers together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Counters {
    pub(crate) connections: u64,
    pub(crate) rings: u64,
}

impl StatusSocket {
    pub(crate) fn new() -> io::Result<Self> {
        Scratch::new().map(Self)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("status")
    }

    /// What the workers have counted, when all is idle.
    pub(crate) fn settled_counters(&self) -> io::Result<Counters> {
        let deadline = Instant::now() + PATIENCE;
        let mut before = self.counters()?;
        loop {
            thread::sleep(SETTLED);
            let counters = self.counters()?;
            if counters == before {
                return Ok(counters);
            }
            if Instant::now() > deadline {
                let text = format!("its counters do not come to rest within {PATIENCE:?}: {counters:?}");
                return Err(io::Error::new(ErrorKind::TimedOut, text));
            }
            before = counters;
        }
    }

    fn counters(&self) -> io::Result<Counters> {
        let status: Value = serde_json::from_str(&self.ask()?)?;
        counters(&status)
            .ok_or_else(|| io::Error::other("its status has no counters of its workers' connections"))
    }

    fn ask(&self) -> io::Result<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut stream = loop {
            match UnixStream::connect(self.path()) {
                Ok(stream) => break stream,
                // The process that tells is not there yet.
                Err(err)
                    if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
                        && Instant::now() < deadline =>
                {
                    thread::sleep(ASK_EVERY);
                }
                Err(err) => return Err(err),
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }
}

fn counters(status: &Value) -> Option<Counters> {
    let workers = status["workers"].as_array()?;
    let sum =
        |name: &str| workers.iter().map(|worker| worker["connections"][name].as_u64()).sum::<Option<u64>>();
    Some(Counters { connections: sum("total")?, rings: sum("rings")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_all_workers_are_added() {
        let worker = |total, rings| serde_json::json!({"connections": {"total": total, "rings": rings}});
        let status = serde_json::json!({"workers": [worker(1, 2), worker(10, 20)]});
        assert_eq!(counters(&status), Some(Counters { connections: 11, rings: 22 }));
    }

    #[test]
    fn a_status_without_them_has_none() {
        assert_eq!(counters(&serde_json::json!({"workers": [{"id": 1}]})), None);
        assert_eq!(counters(&serde_json::json!({})), None);
    }
}
