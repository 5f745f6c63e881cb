//! Counts what came to nothing, so that a flood of it is told in a few words.
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::id::WorkerId;
use crate::ipc::notice::Undelivered;

/// Sender, type, reason.
type Kind = (Option<WorkerId>, String, String);

/// How often each kind of failure has been seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    kinds: BTreeMap<Arc<Kind>, Count>,
    /// All of them, the oldest first.
    order: VecDeque<Arc<Kind>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    total: u64,
    /// Of these, so many are told.
    told: u64,
}

impl Tally {
    /// Of so many kinds the counts are known: names and reasons are the senders'. One more takes the place of
    /// the oldest, which is told as a new one when it comes again.
    const MOST: usize = 1024;

    /// Adds to the count; answers with what is to be told: the first, the tenth, the hundredth ... of a kind,
    /// with the number until now.
    pub(crate) fn count(&mut self, what: Undelivered) -> Option<Undelivered> {
        let Count { total: count, .. } = self.add(&what)?;
        Some(Undelivered { count, ..what })
    }

    /// As [`count`](Self::count), with the number since the last that was told: for somebody who counts, too.
    pub(crate) fn count_since(&mut self, what: Undelivered) -> Option<Undelivered> {
        let Count { total, told } = self.add(&what)?;
        Some(Undelivered { count: total - told, ..what })
    }

    /// The count as it was before it was told, where it is to be.
    fn add(&mut self, what: &Undelivered) -> Option<Count> {
        let kind = (what.from, what.type_name.clone(), what.reason.clone());
        if !self.kinds.contains_key(&kind) {
            self.make_room();
            let kind = Arc::new(kind.clone());
            self.order.push_back(kind.clone());
            self.kinds.insert(kind, Count::default());
        }
        let count = self.kinds.get_mut(&kind)?;
        let before = count.total;
        count.total = count.total.saturating_add(what.count);
        let now = *count;
        let is_told = before == 0 || before.ilog10() < now.total.ilog10();
        is_told.then(|| {
            count.told = now.total;
            now
        })
    }

    fn make_room(&mut self) {
        while self.order.len() >= Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.kinds.remove(&oldest);
        }
    }

    /// A worker is gone for good: nothing of its own comes any more.
    pub(crate) fn forget(&mut self, worker: WorkerId) {
        self.order.retain(|kind| kind.0 != Some(worker));
        self.kinds.retain(|kind, _| kind.0 != Some(worker));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_then_every_power_of_ten_is_told() {
        let mut tally = Tally::default();
        let what = |count| Undelivered {
            from: Some(WorkerId(1)),
            type_name: "Said".into(),
            size: 5,
            count,
            reason: "nobody listens".into(),
        };
        let mut told: Vec<u64> =
            (0..1000).filter_map(|_| tally.count(what(1))).map(|what| what.count).collect();
        assert_eq!(told, [1, 10, 100, 1000]);
        told = [5, 20_000, 1]
            .into_iter()
            .filter_map(|count| tally.count(what(count)))
            .map(|what| what.count)
            .collect();
        assert_eq!(told, [21_005]);
    }

    fn of(worker: u64, reason: impl ToString) -> Undelivered {
        let (from, reason) = (Some(WorkerId(worker)), reason.to_string());
        Undelivered { from, type_name: "Said".into(), size: 5, count: 1, reason }
    }

    #[test]
    fn one_kind_too_many_is_told_and_the_oldest_is_forgotten() {
        let mut tally = Tally::default();
        assert!((0..Tally::MOST).all(|reason| tally.count(of(1, reason)).is_some()));
        assert!(tally.count(of(1, "one more")).is_some());
        assert!(tally.count(of(1, 1)).is_none(), "the second oldest is known");
        assert!(tally.count(of(1, 0)).is_some(), "the oldest is new");
        assert_eq!((tally.kinds.len(), tally.order.len()), (Tally::MOST, Tally::MOST));
    }

    #[test]
    fn a_worker_that_is_gone_takes_no_room() {
        let mut tally = Tally::default();
        for worker in 1..=2 {
            assert!(tally.count(of(worker, "nobody listens")).is_some());
        }
        tally.forget(WorkerId(1));
        assert_eq!((tally.kinds.len(), tally.order.len()), (1, 1));
        assert!(tally.count(of(2, "nobody listens")).is_none(), "the other is still counted");
        assert!(tally.count(of(1, "nobody listens")).is_some());
    }

    #[test]
    fn what_two_count_one_after_the_other_is_counted_once() {
        let (mut first, mut second) = (Tally::default(), Tally::default());
        let what = Undelivered {
            from: None,
            type_name: "Said".into(),
            size: 5,
            count: 1,
            reason: "nobody listens".into(),
        };
        let told = (0..1000).filter_map(|_| first.count_since(what.clone()));
        let told: Vec<u64> = told.filter_map(|what| second.count(what)).map(|what| what.count).collect();
        assert_eq!(told, [1, 10, 100, 1000]);
    }
}
