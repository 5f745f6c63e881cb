//! The length of accept queues, and what the kernel makes of it.
use std::fs;

/// The accept queue's length that we ask for where nobody says otherwise.
pub const BACKLOG: u32 = 4096;

/// How many connections may wait that no worker has taken yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Backlog(u32);

/// Accept queues are shorter than was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) asked: u32,
    /// `net.core.somaxconn`.
    pub(crate) limit: u32,
}

impl Backlog {
    pub(crate) fn of(asked: Option<u32>) -> Self {
        Self(asked.unwrap_or(BACKLOG))
    }

    /// listen(2) takes a signed number.
    pub(crate) fn for_kernel(self) -> i32 {
        i32::try_from(self.0).unwrap_or(i32::MAX)
    }
}

impl Default for Backlog {
    fn default() -> Self {
        Self(BACKLOG)
    }
}

/// What the kernel cuts off these (listen(2), "somaxconn"): of the longest, for one warning says enough.
pub(crate) fn cut(asked: impl Iterator<Item = Backlog>) -> Option<Cut> {
    let limit = fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()?;
    cut_to(limit, asked)
}

fn cut_to(limit: u32, asked: impl Iterator<Item = Backlog>) -> Option<Cut> {
    let Backlog(asked) = asked.max()?;
    (asked > limit).then_some(Cut { asked, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_queue_that_is_cut_is_told() {
        let asked = || [Some(128), None, Some(9000)].into_iter().map(Backlog::of);
        assert_eq!(cut_to(4096, asked()), Some(Cut { asked: 9000, limit: 4096 }));
        assert_eq!(cut_to(128, asked().take(2)), Some(Cut { asked: 4096, limit: 128 }));
        assert_eq!(cut_to(128, asked().take(1)), None);
        assert_eq!(cut_to(4096, std::iter::empty()), None);
    }

    #[test]
    fn a_backlog_that_no_kernel_knows_is_the_largest() {
        assert_eq!(Backlog::of(Some(u32::MAX)).for_kernel(), i32::MAX);
        assert_eq!(Backlog::default().for_kernel(), 4096);
    }
}
