//! What a run has found, whichever way it is printed.
use std::fmt;

use serde::Serialize;

use crate::machine::Machine;

/// All of it. The fields are those of the JSON object.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) suite: &'static str,
    pub(crate) machine: Machine,
    /// How many rounds were made.
    pub(crate) rounds: usize,
    pub(crate) rows: Vec<Row>,
    pub(crate) skipped: Vec<Skipped>,
}

/// One case of one subject, over all rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) subject: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// A subject that could not take part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Skipped {
    pub(crate) subject: &'static str,
    pub(crate) why: &'static str,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped: {} ({})", self.subject, self.why)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A report with one row and one subject skipped.
    pub(crate) fn example() -> Report {
        let row = Row {
            case: "kill to answer".into(),
            subject: "cluster-core",
            unit: "ms",
            median: 1.5,
            min: 1.25,
            max: 12.0,
        };
        let machine = Machine {
            cores: 2,
            cpu: "A processor".into(),
            kernel: "6.1.0".into(),
            rustc: "rustc 1.88.0".into(),
            node: None,
            bun: None,
            nginx: None,
            pm2: None,
            h2load: None,
        };
        let skipped = Skipped { subject: "node", why: "not installed" };
        Report { suite: "restart", machine, rounds: 7, rows: vec![row], skipped: vec![skipped] }
    }
}
