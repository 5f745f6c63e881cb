//! What a program is told to do, as its arguments: `SHAPE BYTES WARM_UP WINDOW`, times in milliseconds.
use std::time::Duration;
use std::{env, fmt};

use serde::{Deserialize, Serialize};

/// Below this, looking at the clock for each message would be a part of what is measured.
const SMALL: usize = 4096;
/// So many small messages are counted together.
const STRIDE: u64 = 64;

/// Who sends to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A worker sends to the primary's side as fast as it is let; the receiver counts.
    OneWay,
    /// The same, from a worker to another.
    OneWayBetweenWorkers,
    /// A message and its echo, one at a time.
    RoundTrip,
    /// The same, between two workers.
    RoundTripBetweenWorkers,
    /// The primary's side sends to eight workers; each counts.
    Broadcast,
    /// A worker that floods the primary's side is told to drain, again and again.
    Drain,
}

impl Shape {
    /// As it is written in arguments.
    pub fn word(self) -> &'static str {
        match self {
            Self::OneWay => "one-way",
            Self::OneWayBetweenWorkers => "one-way-between-workers",
            Self::RoundTrip => "round-trip",
            Self::RoundTripBetweenWorkers => "round-trip-between-workers",
            Self::Broadcast => "broadcast",
            Self::Drain => "drain",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        let all = [
            Self::OneWay,
            Self::OneWayBetweenWorkers,
            Self::RoundTrip,
            Self::RoundTripBetweenWorkers,
            Self::Broadcast,
            Self::Drain,
        ];
        all.into_iter().find(|shape| shape.word() == word)
    }
}

/// What to measure, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// Who sends to whom.
    pub shape: Shape,
    /// The length of a message's text.
    pub bytes: usize,
    /// For so long after the first message nothing is counted.
    pub warm_up: Duration,
    /// For so long messages are counted.
    pub window: Duration,
}

/// Arguments that are no job.
#[derive(Debug, thiserror::Error)]
#[error("expected SHAPE BYTES WARM_UP_MS WINDOW_MS, found `{0}`")]
pub struct Unclear(String);

impl Job {
    /// What this program was told.
    ///
    /// # Errors
    /// Its arguments are no job, or name a shape that it does not know.
    pub fn from_args() -> Result<Self, Unclear> {
        let args: Vec<String> = env::args().skip(1).collect();
        Self::parse(&args).ok_or_else(|| Unclear(args.join(" ")))
    }

    /// Reads what `args` writes.
    pub fn parse(args: &[String]) -> Option<Self> {
        let [shape, bytes, warm_up, window] = args else { return None };
        let milliseconds = |text: &str| text.parse().ok().map(Duration::from_millis);
        Some(Self {
            shape: Shape::from_word(shape)?,
            bytes: bytes.parse().ok()?,
            warm_up: milliseconds(warm_up)?,
            window: milliseconds(window)?,
        })
    }

    /// The arguments that say this.
    pub fn args(&self) -> [String; 4] {
        let milliseconds = |time: Duration| time.as_millis().to_string();
        [
            self.shape.word().to_owned(),
            self.bytes.to_string(),
            milliseconds(self.warm_up),
            milliseconds(self.window),
        ]
    }

    /// How many messages are counted at one look at the clock.
    pub fn stride(&self) -> u64 {
        if self.bytes < SMALL { STRIDE } else { 1 }
    }
}

/// What is sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Text {
    /// As long as the job says.
    pub text: String,
}

impl Text {
    /// Of so many bytes.
    pub fn of(bytes: usize) -> Self {
        Self { text: "x".repeat(bytes) }
    }

    /// # Panics
    /// Where it has another length: a figure of messages that did not arrive whole is none.
    pub fn expect(&self, bytes: usize) {
        assert_eq!(self.text.len(), bytes, "a message arrived with another length");
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.args().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(line: &str) -> Option<Job> {
        Job::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_say_what_they_were_made_of() {
        for shape in ["one-way", "one-way-between-workers", "round-trip", "round-trip-between-workers"] {
            let line = format!("{shape} 65536 200 1000");
            assert_eq!(job(&line).expect("a job").to_string(), line);
        }
        let told = job("broadcast 64 20 80").expect("a job");
        assert_eq!((told.shape, told.bytes), (Shape::Broadcast, 64));
        assert_eq!((told.warm_up, told.window), (Duration::from_millis(20), Duration::from_millis(80)));
    }

    #[test]
    fn what_is_no_job_is_refused() {
        for line in ["", "one-way 64 200", "sideways 64 200 1000", "one-way -1 200 1000", "one-way 64 1 1 1"]
        {
            assert_eq!(job(line), None, "`{line}`");
        }
    }

    #[test]
    fn each_large_message_is_counted_by_itself() {
        assert_eq!(job("one-way 1024 0 1").map(|job| job.stride()), Some(STRIDE));
        assert_eq!(job("one-way 65536 0 1").map(|job| job.stride()), Some(1));
    }

    #[test]
    #[should_panic(expected = "another length")]
    fn a_text_that_was_cut_is_noticed() {
        Text::of(64).expect(65);
    }
}
