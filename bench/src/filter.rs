//! What of a suite is measured, where not all of it is asked for.
use crate::error::Error;
use crate::suites::{Lineup, Suite};

/// Parts of names of cases, and names of subjects. Where there are none, all are meant.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) cases: Vec<String>,
    pub(crate) subjects: Vec<String>,
}

impl Filter {
    /// # Errors
    /// A part that no case of the suite has in its name.
    pub(crate) fn check(&self, suite: &Suite) -> Result<(), Error> {
        let cases = (suite.cases)();
        match self.cases.iter().find(|part| !cases.iter().any(|case| case.contains(*part))) {
            None => Ok(()),
            Some(part) => {
                let (part, cases) = (part.clone(), cases.join("\n  "));
                Err(Error::UnknownCase { suite: suite.name, part, cases })
            }
        }
    }

    /// Whether the case is measured.
    pub(crate) fn wants(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|part| case.contains(part.as_str()))
    }

    /// Leaves those in the line-up who are asked for.
    ///
    /// # Errors
    /// Somebody is asked for who is not there, or nobody is left.
    pub(crate) fn thin_out(&self, lineup: &mut Lineup) -> Result<(), Error> {
        let wants =
            |name: &str| self.subjects.is_empty() || self.subjects.iter().any(|wanted| wanted == name);
        let mut known: Vec<&str> = lineup.entries.iter().map(|entry| entry.subject).collect();
        known.extend(lineup.skipped.iter().map(|skipped| skipped.subject));
        known.sort_unstable();
        known.dedup();
        if let Some(unknown) = self.subjects.iter().find(|wanted| !known.contains(&wanted.as_str())) {
            return Err(Error::UnknownSubject(unknown.clone(), known.join(", ")));
        }
        lineup.entries.retain(|entry| wants(entry.subject));
        lineup.skipped.retain(|skipped| wants(skipped.subject));
        if lineup.entries.is_empty() {
            let skipped: Vec<String> = lineup.skipped.iter().map(ToString::to_string).collect();
            return Err(Error::NobodyLeft(skipped.join("; ")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Skipped;
    use crate::rounds::Entry;

    fn filter(cases: &[&str], subjects: &[&str]) -> Filter {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Filter { cases: owned(cases), subjects: owned(subjects) }
    }

    fn lineup() -> Lineup {
        let entry = |subject| Entry { subject, group: "", measure: Box::new(|| Ok(Vec::new())) };
        let skipped = Skipped { subject: "bun", why: "not installed" };
        Lineup { entries: vec![entry("shared"), entry("prefork"), entry("shared")], skipped: vec![skipped] }
    }

    #[test]
    fn a_case_is_wanted_by_a_part_of_its_name() {
        assert!(filter(&[], &[]).wants("burst of 64"));
        assert!(filter(&["other", "burst"], &[]).wants("burst of 64"));
        assert!(!filter(&["400"], &[]).wants("burst of 64"));
    }

    #[test]
    fn those_who_are_asked_for_are_left() {
        let mut lineup = lineup();
        filter(&[], &["shared"]).thin_out(&mut lineup).expect("it is there");
        assert_eq!(lineup.entries.len(), 2);
        assert_eq!(lineup.skipped, []);
    }

    #[test]
    fn who_is_not_there_is_named() {
        let err = filter(&[], &["shard"]).thin_out(&mut lineup()).expect_err("a mistake").to_string();
        assert!(err.contains("`shard`") && err.contains("bun, prefork, shared"), "{err}");
        let err = filter(&[], &["bun"]).thin_out(&mut lineup()).expect_err("nobody is left").to_string();
        assert!(err.contains("bun (not installed)"), "{err}");
    }
}
