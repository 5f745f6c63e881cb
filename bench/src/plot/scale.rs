//! A logarithmic scale, and figures short enough to stand at a bar.

/// Whole decades that hold all values.
#[derive(Debug, PartialEq)]
pub(crate) struct Scale {
    /// Powers of ten.
    first: i32,
    last: i32,
}

impl Scale {
    /// `None` where there is no value.
    ///
    /// # Panics
    /// Where a value is not above zero: it has no place on the scale.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let logs = values.map(|value| {
            assert!(value > 0.0, "{value} has no logarithm");
            value.log10()
        });
        let (low, high) = logs.fold(None, |range: Option<(f64, f64)>, log| {
            Some(range.map_or((log, log), |(low, high)| (low.min(log), high.max(log))))
        })?;
        // Below the least value is some room: a bar of no length is none.
        let first = (low - 0.15).floor() as i32;
        Some(Self { first, last: (high.ceil() as i32).max(first + 1) })
    }

    /// How far along a value is: 0 at the first decade, 1 at the last.
    pub(crate) fn share(&self, value: f64) -> f64 {
        (value.log10() - f64::from(self.first)) / f64::from(self.last - self.first)
    }

    pub(crate) fn decades(&self) -> impl Iterator<Item = f64> {
        (self.first..=self.last).map(|power| 10_f64.powi(power))
    }
}

/// In three digits, with the unit where it is one of time. `us` are microseconds, as in the table.
pub(crate) fn figure(value: f64, unit: &str) -> String {
    let steps: &[(f64, &str)] = match unit {
        "us" => &[(1e6, " s"), (1e3, " ms"), (1.0, " µs")],
        "ms" => &[(1e3, " s"), (1.0, " ms")],
        _ => &[(1e6, " M"), (1e3, " k"), (1.0, "")],
    };
    let (step, name) = steps.iter().find(|(step, _)| value >= *step).unwrap_or(&steps[steps.len() - 1]);
    let value = value / step;
    let digits = match value {
        large if large >= 99.95 => 0,
        middling if middling >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    // 10.0 and 1.00 say no more than 10 and 1.
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_of_whole_decades_with_room_below() {
        let scale = Scale::of([30.0, 5000.0].into_iter()).expect("two values");
        assert_eq!(scale.decades().collect::<Vec<_>>(), [10.0, 100.0, 1000.0, 10_000.0]);
        assert_eq!((scale.share(10.0), scale.share(10_000.0)), (0.0, 1.0));
        // At the foot of a decade a bar would have no length.
        assert_eq!(Scale::of([100.0].into_iter()), Some(Scale { first: 1, last: 2 }));
        assert_eq!(Scale::of([].into_iter()), None);
    }

    #[test]
    fn figures_have_three_digits() {
        for (value, unit, text) in [
            (45_454_622.3, "messages/s", "45.5 M"),
            (1_000_000.0, "messages/s", "1 M"),
            (198_523.6, "messages/s", "199 k"),
            (14.008, "messages/s", "14"),
            (37.88, "messages/s", "37.9"),
            (100.0, "messages/s", "100"),
            (94.757, "us", "94.8 µs"),
            (7058.6, "us", "7.06 ms"),
            (0.25, "us", "0.25 µs"),
            (1500.0, "ms", "1.5 s"),
        ] {
            assert_eq!(figure(value, unit), text, "of {value}");
        }
    }
}
