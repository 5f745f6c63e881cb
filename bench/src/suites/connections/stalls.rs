//! What other requests feel while one worker does nothing.
//!
//! They begin at a steady pace, each on a new connection, whatever has come of those before: a slow answer holds up
//! nobody, and every one that is slow is seen.
use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::session::{Answer, Figure, Session};
use crate::exchange::Request;
use crate::stats::{median, percentile};

/// From one request to the next.
const PACE: Duration = Duration::from_millis(2);
/// How long a worker does nothing, and the pause until it is another's turn.
const STALL: Duration = Duration::from_millis(Request::BLOCKED_MS);
const PAUSE: Duration = Duration::from_millis(100);
/// Stalls in each round.
const STALLS: u32 = 5;
const STALLS_QUICK: u32 = 1;
/// How long a stop may take to reach all threads of a worker.
const STOPPING: Duration = Duration::from_secs(1);

/// One loop after the other is blocked by a request of its own.
pub(super) fn blocked(session: &mut Session) -> io::Result<Vec<Figure>> {
    let mut others = Others::new();
    for _ in 0..stalls(session) {
        session.swarm.ask(Request::Block);
        // For as long as the loop is blocked, and a little longer.
        others.ask_until(session, Instant::now() + STALL + PAUSE)?;
    }
    others.hear_out(session)?;
    Ok(latencies(&others.answers))
}

/// One worker after the other is stopped by SIGSTOP. What it had accepted before it was stopped nobody else can
/// answer: that is counted by itself.
pub(super) fn stopped(session: &mut Session) -> io::Result<Vec<Figure>> {
    let workers = session.running.workers();
    if workers.len() != session.workers {
        return Err(io::Error::other(format!("its workers are not {}, but {workers:?}", session.workers)));
    }
    let (mut others, mut stops) = (Others::new(), Vec::new());
    for nth in 0..stalls(session) as usize {
        let stopped = Stopped::stop(workers[nth % workers.len()])?;
        stops.push(Stop { pid: stopped.0, at: Instant::now() });
        others.ask_until(session, Instant::now() + STALL)?;
        drop(stopped);
        others.ask_until(session, Instant::now() + PAUSE)?;
    }
    others.hear_out(session)?;
    let (begun, free): (Vec<Answer>, Vec<Answer>) =
        others.answers.iter().partition(|answer| stops.iter().any(|stop| stop.had(answer)));
    let mut figures = latencies(&free);
    figures.push(Figure { what: "begun", unit: "requests", value: begun.len() as f64 });
    Ok(figures)
}

fn stalls(session: &Session) -> u32 {
    if session.quick { STALLS_QUICK } else { STALLS }
}

/// Requests at a steady pace.
struct Others {
    next: Instant,
    answers: Vec<Answer>,
}

impl Others {
    fn new() -> Self {
        Self { next: Instant::now(), answers: Vec::new() }
    }

    fn ask_until(&mut self, session: &mut Session, end: Instant) -> io::Result<()> {
        loop {
            while self.next <= Instant::now() {
                session.swarm.ask(Request::Hello);
                self.next += PACE;
            }
            let ended = session.swarm.hear(self.next.min(end))?;
            self.take(session.failures.sort_out(ended));
            if Instant::now() >= end {
                return Ok(());
            }
        }
    }

    fn hear_out(&mut self, session: &mut Session) -> io::Result<()> {
        let ended = session.swarm.hear_out()?;
        self.take(session.failures.sort_out(ended));
        Ok(())
    }

    fn take(&mut self, answers: Vec<Answer>) {
        self.answers.extend(answers.into_iter().filter(|answer| answer.request == Request::Hello));
    }
}

/// Empty where nobody has answered: that is told as failures.
fn latencies(answers: &[Answer]) -> Vec<Figure> {
    let took: Vec<f64> =
        answers.iter().map(|answer| (answer.at - answer.begun).as_secs_f64() * 1e3).collect();
    if took.is_empty() {
        return Vec::new();
    }
    let max = took.iter().copied().fold(0.0, f64::max);
    [("p50", median(&took)), ("p99", percentile(&took, 99)), ("max", max)]
        .map(|(what, value)| Figure { what, unit: "ms", value })
        .to_vec()
}

/// A process that is stopped until this is dropped.
struct Stopped(u32);

impl Stopped {
    /// Waits until all its threads stand still: what is begun after that it cannot have accepted.
    fn stop(pid: u32) -> io::Result<Self> {
        kill(Pid::from_raw(pid as i32), Signal::SIGSTOP)
            .map_err(|err| io::Error::other(format!("cannot stop worker {pid}: {err}")))?;
        let stopped = Self(pid);
        let deadline = Instant::now() + STOPPING;
        while !stands_still(pid)? {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("worker {pid} does not stop within {STOPPING:?}")));
            }
            thread::yield_now();
        }
        Ok(stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // One that has ended meanwhile needs none.
        let _ = kill(Pid::from_raw(self.0 as i32), Signal::SIGCONT);
    }
}

fn stands_still(pid: u32) -> io::Result<bool> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end before it is looked at.
        let Ok(stat) = fs::read_to_string(task?.path().join("stat")) else { continue };
        if state(&stat) != Some('T') {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The state in `PID (NAME) STATE ...`; a name may have parentheses in it (proc_pid_stat(5)).
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

/// That a worker was stopped.
#[derive(Debug, Clone, Copy)]
struct Stop {
    pid: u32,
    at: Instant,
}

impl Stop {
    /// Whether the worker had accepted it before. What began later only waited for that worker.
    fn had(&self, answer: &Answer) -> bool {
        answer.pid == self.pid && answer.begun < self.at && answer.at > self.at
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn only_what_began_before_a_stop_and_was_answered_after_it_was_begun() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let stop = Stop { pid: 7, at: at(100) };
        let answer = |pid, begun, end| Answer { request: Request::Hello, pid, begun: at(begun), at: at(end) };
        assert!(stop.had(&answer(7, 99, 600)));
        assert!(!stop.had(&answer(7, 101, 600)), "it waited for a stopped worker");
        assert!(!stop.had(&answer(7, 90, 95)), "it was answered before");
        assert!(!stop.had(&answer(8, 99, 600)), "another worker was slow");
    }

    #[test]
    fn a_state_stands_behind_the_last_parenthesis() {
        assert_eq!(state("12 (a) b) T 1 2"), Some('T'));
        assert_eq!(state("12 (sleep) S 1 2"), Some('S'));
        assert_eq!(state("12"), None);
    }

    #[test]
    fn a_stopped_process_goes_on_when_it_is_let_go() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat");
        let stopped = Stopped::stop(child.id()).expect("it is ours");
        assert!(stands_still(child.id()).expect("it is there"));
        drop(stopped);
        drop(child.stdin.take());
        assert!(child.wait().expect("cat ends with its input").success());
    }

    #[test]
    fn of_no_answers_there_are_no_figures() {
        assert!(latencies(&[]).is_empty());
    }
}
