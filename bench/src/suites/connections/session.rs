//! A running subject and the clients that ask it.
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::exchange::Request;
use crate::failures::Failures;
use crate::rounds::Sample;
use crate::status::{Counters, StatusSocket};
use crate::subject::Running;
use crate::swarm::{Ended, Swarm};

/// After this long without a request all is idle.
const IDLE: Duration = Duration::from_millis(100);
/// Requests for each worker before anything counts.
const WARM_UP: usize = 8;

/// What one round of one case has.
pub(super) struct Session<'a> {
    pub(super) running: &'a Running,
    pub(super) workers: usize,
    pub(super) quick: bool,
    pub(super) swarm: Swarm,
    pub(super) failures: Failures,
    /// Where the subject tells its status, if it was asked to.
    status: Option<StatusSocket>,
}

impl<'a> Session<'a> {
    /// Asks so often that whatever is done once is done, and leaves the subject idle.
    pub(super) fn begin(
        running: &'a Running,
        workers: usize,
        quick: bool,
        status: Option<StatusSocket>,
    ) -> io::Result<Self> {
        let (swarm, failures) = (Swarm::new(running.addr())?, Failures::default());
        let mut session = Self { running, workers, quick, swarm, failures, status };
        for _ in 0..WARM_UP {
            for _ in 0..workers {
                session.swarm.ask(Request::Hello);
            }
            session.hear_out(|_| {})?;
        }
        session.idle();
        Ok(session)
    }

    pub(super) fn idle(&self) {
        thread::sleep(IDLE);
    }

    /// Waits for all answers, and takes those that are some.
    pub(super) fn hear_out(&mut self, take: impl FnMut(&Answer)) -> io::Result<()> {
        let ended = self.swarm.hear_out()?;
        self.failures.sort_out(ended).iter().for_each(take);
        Ok(())
    }

    /// What the subject has counted itself.
    ///
    /// # Panics
    /// Where it was not asked to tell.
    pub(super) fn counters(&self) -> io::Result<Counters> {
        self.status.as_ref().expect("the case says that it asks for counters").settled_counters()
    }
}

/// An answer that is one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Answer {
    pub(super) request: Request,
    pub(super) pid: u32,
    pub(super) begun: Instant,
    pub(super) at: Instant,
}

impl Failures {
    /// Keeps the answers, and counts what is none.
    pub(super) fn sort_out(&mut self, ended: Vec<Ended>) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(ended.len());
        for Ended { request, begun, at, outcome } in ended {
            match outcome {
                Ok(pid) => answers.push(Answer { request, pid, begun, at }),
                Err(err) => self.note(&err),
            }
        }
        answers
    }
}

/// A number that a case has found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figure {
    /// Follows the name of the case; empty for its main figure.
    pub(super) what: &'static str,
    pub(super) unit: &'static str,
    pub(super) value: f64,
}

impl Figure {
    pub(super) fn sample(self, case: &str) -> Sample {
        let Self { what, unit, value } = self;
        let case = match what {
            "" => case.to_owned(),
            COST => format!("{COST}, {case}"),
            what => format!("{case}, {what}"),
        };
        Sample { case, unit, value }
    }
}

/// Stands before the name of the case, as in the suite `messages`.
pub(super) const COST: &str = "CPU";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_and_the_first_is_told() {
        let now = Instant::now();
        let ended = |outcome| Ended { request: Request::Hello, begun: now, at: now, outcome };
        let mut failures = Failures::default();
        assert_eq!(failures.told(), None);
        let answers = failures.sort_out(vec![
            ended(Err(io::Error::other("refused"))),
            ended(Ok(7)),
            ended(Err(io::Error::other("reset"))),
        ]);
        assert_eq!(answers, [Answer { request: Request::Hello, pid: 7, begun: now, at: now }]);
        assert_eq!(failures.told().as_deref(), Some("2 failures, the first: refused"));
    }

    #[test]
    fn rows_have_the_name_of_their_case_in_them() {
        for (what, name) in [("", "burst"), ("most", "burst, most"), (COST, "CPU, burst")] {
            assert_eq!(Figure { what, unit: "", value: 1.0 }.sample("burst").case, name);
        }
    }
}
