//! Rounds: in each, every subject is measured once.
//!
//! Whatever else the machine does then meets all subjects alike, and a figure that drifts shows in the
//! spread instead of favouring whoever came first.
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::ratio::{self, Ratio};
use crate::report::Row;
use crate::stats::Summary;

/// The unit of what went wrong. A row of it is shown only where something did.
pub(crate) const FAILURES: &str = "failures";

/// One subject, and how a round measures it.
pub(crate) struct Entry {
    pub(crate) subject: &'static str,
    /// Entries of one group are measured one after the other: what is compared lies close together in time.
    pub(crate) group: &'static str,
    pub(crate) measure: Measure,
}

/// Measures one round of one subject. What it keeps from round to round is its own.
pub(crate) type Measure = Box<dyn FnMut() -> Result<Vec<Sample>, Error>>;

/// One figure of one round.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) case: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
}

/// How many rounds, and how long they may take together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    pub(crate) time: Option<Duration>,
}

impl Pace {
    /// Whether another round is made, after `done` of them in `elapsed`, the longest of which took `longest`.
    fn goes_on(&self, done: usize, elapsed: Duration, longest: Duration) -> bool {
        // The first is made whatever it takes: nobody can know yet.
        done == 0 || done < self.rounds && self.time.is_none_or(|time| elapsed + longest <= time)
    }
}

/// What all rounds have found.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) rounds: usize,
    series: Vec<Series>,
}

/// The values of one case of one subject.
#[derive(Debug)]
struct Series {
    case: String,
    subject: &'static str,
    unit: &'static str,
    values: Vec<f64>,
}

impl Measured {
    fn take(&mut self, subject: &'static str, sample: Sample) {
        let known =
            self.series.iter_mut().find(|series| series.subject == subject && series.case == sample.case);
        match known {
            Some(series) => series.values.push(sample.value),
            None => {
                let Sample { case, unit, value } = sample;
                self.series.push(Series { case, subject, unit, values: vec![value] });
            }
        }
    }

    /// Adds what is compared, behind all that was measured.
    pub(crate) fn compare(&mut self, ratios: &[Ratio]) {
        for ratio in ratios {
            for at in 0..self.series.len() {
                let series = &self.series[at];
                if !ratio.is_of(&series.case, series.subject) || series.unit == FAILURES {
                    continue;
                }
                let is_other = |other: &&Series| other.case == series.case && other.subject == ratio.to;
                let Some(other) = self.series.iter().find(is_other) else { continue };
                let values = ratio::by_round(&series.values, &other.values);
                if !values.is_empty() {
                    let (case, subject) = (ratio.name(&series.case), series.subject);
                    self.series.push(Series { case, subject, unit: "x", values });
                }
            }
        }
    }

    /// A row per case and subject: the subjects of a case together, cases in the order of the first round.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let place = |series: &Series| self.series.iter().position(|other| other.case == series.case);
        let shown =
            |series: &&Series| series.unit != FAILURES || series.values.iter().any(|value| *value > 0.0);
        let mut series: Vec<&Series> = self.series.iter().filter(shown).collect();
        // Stable: within a case the subjects stay as they were lined up.
        series.sort_by_key(|series| place(series));
        series.into_iter().map(Series::row).collect()
    }
}

impl Series {
    fn row(&self) -> Row {
        let Summary { median, min, max } = Summary::of(&self.values);
        Row { case: self.case.clone(), subject: self.subject, unit: self.unit, median, min, max }
    }
}

/// Measures all entries, round by round.
pub(crate) fn interleave(entries: &mut [Entry], pace: &Pace) -> Result<Measured, Error> {
    let (start, mut longest) = (Instant::now(), Duration::ZERO);
    let mut measured = Measured::default();
    while pace.goes_on(measured.rounds, start.elapsed(), longest) {
        let round = Instant::now();
        for group in entries.chunk_by_mut(|one, next| one.group == next.group) {
            for at in 0..group.len() {
                // Each round begins with another one, so that nobody always comes first.
                let entry = &mut group[(at + measured.rounds) % group.len()];
                tell(measured.rounds + 1, pace.rounds, entry);
                for sample in (entry.measure)()? {
                    measured.take(entry.subject, sample);
                }
            }
        }
        longest = longest.max(round.elapsed());
        measured.rounds += 1;
    }
    Ok(measured)
}

