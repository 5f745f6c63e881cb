//! The suites: a file each, and one line here.
mod connections;
mod http;
mod idle;
mod memory;
mod messages;
mod reload;
mod restart;
mod tls;

use std::fmt;

use crate::error::Error;
use crate::filter::Filter;
use crate::installed::Installed;
use crate::plot::Plot;
use crate::programs::Programs;
use crate::ratio::Ratio;
use crate::report::Skipped;
use crate::rounds::Entry;
use crate::subject::{Program, Subject};

/// All there are.
pub(crate) const SUITES: &[&Suite] = &[
    &restart::SUITE,
    &memory::SUITE,
    &messages::SUITE,
    &connections::SUITE,
    &http::SUITE,
    &tls::SUITE,
    &reload::SUITE,
    &idle::SUITE,
];

/// What a suite needs and how it begins; the rest is its entries' work.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    /// One line for `--help`.
    pub(crate) about: &'static str,
    /// Printed below the table: what exactly the figures are.
    pub(crate) explains: &'static str,
    /// Programs of the package `cluster-examples` that it measures.
    pub(crate) examples: &'static [&'static str],
    /// Programs of this package (`src/bin/`) that it measures.
    pub(crate) own: &'static [&'static str],
    /// Programs under test (package `cluster-tests`) that it measures.
    pub(crate) fixtures: &'static [&'static str],
    /// All that it may measure: what `--only` chooses from. The name of each row has one of these in it.
    pub(crate) cases: fn() -> Vec<String>,
    /// What `--plot` draws, where figures of this suite make a picture.
    pub(crate) plot: Option<&'static Plot>,
    /// Whose figures are told by whose, too.
    pub(crate) ratios: &'static [Ratio],
    /// Lines up who takes part.
    pub(crate) line_up: fn(&Setting) -> Result<Lineup, Error>,
}

/// What a suite finds when it begins.
pub(crate) struct Setting<'a> {
    pub(crate) programs: Programs,
    pub(crate) installed: Installed,
    pub(crate) quick: bool,
    pub(crate) filter: &'a Filter,
}

/// Who takes part, and who cannot.
#[derive(Default)]
pub(crate) struct Lineup {
    pub(crate) entries: Vec<Entry>,
    pub(crate) skipped: Vec<Skipped>,
}

impl Setting<'_> {
    /// A program of ours.
    pub(crate) fn ours(&self, subject: &'static str, program: &str) -> Result<Subject, Error> {
        Ok(Subject::new(subject, Program::Cluster(self.programs.path(program)?)))
    }

    /// A program of this package that is no cluster of ours.
    pub(crate) fn peer(&self, subject: &'static str, program: &str) -> Result<Subject, Error> {
        Ok(Subject::new(subject, Program::Peer(self.programs.path(program)?)))
    }

    /// A script of `peers/` that Node runs.
    pub(crate) fn node(&self, subject: &'static str, script: &'static str) -> Result<Subject, Skipped> {
        let runner = self.installed.node.clone();
        let runner = runner.ok_or(Skipped { subject, why: "node is not installed" })?;
        Ok(Subject::new(subject, Program::Script { runner, script }))
    }

    /// A script of `peers/` that Bun runs.
    pub(crate) fn bun(&self, subject: &'static str, script: &'static str) -> Result<Subject, Skipped> {
        let why = "bun is not installed; `npm install --prefix bench/peers bun` does it";
        let runner = self.installed.bun.clone().ok_or(Skipped { subject, why })?;
        Ok(Subject::new(subject, Program::Script { runner, script }))
    }

    /// A script of `peers/` in PM2's cluster mode.
    pub(crate) fn pm2(&self, subject: &'static str, script: &'static str) -> Result<Subject, Skipped> {
        let why = "pm2 is not installed; `npm install --prefix bench/peers pm2` does it";
        let pm2 = self.installed.pm2.clone().ok_or(Skipped { subject, why })?;
        Ok(Subject::new(subject, Program::Pm2 { pm2, script }))
    }

    pub(crate) fn nginx(&self, subject: &'static str) -> Result<Subject, Skipped> {
        let program = self.installed.nginx.clone();
        let program = program.ok_or(Skipped { subject, why: "nginx is not installed" })?;
        Ok(Subject::new(subject, Program::Nginx(program)))
    }
}

impl Lineup {
    /// Adds an entry, or names who is missing.
    pub(crate) fn add(&mut self, subject: Result<Subject, Skipped>, entry: impl FnOnce(Subject) -> Entry) {
        match subject {
            Ok(subject) => self.entries.push(entry(subject)),
            Err(skipped) => self.skipped.push(skipped),
        }
    }
}

/// The names of all suites, for whoever names none of them.
pub(crate) fn names() -> String {
    SUITES.iter().map(|suite| suite.name).collect::<Vec<_>>().join(", ")
}

/// A suite is known by its name.
impl PartialEq for Suite {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Suite({})", self.name)
    }
}
