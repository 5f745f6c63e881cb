//! The command line.
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::filter::Filter;
use crate::suites::{SUITES, Suite};

/// Fewer rounds make no median worth printing.
pub(crate) const FEWEST_ROUNDS: usize = 7;
const ROUNDS: usize = 11;
/// What `--quick` may spend on rounds, so that it ends within 60 s.
const QUICK_TIME: Duration = Duration::from_secs(50);

/// What the caller wants.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Request {
    Help,
    Run(Options),
}

/// How to measure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    pub(crate) suite: &'static Suite,
    pub(crate) json: bool,
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    /// The folder that a plot is written to; without it, nothing is written anywhere.
    pub(crate) plot: Option<PathBuf>,
    /// What of the suite is measured.
    pub(crate) filter: Filter,
}

impl Options {
    /// How long rounds may take together, where that is limited.
    pub(crate) fn time(&self) -> Option<Duration> {
        self.quick.then_some(QUICK_TIME)
    }
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Request, Error> {
    let mut args = args.into_iter();
    let (mut suite, mut json, mut quick, mut rounds, mut plot) = (None, false, false, None, None);
    let mut filter = Filter::default();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--help" | "-h" => return Ok(Request::Help),
            "--json" => json = true,
            "--quick" => quick = true,
            "--rounds" => rounds = Some(read_rounds(args.next())?),
            "--plot" => plot = Some(read_folder(args.next())?),
            "--only" => filter.cases.push(read_name(args.next()).ok_or(Error::NoCase)?),
            "--subjects" => {
                let names = read_name(args.next()).ok_or(Error::NoSubject)?;
                filter.subjects.extend(names.split(',').map(|name| name.trim().to_owned()));
            }
            option if option.starts_with('-') => return Err(Error::UnknownOption(arg)),
            name => {
                let found = SUITES.iter().find(|suite| suite.name == name);
                let found = found.ok_or_else(|| Error::UnknownSuite(arg.clone()))?;
                if suite.replace(*found).is_some() {
                    return Err(Error::SecondSuite(arg));
                }
            }
        }
    }
    let rounds = rounds.unwrap_or(if quick { FEWEST_ROUNDS } else { ROUNDS });
    let suite: &Suite = suite.ok_or(Error::NoSuite)?;
    // Said now, not after minutes of measuring.
    if plot.is_some() && suite.plot.is_none() {
        return Err(Error::NoPlot(suite.name));
    }
    filter.check(suite)?;
    Ok(Request::Run(Options { suite, json, quick, rounds, plot, filter }))
}

fn read_rounds(value: Option<String>) -> Result<usize, Error> {
    let value = value.unwrap_or_default();
    value.parse().ok().filter(|rounds| *rounds >= FEWEST_ROUNDS).ok_or(Error::Rounds(value))
}

fn read_folder(value: Option<String>) -> Result<PathBuf, Error> {
    read_name(value).map(PathBuf::from).ok_or(Error::NoFolder)
}

/// What follows an option; another option does not.
fn read_name(value: Option<String>) -> Option<String> {
    value.filter(|value| !value.is_empty() && !value.starts_with('-'))
}

/// What `--help` prints.
pub(crate) fn help() -> String {
    let mut text = format!(
        "cargo run --release -p bench -- SUITE [--json] [--quick] [--rounds N] [--plot FOLDER]\n\
         \x20                                     [--only CASE].. [--subjects A,B]\n\n\
         --json          one object instead of a table\n\
         --quick         at most {FEWEST_ROUNDS} rounds with less in each; ends within 60 s, building aside\n\
         --rounds N      rounds of all subjects, at least {FEWEST_ROUNDS} (default {ROUNDS})\n\
         --plot FOLDER   draws FOLDER/SUITE.svg too\n\
         --only CASE     only cases with this in their names; may be said several times\n\
         --subjects A,B  only these subjects\n\nSuites:\n"
    );
    for suite in SUITES {
        text.push_str(&format!("  {:<12} {}\n", suite.name, suite.about));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Request, Error> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    fn options(line: &str) -> Options {
        match read(line) {
            Ok(Request::Run(options)) => options,
            other => panic!("`{line}` gave {other:?}"),
        }
    }

    #[test]
    fn options_and_suite_come_in_any_order() {
        let expected = options("restart --json --rounds 9");
        assert_eq!(
            (expected.suite.name, expected.json, expected.quick, expected.rounds),
            ("restart", true, false, 9)
        );
        assert_eq!(options("--rounds 9 restart --json"), expected);
    }

    #[test]
    fn quick_makes_the_fewest_rounds_unless_told_otherwise() {
        assert_eq!(options("memory").rounds, ROUNDS);
        assert_eq!(options("memory --quick").rounds, FEWEST_ROUNDS);
        assert_eq!(options("memory --quick --rounds 20").rounds, 20);
        assert_eq!(options("memory").time(), None);
        assert!(options("memory --quick").time().is_some_and(|time| time < Duration::from_secs(60)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, named) in [
            ("", "restart"),
            ("nonsense", "`nonsense`"),
            ("nonsense", "memory"),
            ("restart memory", "`memory`"),
            ("restart --fast", "`--fast`"),
            ("restart --rounds", "at least 7"),
            ("restart --rounds many", "`many`"),
            ("restart --rounds 6", "`6`"),
            ("messages --plot", "--plot"),
            ("messages --plot --json", "--plot"),
            ("restart --plot docs", "`restart` has no plot"),
            ("restart --only", "--only"),
            ("restart --only --json", "--only"),
            ("restart --subjects", "--subjects"),
            ("restart --only nonsense", "`nonsense`"),
            ("restart --only nonsense", "kill to answer"),
        ] {
            let err = read(line).expect_err(line).to_string();
            assert!(err.contains(named), "`{line}` is answered with: {err}");
        }
    }

    #[test]
    fn a_plot_is_written_where_asked_and_only_then() {
        assert_eq!(options("messages --plot docs/img").plot, Some(PathBuf::from("docs/img")));
        assert_eq!(options("messages").plot, None);
    }

    #[test]
    fn cases_and_subjects_may_be_several() {
        let filter = options("messages --only broadcast --subjects a,b --only drain --subjects c").filter;
        assert_eq!(filter.cases, ["broadcast", "drain"]);
        assert_eq!(filter.subjects, ["a", "b", "c"]);
    }

    #[test]
    fn help_names_all_suites() {
        assert_eq!(read("restart --help").expect("help is no error"), Request::Help);
        assert!(SUITES.iter().all(|suite| help().contains(suite.name)));
    }
}
