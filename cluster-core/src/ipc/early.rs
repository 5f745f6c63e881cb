//! Messages that nobody handles yet: kept for the first handler of their type.
use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::id::WorkerId;
use crate::ipc::frame::Address;
use crate::ipc::notice::Undelivered;
use crate::ipc::router::worker_of;

/// Messages of one type that are kept for its first handler.
const EARLY_MESSAGES: usize = 1024;
const EARLY_BYTES: usize = 1 << 20;
/// Types of which messages are kept.
const EARLY_TYPES: usize = 64;

/// By the name of their type.
#[derive(Default)]
pub(crate) struct Early {
    types: HashMap<String, OfType>,
    /// Nobody will handle what comes now.
    ended: bool,
}

#[derive(Default)]
struct OfType {
    messages: VecDeque<Kept>,
    bytes: usize,
}

/// A message as it came.
pub(crate) struct Kept {
    pub(crate) from: Address,
    pub(crate) fingerprint: u64,
    pub(crate) body: Vec<u8>,
}

impl Early {
    /// Keeps one; an error says why not.
    pub(crate) fn keep(&mut self, name: &str, kept: Kept) -> Result<(), String> {
        if self.ended {
            return Err("nobody listens, and the process is ending".to_owned());
        }
        if self.types.len() >= EARLY_TYPES && !self.types.contains_key(name) {
            return Err("nobody listens, and messages of many types wait already".to_owned());
        }
        if kept.body.len() > EARLY_BYTES {
            return Err("nobody listens, and it is longer than what may wait for a first handler".to_owned());
        }
        let (waiting, bytes) =
            self.types.get(name).map_or((0, 0), |early| (early.messages.len(), early.bytes));
        if waiting >= EARLY_MESSAGES || bytes + kept.body.len() > EARLY_BYTES {
            return Err("nobody listens, and as many as may wait for a first handler do".to_owned());
        }
        // AFTER what refuses it: a type of which nothing is kept would take the place of another.
        let early = self.types.entry(name.to_owned()).or_default();
        early.bytes += kept.body.len();
        early.messages.push_back(kept);
        Ok(())
    }

    /// Keeps what is older than all that is kept under the name. Answers with those that there is no room for:
    /// the youngest.
    pub(crate) fn keep_first(
        &mut self,
        name: &str,
        older: impl IntoIterator<Item = Kept>,
    ) -> Vec<Undelivered> {
        let younger = self.take(name);
        let all = older.into_iter().chain(younger);
        let lost = all.filter_map(|kept| {
            let (from, size) = (kept.from, kept.body.len() as u64);
            let reason = self.keep(name, kept).err()?;
            Some(Undelivered::one(worker_of(from), name, size, reason))
        });
        lost.collect()
    }

    /// What is kept under a name, in the order it came.
    pub(crate) fn take(&mut self, name: &str) -> VecDeque<Kept> {
        self.types.remove(name).unwrap_or_default().messages
    }

    /// Nothing is kept from now on. What was is lost: so many of each sender and type.
    pub(crate) fn end(&mut self) -> Vec<Undelivered> {
        self.ended = true;
        let mut lost: BTreeMap<(Option<WorkerId>, String), (u64, u64)> = BTreeMap::new();
        for (name, early) in std::mem::take(&mut self.types) {
            for kept in early.messages {
                let count = lost.entry((worker_of(kept.from), name.clone())).or_default();
                *count = (count.0 + 1, kept.body.len() as u64);
            }
        }
        let reason = "nobody listened until the process ended";
        let lost = lost.into_iter().map(|((from, name), (count, size))| Undelivered {
            count,
            ..Undelivered::one(from, &name, size, reason)
        });
        lost.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(len: usize) -> Kept {
        Kept { from: Address::Director, fingerprint: 0, body: vec![0; len] }
    }

    #[test]
    fn a_message_that_is_not_kept_takes_no_place_of_another_type() {
        let mut early = Early::default();
        for name in 0..2 * EARLY_TYPES {
            assert!(early.keep(&format!("Long{name}"), of(EARLY_BYTES + 1)).is_err());
        }
        for name in 0..EARLY_TYPES {
            assert_eq!(early.keep(&name.to_string(), of(EARLY_BYTES)), Ok(()), "type {name}");
        }
        assert!(early.keep("One more", of(0)).unwrap_err().contains("many types"));
        assert_eq!(early.take("0").len(), 1);
        assert_eq!(early.keep("One more", of(0)), Ok(()));
    }
}
