//! What became of requests.
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// There was no connection to be had.
    Connect,
    /// The connection was closed after the request was sent, and before its answer was whole.
    Closed,
    /// As `Closed`, by a reset.
    Reset,
    /// It was not answered in time.
    TimedOut,
    /// It was answered with another status than 200.
    Status,
    /// What came is no HTTP, or something else broke.
    Other,
}

/// What became of all requests of some clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that were asked again, because the server had said that it did not take them, or because nothing of
    /// them had been sent: no failure.
    pub asked_again: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Requests that failed.
    pub failures: BTreeMap<Failure, u64>,
    /// How one of them failed, in the words of who noticed.
    pub example: Option<String>,
    /// The longest that an answer took.
    pub slowest: Duration,
}

impl Tally {
    /// How many failed.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    pub(crate) fn answer(&mut self, took: Duration) {
        self.answered += 1;
        self.slowest = self.slowest.max(took);
    }

    pub(crate) fn fail(&mut self, failure: Failure, words: String) {
        *self.failures.entry(failure).or_default() += 1;
        self.example.get_or_insert(words);
    }

    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.asked_again += other.asked_again;
        self.connections += other.connections;
        for (failure, count) in other.failures {
            *self.failures.entry(failure).or_default() += count;
        }
        self.example = self.example.take().or(other.example);
        self.slowest = self.slowest.max(other.slowest);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} answered on {} connections, {} asked again, {} failed, the slowest took {:?}",
            self.answered,
            self.connections,
            self.asked_again,
            self.failed(),
            self.slowest
        )?;
        for (failure, count) in &self.failures {
            write!(f, "; {count} {failure}")?;
        }
        self.example.iter().try_for_each(|words| write!(f, "; one of them: {words}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::Connect => "could not connect",
            Failure::Closed => "closed before the answer",
            Failure::Reset => "reset before the answer",
            Failure::TimedOut => "not answered in time",
            Failure::Status => "not answered with 200",
            Failure::Other => "otherwise",
        })
    }
}