/// For whoever waits at a terminal.
fn tell(round: usize, of: usize, Entry { subject, group, .. }: &Entry) {
    if std::io::stderr().is_terminal() {
        let group = if group.is_empty() { String::new() } else { format!(" ({group})") };
        eprintln!("round {round} of {of}: {subject}{group}");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn entry(subject: &'static str, calls: &Rc<RefCell<Vec<&'static str>>>) -> Entry {
        let calls = calls.clone();
        let mut value = 0.0;
        let measure = move || {
            calls.borrow_mut().push(subject);
            value += 1.0;
            let sample = |case: &str| Sample { case: case.to_owned(), unit: "ms", value };
            Ok(vec![sample("first"), sample("second")])
        };
        Entry { subject, group: "", measure: Box::new(measure) }
    }

    #[test]
    fn rounds_interleave_and_each_begins_with_another_subject() {
        let calls = Rc::default();
        let mut entries = [entry("a", &calls), entry("b", &calls), entry("c", &calls)];
        let measured = interleave(&mut entries, &Pace { rounds: 3, time: None }).expect("nothing fails");
        assert_eq!(measured.rounds, 3);
        assert_eq!(*calls.borrow(), ["a", "b", "c", "b", "c", "a", "c", "a", "b"]);
    }

    #[test]
    fn a_group_is_done_before_the_next_and_each_begins_with_another_subject() {
        let calls = Rc::default();
        let mut entries = [entry("a", &calls), entry("b", &calls), entry("c", &calls), entry("d", &calls)];
        for entry in &mut entries[2..] {
            entry.group = "second";
        }
        interleave(&mut entries, &Pace { rounds: 2, time: None }).expect("nothing fails");
        assert_eq!(*calls.borrow(), ["a", "b", "c", "d", "b", "a", "d", "c"]);
    }

    #[test]
    fn failures_have_a_row_only_where_something_failed() {
        let mut measured = Measured::default();
        for (subject, value) in [("a", 0.0), ("b", 0.0), ("b", 2.0), ("a", 0.0)] {
            measured.take(subject, Sample { case: "first, failed".into(), unit: FAILURES, value });
        }
        let rows = measured.rows();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].subject, rows[0].min, rows[0].max), ("b", 0.0, 2.0));
    }

    #[test]
    fn the_subjects_of_a_case_stand_together() {
        let calls = Rc::default();
        let mut entries = [entry("a", &calls), entry("b", &calls)];
        let measured = interleave(&mut entries, &Pace { rounds: 7, time: None }).expect("nothing fails");
        let rows = measured.rows();
        let order: Vec<_> = rows.iter().map(|row| (row.case.as_str(), row.subject)).collect();
        assert_eq!(order, [("first", "a"), ("first", "b"), ("second", "a"), ("second", "b")]);
        assert!(rows.iter().all(|row| (row.min, row.median, row.max) == (1.0, 4.0, 7.0)), "{rows:?}");
    }

    #[test]
    fn what_is_compared_stands_behind_what_was_measured() {
        let mut measured = Measured::default();
        for (subject, value) in [("a", 2.0), ("b", 1.0), ("a", 30.0), ("b", 10.0), ("a", 4.0), ("b", 4.0)] {
            measured.take(subject, Sample { case: "first".into(), unit: "/s", value });
        }
        measured.compare(&[Ratio { cases: &["first"], of: &["a"], to: "b" }]);
        measured.compare(&[Ratio { cases: &["first"], of: &["a"], to: "nobody" }]);
        let rows = measured.rows();
        assert_eq!(rows.len(), 3);
        let ratio =
            Row { case: "first, by b".into(), subject: "a", unit: "x", median: 2.0, min: 1.0, max: 3.0 };
        assert_eq!(rows[2], ratio);
    }

    #[test]
    fn an_error_ends_the_run() {
        let fails = || Err(Error::NotBuilt("nothing".into()));
        let mut entries = [Entry { subject: "a", group: "", measure: Box::new(fails) }];
        assert!(interleave(&mut entries, &Pace { rounds: 7, time: None }).is_err());
    }

    #[test]
    fn no_round_begins_that_would_overrun_the_time() {
        let pace = Pace { rounds: 7, time: Some(10 * SECOND) };
        assert!(pace.goes_on(0, Duration::ZERO, Duration::ZERO));
        assert!(pace.goes_on(4, 8 * SECOND, 2 * SECOND));
        assert!(!pace.goes_on(4, 8 * SECOND, 3 * SECOND));
        assert!(!pace.goes_on(7, 1 * SECOND, Duration::ZERO));
        assert!(Pace { rounds: 7, time: None }.goes_on(6, 1000 * SECOND, 500 * SECOND));
    }
}
