//! What came to nothing.
use std::io;

/// Requests that came to nothing, and what else was not to be had.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    pub(crate) count: usize,
    first: Option<String>,
}

impl Failures {
    pub(crate) fn note(&mut self, err: &io::Error) {
        self.count += 1;
        self.first.get_or_insert_with(|| err.to_string());
    }

    /// Those of somebody else who has asked.
    pub(crate) fn add(&mut self, others: Self) {
        self.count += others.count;
        self.first = self.first.take().or(others.first);
    }

    /// A sentence about them, where there are some.
    pub(crate) fn told(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        let plural = if self.count == 1 { "" } else { "s" };
        Some(format!("{} failure{plural}, the first: {first}", self.count))
    }
}
