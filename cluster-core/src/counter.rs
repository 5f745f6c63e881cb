//! Counters that all processes of a cluster share: what an application counts.
mod table;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::counter::table::Stripe;
pub(crate) use crate::counter::table::Table;
use crate::id::Seat;
use crate::sys::page::Mapped;

/// A counter has no longer name, in bytes.
const LONGEST_NAME: usize = table::LONGEST_NAME;
/// A cluster has no more counters.
const MOST: usize = table::MOST;
/// What names of the library's own metrics begin with.
const OURS: &str = "cluster_";
/// What a counter's name ends in where metrics are shown.
pub(crate) const SUFFIX: &str = "_total";

/// A number that all workers, and the primary's side, add to and read: from [`Worker::counter`](crate::Worker::counter) and
/// [`ClusterHandle::counter`](crate::ClusterHandle::counter). Cheap to clone; keep it, and do not look it up in each
/// request.
///
/// It lives in memory that all processes of the cluster share, and as long as the cluster: what was added stays, also when
/// the worker that added it is killed, restarted, reloaded or scaled away. It begins at 0 with the cluster.
///
/// Adding is one atomic instruction, without a lock and without a system call, and workers of different slots do not
/// contend. Reading adds up one number per slot (64 at the most, and the primary's side). A read sees all that was added
/// before it began, by anybody; what is added meanwhile it may see or not. Sums wrap around at 2^64.
///
/// It counts, and nothing else follows from it: to limit something by a counter is to look and then to act, and others act
/// in between. Whatever can write to a worker's memory can write to all counters.
///
/// # Example
/// ```
/// let worker = cluster_core::testing::worker();
/// let hits = worker.counter("hits").unwrap();
/// hits.add(1);
/// hits.add(2);
/// assert_eq!(worker.counter("hits").unwrap().get(), 3);
/// ```
#[derive(Clone)]
pub struct Counter {
    table: Arc<Mapped<Table>>,
    entry: usize,
    stripe: Stripe,
}

/// Why there is no such counter.
///
/// # Example
/// ```
/// # use cluster_core::CounterError;
/// let worker = cluster_core::testing::worker();
/// let err = worker.counter("2 fast").unwrap_err();
/// assert!(matches!(err, CounterError::Name { .. }));
/// assert!(err.to_string().contains("`2 fast`"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CounterError {
    /// Its name is none.
    #[error("a counter cannot be called `{name}`: {why}")]
    Name {
        /// As it was asked for; the first 64 bytes of it, at the most.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There are as many as there can be.
    #[error(
        "there is no room for the counter `{name}`: a cluster has {MOST} at the most, and they are never given up"
    )]
    TooMany {
        /// As it was asked for.
        name: String,
    },
}

/// All counters of a cluster, in the process that makes them, and does not look at them.
pub(crate) struct Counting {
    fd: OwnedFd,
}

impl Counting {
    pub(crate) fn begin() -> nix::Result<Self> {
        let (_, fd) = Mapped::<Table>::create(c"cluster-counters")?;
        Ok(Self { fd })
    }
}

impl AsFd for Counting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// All counters of a cluster, in a process that has a part in it.
#[derive(Clone)]
pub(crate) struct Counters {
    table: Arc<Mapped<Table>>,
    stripe: Stripe,
}

impl Counters {
    pub(crate) fn new(table: Mapped<Table>, seat: Seat) -> Self {
        Self { table: Arc::new(table), stripe: Stripe::of(seat) }
    }

    /// A fake's, which shares them with nobody.
    #[cfg(feature = "testing")]
    pub(crate) fn fake() -> nix::Result<Self> {
        let table = Mapped::map(Counting::begin()?.as_fd())?;
        Ok(Self::new(table, Seat::Slot(crate::id::Slot(0))))
    }

    /// The counter of this name, which is made where there is none.
    pub(crate) fn get(&self, name: &str) -> Result<Counter, CounterError> {
        if let Some(why) = what_is_wrong(name) {
            return Err(CounterError::Name { name: shortened(name).to_owned(), why });
        }
        let entry = self.table.find(name).ok_or_else(|| CounterError::TooMany { name: name.to_owned() })?;
        Ok(Counter { table: self.table.clone(), entry, stripe: self.stripe })
    }

    /// All that there are: by name, in their order. What is no counter's name is passed over.
    pub(crate) fn all(&self) -> Vec<(String, u64)> {
        let named = self.table.names().filter(|(_, name)| what_is_wrong(name).is_none());
        let mut all: Vec<_> = named.map(|(entry, name)| (name, self.table.sum(entry))).collect();
        all.sort_unstable();
        all
    }
}

