//! h2load, the HTTP/2 client of nghttp2: what it is told, and what it says.
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{CONNECTIONS, Outcome, STREAMS, THREADS};
use crate::failures::Failures;

#[derive(Debug, Clone)]
pub(super) struct H2load(PathBuf);

impl H2load {
    pub(super) fn at(program: &Path) -> Self {
        Self(program.to_owned())
    }

    /// Asks by HTTP/2 without TLS and without asking first; waits for its end.
    ///
    /// # Errors
    /// It cannot be started, fails, or says something else than it used to.
    pub(super) fn ask(&self, addr: SocketAddr, path: &str, times: [Duration; 2]) -> io::Result<Outcome> {
        let [warm_up, length] = times.map(|time| format!("{}ms", time.as_millis()));
        let number = |number: usize| number.to_string();
        let output = Command::new(&self.0)
            .args(["-c", &number(CONNECTIONS), "-m", &number(STREAMS), "-t", &number(THREADS)])
            .args(["--warm-up-time", &warm_up, "-D", &length, "--no-tls-proto=h2c"])
            .arg(format!("http://{addr}{path}"))
            .stdin(Stdio::null())
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        outcome(&said).ok_or_else(|| {
            let complaint = String::from_utf8_lossy(&output.stderr);
            io::Error::other(format!("h2load ({}) said: {}{}", output.status, said.trim(), complaint.trim()))
        })
    }
}

/// From `finished in 1.00s, 90000.00 req/s, ..` and `status codes: 90000 2xx, 0 3xx, ..` and `requests: .., 0 failed, ..`.
fn outcome(said: &str) -> Option<Outcome> {
    let line = |start: &str| said.lines().find_map(|line| line.strip_prefix(start));
    let counted = |line: &str, what: &str| -> Option<usize> {
        let part = line.split(',').find_map(|part| part.trim().strip_suffix(what))?;
        part.trim().parse().ok()
    };
    let rate = line("finished in ")?.split(", ").find_map(|part| part.strip_suffix(" req/s"))?;
    let (requests, codes) = (line("requests: ")?, line("status codes: ")?);
    let mut failures = Failures::default();
    for (line, what) in [
        (requests, " failed"),
        (requests, " errored"),
        (requests, " timeout"),
        (codes, " 3xx"),
        (codes, " 4xx"),
        (codes, " 5xx"),
    ] {
        for _ in 0..counted(line, what)? {
            failures.note(&io::Error::other(format!("h2load counts it as{what}")));
        }
    }
    Some(Outcome { per_second: rate.parse().ok()?, failures })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "finished in 1.00s, 91234.50 req/s, 3.1MB/s\n\
        requests: 91234 total, 91874 started, 91234 done, 91231 succeeded, 3 failed, 1 errored, 0 timeout\n\
        status codes: 91231 2xx, 0 3xx, 2 4xx, 0 5xx\n";

    #[test]
    fn what_it_says_is_understood() {
        let outcome = outcome(SAID).expect("its words");
        assert_eq!((outcome.per_second, outcome.failures.count), (91234.5, 6));
        assert!(outcome.failures.told().is_some_and(|told| told.contains("failed")));
    }

    #[test]
    fn what_it_says_otherwise_is_none() {
        assert!(outcome("").is_none());
        assert!(outcome(&SAID.replace(" req/s", " requests/s")).is_none());
        assert!(outcome(&SAID.replace("5xx", "fives")).is_none());
    }
}
