//! The three numbers that a row shows.

/// Of the values of all rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// # Panics
    /// Where there is no value: a row is made by its first one.
    pub(crate) fn of(values: &[f64]) -> Self {
        let sorted = sorted(values);
        let (min, max) = (sorted[0], sorted[sorted.len() - 1]);
        Self { median: middle(&sorted), min, max }
    }
}

/// The middle value; of an even number of values, the mean of the middle two.
///
/// # Panics
/// Where there is no value.
pub(crate) fn median(values: &[f64]) -> f64 {
    middle(&sorted(values))
}

/// The smallest value that at least so many percent of all do not exceed.
///
/// # Panics
/// Where there is no value.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let sorted = sorted(values);
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted[rank.max(1) - 1]
}

fn sorted(values: &[f64]) -> Vec<f64> {
    assert!(!values.is_empty(), "nothing was measured");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    fn one_far_value_moves_the_maximum_and_not_the_median() {
        let summary = Summary::of(&[2.0, 1000.0, 1.0, 3.0, 2.0]);
        assert_eq!(summary, Summary { median: 2.0, min: 1.0, max: 1000.0 });
    }

    #[test]
    fn one_in_a_hundred_may_be_above_the_99th_percentile() {
        let to = |last: u32| (1..=last).map(f64::from).rev().collect::<Vec<_>>();
        assert_eq!(percentile(&to(100), 99), 99.0);
        assert_eq!(percentile(&to(101), 99), 100.0);
        assert_eq!(percentile(&to(3), 99), 3.0);
        assert_eq!((percentile(&to(7), 0), percentile(&to(7), 100)), (1.0, 7.0));
    }

    #[test]
    #[should_panic(expected = "nothing was measured")]
    fn no_value_has_no_median() {
        median(&[]);
    }
}