impl Counter {
    /// Adds to it.
    ///
    /// # Example
    /// ```no_run
    /// # fn handler(hits: &cluster_core::Counter) {
    /// hits.add(1);
    /// # }
    /// ```
    pub fn add(&self, count: u64) {
        self.table.add(self.stripe, self.entry, count);
    }

    /// What all have added since the cluster began, workers that are gone included.
    ///
    /// # Example
    /// ```no_run
    /// # fn handler(hits: &cluster_core::Counter) {
    /// println!("{} hits", hits.get());
    /// # }
    /// ```
    #[must_use]
    pub fn get(&self) -> u64 {
        self.table.sum(self.entry)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counter").field(&self.get()).finish()
    }
}

/// Names are those of Prometheus' metrics, without what is added to them and what is ours.
fn what_is_wrong(name: &str) -> Option<&'static str> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match name.as_bytes() {
        [] => Some("it is empty"),
        bytes if bytes.len() > LONGEST_NAME => Some("it has more than 64 bytes"),
        bytes if !bytes.iter().copied().all(is_word) => {
            Some("only letters of ASCII, digits and `_` may be in it")
        }
        [first, ..] if first.is_ascii_digit() => Some("it begins with a digit"),
        _ if name.starts_with(OURS) => Some("names that begin with `cluster_` are the library's own"),
        _ if name.ends_with(SUFFIX) => {
            Some("`_total` is added to it where metrics are shown, so leave it out")
        }
        _ => None,
    }
}

fn shortened(name: &str) -> &str {
    let end = (0..=LONGEST_NAME.min(name.len())).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Slot;

    /// As the primary, and two workers in it, have it.
    fn cluster() -> (Counting, Counters, Counters) {
        let counting = Counting::begin().unwrap();
        let of = |slot| Counters::new(Mapped::map(counting.as_fd()).unwrap(), Seat::Slot(Slot(slot)));
        let (one, two) = (of(0), of(1));
        (counting, one, two)
    }

    #[test]
    fn what_one_adds_all_read_and_what_has_ended_has_added_stays() {
        let (counting, one, two) = cluster();
        one.get("hits").unwrap().add(3);
        two.get("misses").unwrap().add(1);
        drop(one);
        let director = Counters::new(Mapped::map(counting.as_fd()).unwrap(), Seat::Director);
        director.get("hits").unwrap().add(4);
        assert_eq!(two.get("hits").unwrap().get(), 7);
        assert_eq!(two.all(), [("hits".to_owned(), 7), ("misses".to_owned(), 1)]);
    }

    #[test]
    fn invariant_8_a_name_that_is_none_is_refused_and_says_why() {
        let (_counting, one, _) = cluster();
        let long = "x".repeat(65);
        let many = "ä".repeat(100);
        let wrong = ["", "a b", "a-b", "1st", "ä", "a\n", "a\"", "cluster_hits", "hits_total", &long, &many];
        for name in wrong {
            let err = one.get(name).unwrap_err();
            let CounterError::Name { name: told, .. } = &err else { panic!("{err}") };
            assert!(name.starts_with(told.as_str()) && told.len() <= 64, "{err}");
        }
        assert!(one.all().is_empty(), "nothing was made for them");
        for name in ["a", "_", "Hits_2", "clusters", "total", &"x".repeat(64)] {
            one.get(name).unwrap().add(1);
        }
        assert_eq!(one.all().len(), 6);
    }

    #[test]
    fn there_is_an_end_to_how_many_there_are_and_those_that_there_are_live_on() {
        let (_counting, one, two) = cluster();
        for number in 0..MOST {
            one.get(&format!("c{number}")).unwrap().add(1);
        }
        let err = two.get("one_more").unwrap_err();
        assert_eq!(err, CounterError::TooMany { name: "one_more".to_owned() });
        assert_eq!(two.get("c255").unwrap().get(), 1);
        assert_eq!(two.all().len(), MOST);
    }

    #[test]
    fn all_at_once_find_the_same_counter_and_lose_nothing() {
        let (counting, ..) = cluster();
        std::thread::scope(|scope| {
            for slot in 0..8 {
                let counters = Counters::new(Mapped::map(counting.as_fd()).unwrap(), Seat::Slot(Slot(slot)));
                scope.spawn(move || {
                    for number in 0..20_000_u64 {
                        counters.get(["a", "b", "c"][(number % 3) as usize]).unwrap().add(1);
                    }
                });
            }
        });
        let counters = Counters::new(Mapped::map(counting.as_fd()).unwrap(), Seat::Director);
        let all = counters.all();
        assert_eq!(all.len(), 3);
        assert_eq!(all.iter().map(|(_, sum)| sum).sum::<u64>(), 160_000);
    }
}
