//! A trial: a program that measures itself. It says `measuring`, then what it has found (see `bench_work`);
//! in between, what its processes cost is measured here.
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use bench_work::{MEASURING, Outcome};
use cluster_core::testing::Process;
use nix::errno::Errno;

use crate::cpu;
use crate::error::Error;
use crate::footprint;
use crate::log::Log;
use crate::peer::Group;
use crate::subject::{self, Program, Subject};

/// How long it may take for each thing it says.
const PATIENCE: Duration = Duration::from_secs(30);

/// What it found, and what that cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Found {
    pub(crate) outcome: Outcome,
    /// Processor time of all processes for each message, in microseconds; `None` where some of them have ended
    /// meanwhile, as they do in a case that replaces them.
    pub(crate) cpu_us: Option<f64>,
}

enum Host {
    Cluster(Process),
    Peer(Group),
}

/// Starts the subject with `args`, hears it out and ends it.
pub(crate) fn run(subject: &Subject, args: &[String]) -> Result<Found, Error> {
    let log =
        Log::new().map_err(|source| Error::Start { subject: subject.name, source, said: String::new() })?;
    let failed = |why: io::Error| Error::Trial {
        subject: subject.name,
        args: args.join(" "),
        why,
        said: log.last_lines(),
    };
    let (host, lines) = start(subject, args, &log).map_err(failed)?;
    let found = hear(&host, &lines).map_err(failed)?;
    match host {
        Host::Cluster(process) => subject::stop_cluster(subject.name, process, &log)?,
        // Killed: nothing is asked of how it ends.
        Host::Peer(group) => drop(group),
    }
    Ok(found)
}

fn start(subject: &Subject, args: &[String], log: &Log) -> io::Result<(Host, Receiver<String>)> {
    let (said, stdout) = io::pipe()?;
    let mut command = subject.command();
    command.args(args).stderr(log.stdio()?);
    let host = launch(subject, command, stdout)?;
    Ok((host, lines(said)))
}

/// Consumes the command, and the end for writing with it: what is said ends with the last process.
fn launch(subject: &Subject, mut command: Command, stdout: PipeWriter) -> io::Result<Host> {
    command.stdout(stdout);
    match &subject.program {
        Program::Cluster(_) => Process::launch(command).map(Host::Cluster),
        Program::Script { .. } | Program::Peer(_) | Program::Nginx(_) | Program::Pm2 { .. } => {
            command.stdin(Stdio::piped());
            Group::start(command).map(Host::Peer)
        }
    }
}

/// What is said, as it is said.
fn lines(said: PipeReader) -> Receiver<String> {
    let (heard, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(said).lines().map_while(Result::ok) {
            let _ = heard.send(line);
        }
    });
    lines
}

fn hear(host: &Host, lines: &Receiver<String>) -> io::Result<Found> {
    let line = next(lines)?;
    if line != MEASURING {
        return Err(io::Error::other(format!("it said `{line}`, not `{MEASURING}`")));
    }
    let pids = match host {
        Host::Cluster(process) => process.processes(),
        Host::Peer(group) => footprint::family(group.id()),
    };
    let (start, before) = (Instant::now(), cpu::used_by(&pids)?);
    let line = next(lines)?;
    let (elapsed, after) = (start.elapsed(), cpu::used_by(&pids));
    let outcome: Outcome = serde_json::from_str(&line)?;
    let cpu_us = match after {
        Ok(after) => Some(per_message(after.saturating_sub(before), elapsed, outcome.per_second)),
        // The clock of a process that is gone (clock_gettime(2)).
        Err(Errno::ESRCH | Errno::EINVAL) => None,
        Err(err) => return Err(err.into()),
    };
    Ok(Found { outcome, cpu_us })
}

fn next(lines: &Receiver<String>) -> io::Result<String> {
    lines.recv_timeout(PATIENCE).map_err(|err| match err {
        mpsc::RecvTimeoutError::Timeout => {
            io::Error::new(io::ErrorKind::TimedOut, format!("it says nothing for {PATIENCE:?}"))
        }
        mpsc::RecvTimeoutError::Disconnected => io::Error::other("it ended before it had measured"),
    })
}

/// By rates, because the program's window and that of the processor time are not the same to the microsecond.
fn per_message(used: Duration, elapsed: Duration, per_second: f64) -> f64 {
    used.as_secs_f64() / elapsed.as_secs_f64() / per_second * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that is a shell, told a script.
    fn shell(script: &str) -> Result<Found, Error> {
        let subject = Subject::new("shell", Program::Peer("/bin/sh".into()));
        run(&subject, &["-c".to_owned(), script.to_owned()])
    }

    #[test]
    fn what_a_program_finds_is_heard_and_what_it_costs_is_added() {
        let busy = "echo measuring; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
        let found =
            shell(&format!("{busy}; echo '{{\"per_second\":1000}}'; cat")).expect("it says both lines");
        assert_eq!(found.outcome, Outcome { per_second: 1000.0, p50_us: None });
        // One busy thread: at most a second per second, so 1,000 us for each message.
        assert!(found.cpu_us.is_some_and(|cost| cost > 0.0 && cost < 1100.0), "{found:?}");
    }

    #[test]
    fn a_program_that_fails_is_named_with_what_it_was_told_and_said() {
        let err = shell("echo measuring; echo no room >&2; exit 1").expect_err("it ends").to_string();
        for part in ["shell", "exit 1`", "ended before it had measured", "it said:\nno room"] {
            assert!(err.contains(part), "{err}");
        }
        let err = shell("echo hello; cat").expect_err("it says another line").to_string();
        assert!(err.contains("it said `hello`"), "{err}");
    }

    #[test]
    fn two_processors_for_half_a_second_are_one_second() {
        let half = Duration::from_millis(500);
        assert_eq!(per_message(2 * half, half, 1000.0), 2000.0);
    }
}
