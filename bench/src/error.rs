//! What can go wrong, as sentences.
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::{args, suites};

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("which suite? There are: {}", suites::names())]
    NoSuite,
    #[error("there is no suite `{0}`; there are: {suites}", suites = suites::names())]
    UnknownSuite(String),
    #[error("one suite at a time: `{0}` is a second one")]
    SecondSuite(String),
    #[error("there is no option `{0}`; see --help")]
    UnknownOption(String),
    #[error("--rounds wants a whole number, at least {least}; `{0}` is none", least = args::FEWEST_ROUNDS)]
    Rounds(String),
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
    #[error("cannot run cargo to build what is measured: {0}")]
    Cargo(io::Error),
    #[error("cargo could not build {what} ({status}); what it says is above")]
    Build { what: String, status: ExitStatus },
    #[error("cargo has built no program `{0}`")]
    NotBuilt(String),
    #[error("{subject} did not start: {source}{said}")]
    Start { subject: &'static str, source: io::Error, said: String },
    #[error("{subject} did not stop as it should: {why}{said}")]
    Stop { subject: &'static str, why: String, said: String },
    #[error("{subject}: no answer from {whom} within {within:?}; last: {last}{said}")]
    NoAnswer { subject: &'static str, whom: String, within: Duration, last: String, said: String },
    #[error("{subject}: cannot kill worker {pid}: {source}")]
    Kill { subject: &'static str, pid: u32, source: nix::Error },
    #[error("{subject}, told `{args}`: {why}{said}")]
    Trial { subject: &'static str, args: String, why: io::Error, said: String },
    #[error("--only wants a part of a case's name")]
    NoCase,
    #[error("--subjects wants names, with commas between them")]
    NoSubject,
    #[error("the suite `{suite}` has no case with `{part}` in its name; there are:\n  {cases}")]
    UnknownCase { suite: &'static str, part: String, cases: String },
    #[error("there is no subject `{0}` in what is measured; there are: {1}")]
    UnknownSubject(String, String),
    #[error("nobody is left to be measured: {0}")]
    NobodyLeft(String),
    #[error("{subject}, {case}: {source}{said}")]
    Load { subject: &'static str, case: &'static str, source: io::Error, said: String },
    #[error("{subject} was not reloaded: {source}{said}")]
    Reload { subject: &'static str, source: io::Error, said: String },
    #[error("--plot wants a folder")]
    NoFolder,
    #[error("the suite `{0}` has no plot")]
    NoPlot(&'static str),
    #[error("cannot write {path}: {source}", path = path.display())]
    Plot { path: PathBuf, source: io::Error },
    #[error("{subject}: cannot read the memory of process {pid}: {source}")]
    Memory { subject: &'static str, pid: u32, source: io::Error },
    #[error("{subject}: cannot read the processor time of its processes: {source}")]
    Cpu { subject: &'static str, source: nix::Error },
}
