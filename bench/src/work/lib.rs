//! What programs under measurement have in common.
//!
//! Those of the suite `messages` measure themselves: what they are told, when they count, what they say. The suite
//! starts them, reads what they say and adds what their processes cost. Those of the suite `connections` answer
//! alike ([`Hello`]), and those of the suite `http` are one application ([`site`]).
#![forbid(unsafe_code)]

mod hello;
mod job;
mod prefork;
pub mod site;
mod trips;
mod window;

use std::io::{self, Read};
use std::process::{self, Command};
use std::{env, fmt, thread};

pub use hello::Hello;
pub use job::{Job, Shape, Text, Unclear};
pub use prefork::prefork;
use serde::{Deserialize, Serialize};
pub use trips::Trips;
pub use window::{Progress, Window};

/// Said on a line of its own when warming up is over: from here on the processes' work counts.
pub const MEASURING: &str = "measuring";
/// Tells a process that it is the second one, and where the first waits for it.
const CONNECT: &str = "BENCH_CONNECT";

/// What a program has found: one line of JSON, and its last.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Messages, round trips or deliveries per second.
    pub per_second: f64,
    /// The median round trip, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<f64>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// Where the first process waits; `None` in the first process.
pub fn connect_to() -> Option<String> {
    env::var(CONNECT).ok()
}

/// The second process: this program, told the same.
///
/// # Errors
/// This program's file is not known.
pub fn second_process(connect_to: &str) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1)).env(CONNECT, connect_to);
    Ok(command)
}

/// Says what was found, then waits until whoever started this program has seen what its processes cost.
pub fn finish(outcome: Outcome) {
    println!("{outcome}");
    wait_for_the_end();
}

/// Returns when whoever started this process has ended, however: they hold the other end of its standard input.
fn wait_for_the_end() {
    let _ = io::stdin().read_to_end(&mut Vec::new());
}

/// Ends this process when whoever started it has ended.
pub fn end_with_whoever_started_this() {
    thread::spawn(|| {
        wait_for_the_end();
        process::exit(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_one_line_of_json() {
        for (outcome, line) in [
            (Outcome { per_second: 2.5, p50_us: None }, r#"{"per_second":2.5}"#),
            (Outcome { per_second: 2.0, p50_us: Some(31.25) }, r#"{"per_second":2.0,"p50_us":31.25}"#),
        ] {
            assert_eq!(outcome.to_string(), line);
            assert_eq!(serde_json::from_str::<Outcome>(line).expect("an outcome"), outcome);
        }
    }
}
