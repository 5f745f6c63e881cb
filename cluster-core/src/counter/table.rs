//! The counters' memory: one sealed memfd per cluster, mapped by all that have a part in it.
//!
//! A counter has a number in each *stripe*, and a slot adds to its own stripe alone, so that workers do not take the
//! cache line from each other. A sum is that of all stripes. Nothing has to be gathered when a worker ends: what it added is
//! there. Names are found without a lock, because whoever held one could be killed: an entry is taken by writing the hash of
//! the name, once and for all, and the text is written by everybody who finds it, always the same.
use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed};

use crate::id::Seat;
use crate::ipc::fnv::Fnv;

pub(crate) const MOST: usize = 256;
pub(crate) const LONGEST_NAME: usize = 64;
const WORDS: usize = LONGEST_NAME / 8;
/// Slots beyond that share the stripes.
const SLOTS: usize = 64;

/// All of it. Any bits are valid; what is no name is not shown.
#[repr(C)]
pub(crate) struct Table {
    names: [Name; MOST],
    stripes: [[AtomicU64; MOST]; SLOTS + 1],
}

/// The name of a counter.
#[repr(C)]
struct Name {
    /// The hash of the text; 0 where there is no counter.
    hash: AtomicU64,
    /// Padded with zeros.
    text: [AtomicU64; WORDS],
}

/// Where a process adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stripe(usize);

impl Stripe {
    pub(crate) fn of(seat: Seat) -> Self {
        Self(match seat {
            Seat::Slot(slot) => usize::from(slot.0) % SLOTS,
            Seat::Director => SLOTS,
        })
    }
}

impl Table {
    /// The entry of this name, which is taken where there is none. None where all are taken.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let hash = hash(name);
        for (at, entry) in self.names.iter().enumerate() {
            let taken = match entry.hash.load(Acquire) {
                // Whoever comes second finds what the first has written.
                0 => entry.hash.compare_exchange(0, hash, AcqRel, Acquire).err(),
                taken => Some(taken),
            };
            if taken.is_none_or(|taken| taken == hash) {
                // Also where it is there already: who was first may have been killed before it wrote it.
                entry.write(name);
                return Some(at);
            }
        }
        None
    }

    /// The names that there are, with their entries. Entries are taken in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = (usize, String)> {
        let taken = self.names.iter().enumerate().take_while(|(_, entry)| entry.hash.load(Acquire) != 0);
        taken.filter_map(|(at, entry)| Some((at, entry.read()?)))
    }

    pub(crate) fn add(&self, stripe: Stripe, entry: usize, count: u64) {
        self.stripes[stripe.0][entry].fetch_add(count, Relaxed);
    }

    pub(crate) fn sum(&self, entry: usize) -> u64 {
        let each = self.stripes.iter().map(|stripe| stripe[entry].load(Relaxed));
        each.fold(0, u64::wrapping_add)
    }
}

impl Name {
    fn write(&self, name: &str) {
        let mut bytes = [0; LONGEST_NAME];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        for (word, piece) in self.text.iter().zip(bytes.chunks_exact(8)) {
            word.store(u64::from_le_bytes(piece.try_into().expect("8 bytes are 8 bytes")), Relaxed);
        }
    }

    /// None where the text is not all there, or was never that of the hash.
    fn read(&self) -> Option<String> {
        let bytes: Vec<u8> = self.text.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let name = String::from_utf8(bytes[..end].to_vec()).ok()?;
        (hash(&name) == self.hash.load(Relaxed)).then_some(name)
    }
}

fn hash(name: &str) -> u64 {
    let mut hash = Fnv::default();
    hash.text(name);
    hash.value().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Slot;
    use crate::sys::page::Mapped;

    #[test]
    fn a_counter_that_somebody_died_over_is_named_by_the_next() {
        let (table, _fd) = Mapped::<Table>::create(c"test").unwrap();
        table.names[0].hash.store(hash("hits"), Relaxed);
        assert_eq!(table.names().count(), 0, "a name that is not there is not shown");
        assert_eq!(table.find("hits"), Some(0));
        assert_eq!(table.names().collect::<Vec<_>>(), [(0, "hits".to_owned())]);
    }

    #[test]
    fn garbage_is_no_name_and_hides_no_other() {
        let (table, _fd) = Mapped::<Table>::create(c"test").unwrap();
        assert_eq!((table.find("a"), table.find("b"), table.find("c")), (Some(0), Some(1), Some(2)));
        table.names[1].text.iter().for_each(|word| word.store(u64::MAX, Relaxed));
        assert_eq!(table.names().map(|(at, _)| at).collect::<Vec<_>>(), [0, 2]);
        table.add(Stripe::of(Seat::Slot(Slot(0))), 2, u64::MAX);
        table.add(Stripe::of(Seat::Slot(Slot(65))), 2, 2);
        assert_eq!(table.sum(2), 1, "sums wrap around");
    }
}
