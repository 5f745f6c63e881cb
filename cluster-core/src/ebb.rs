//! Memory that many connections have left behind goes back to the system when most of them have gone.
//!
//! glibc keeps what was freed between two things that live on, and a worker that once had ten thousand clients would look
//! as large as it was then: to its operator, and to `max_memory`. Other allocators give it back by themselves.
use std::time::Duration;

use tokio::time::Instant;

/// A peak of fewer connections leaves little.
const MANY: u64 = 64;
/// A peak is over when so small a part of it is left..
const LEFT: u64 = 4;
/// ..and no more have come for so long. Who goes up and down faster than that needs the memory again.
const QUIET: Duration = Duration::from_secs(5);

/// Follows how many connections a worker has, from look to look.
#[derive(Debug, Default)]
pub(crate) struct Ebb {
    /// The most since memory was given back.
    most: u64,
    low_since: Option<Instant>,
}

impl Ebb {
    /// Whether now is the time to give memory back.
    pub(crate) fn has_come(&mut self, now: Instant, open: u64) -> bool {
        self.most = self.most.max(open);
        if self.most < MANY || open > self.most / LEFT {
            self.low_since = None;
            return false;
        }
        let has_come = now - *self.low_since.get_or_insert(now) >= QUIET;
        if has_come {
            *self = Self { most: open, low_since: None };
        }
        has_come
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which of these looks, a second apart, it is time.
    fn times(looks: impl IntoIterator<Item = u64>) -> Vec<usize> {
        let (mut ebb, begin) = (Ebb::default(), Instant::now());
        let at = |second: usize| begin + Duration::from_secs(second as u64);
        let looks = looks.into_iter().enumerate();
        looks.filter_map(|(second, open)| ebb.has_come(at(second), open).then_some(second)).collect()
    }

    #[test]
    fn a_peak_that_is_over_is_one_once() {
        assert_eq!(times([0, 1000, 250, 250, 250, 250, 250, 250, 100, 100, 100, 100, 100, 100]), [7]);
        assert_eq!(times([1000, 0, 0, 0, 0, 0, 0, 300, 0, 0, 0, 0, 0, 0]), [6, 13]);
    }

    #[test]
    fn few_connections_or_some_that_come_back_are_no_ebb() {
        assert!(times([63, 0, 0, 0, 0, 0, 0, 0, 0]).is_empty());
        assert!(times([1000, 251, 251, 251, 251, 251, 251, 251, 251]).is_empty());
        assert!(times([1000, 0, 0, 0, 0, 900, 0, 0, 0, 0, 800, 0, 0, 0, 0]).is_empty());
    }
}
