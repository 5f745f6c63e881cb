//! Figures of one subject by those of another, round by round: what the machine did beside meets both, and leaves
//! the ratio as it is.

/// What is compared with whom.
#[derive(Debug, PartialEq)]
pub(crate) struct Ratio {
    /// How the names of the cases start.
    pub(crate) cases: &'static [&'static str],
    pub(crate) of: &'static [&'static str],
    pub(crate) to: &'static str,
}

impl Ratio {
    pub(crate) fn is_of(&self, case: &str, subject: &str) -> bool {
        self.of.contains(&subject) && self.cases.iter().any(|start| case.starts_with(start))
    }

    /// What the table calls it.
    pub(crate) fn name(&self, case: &str) -> String {
        format!("{case}, by {}", self.to)
    }
}

/// Of each round in which both have something.
pub(crate) fn by_round(values: &[f64], others: &[f64]) -> Vec<f64> {
    let rounds = values.iter().zip(others).filter(|(_, other)| **other > 0.0);
    rounds.map(|(value, other)| value / other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_of_one_round_and_nothing_is_divided_by_nothing() {
        assert_eq!(by_round(&[2.0, 9.0, 8.0], &[1.0, 3.0, 0.0]), [2.0, 3.0]);
        assert_eq!(by_round(&[2.0], &[0.0]), [0.0; 0]);
    }

    #[test]
    fn only_who_is_named_is_compared_in_cases_that_are_named() {
        let ratio = Ratio { cases: &["new"], of: &["ours"], to: "theirs" };
        assert!(ratio.is_of("new connections", "ours"));
        assert!(!ratio.is_of("new connections", "theirs") && !ratio.is_of("CPU, new connections", "ours"));
        assert_eq!(ratio.name("new connections"), "new connections, by theirs");
    }
}
