//! What is counted, told to the director: only what has changed since it was told last.
use std::collections::BTreeMap;

use crate::event::{ListenerStatus, WorkerCounts};
use crate::id::WorkerId;
use crate::ipc::control::ToDirector;

/// The counts of so many workers fit into one word, whatever they are.
const PER_WORD: usize = 400;

/// What the director was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    workers: BTreeMap<WorkerId, WorkerCounts>,
    listeners: Vec<ListenerStatus>,
}

impl Told {
    /// Tells what is new of the workers: `tell` answers whether there was room for a word. What there was none for is
    /// new the next time as well.
    pub(crate) fn tell_counts(
        &mut self,
        workers: BTreeMap<WorkerId, WorkerCounts>,
        mut tell: impl FnMut(&ToDirector) -> bool,
    ) {
        self.workers.retain(|known, _| workers.contains_key(known));
        let is_new = |(id, counts): &(WorkerId, WorkerCounts)| {
            self.workers.get(id).copied().unwrap_or_default() != *counts
        };
        let changed: Vec<_> = workers.into_iter().filter(is_new).collect();
        for some in changed.chunks(PER_WORD) {
            if !tell(&ToDirector::Counts(some.to_vec())) {
                return;
            }
            self.workers.extend(some.iter().copied());
        }
    }

    /// Tells what is new of the listeners, as above.
    pub(crate) fn tell_listeners(
        &mut self,
        listeners: impl IntoIterator<Item = ListenerStatus>,
        mut tell: impl FnMut(&ToDirector) -> bool,
    ) {
        // There are no more than a packet has descriptors for.
        for (number, listener) in (0_u16..).zip(listeners) {
            let known = self.listeners.get(usize::from(number));
            if known == Some(&listener) {
                continue;
            }
            if !tell(&ToDirector::Listener { number, listener: listener.clone() }) {
                return;
            }
            match self.listeners.get_mut(usize::from(number)) {
                Some(known) => *known = listener,
                None => self.listeners.push(listener),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scheduling;
    use crate::event::{ConnectionCounts, Status};
    use crate::ipc::codec;

    fn counts(open: u64) -> WorkerCounts {
        let connections = ConnectionCounts { open, total: 9, ..ConnectionCounts::default() };
        WorkerCounts { connections, private_memory: Some(1 << 20) }
    }

    fn listener(queued: u32) -> ListenerStatus {
        let (address, scheduling) = ("127.0.0.1:3000".to_owned(), Scheduling::Shared);
        ListenerStatus { address, scheduling, queued: Some(queued), backlog: Some(4096), refused: 0 }
    }

    fn say(told: &mut Told, workers: &[(u64, u64)], queued: &[u32], room: usize) -> Vec<ToDirector> {
        let workers = workers.iter().map(|(id, open)| (WorkerId(*id), counts(*open))).collect();
        let mut words = Vec::new();
        let mut tell = |word: &ToDirector| {
            let fits = words.len() < room;
            fits.then(|| words.push(word.clone()));
            fits
        };
        told.tell_listeners(queued.iter().copied().map(listener), &mut tell);
        told.tell_counts(workers, tell);
        words
    }

    #[test]
    fn only_what_has_changed_is_told() {
        let mut told = Told::default();
        assert_eq!(say(&mut told, &[(1, 1), (2, 2)], &[0, 0], 9).len(), 3);
        assert_eq!(say(&mut told, &[(1, 1), (2, 2)], &[0, 0], 9).len(), 0);
        let words = say(&mut told, &[(1, 1), (2, 3)], &[0, 0], 9);
        assert!(matches!(&words[..], [ToDirector::Counts(some)] if some[..] == [(WorkerId(2), counts(3))]));
        let words = say(&mut told, &[(2, 3)], &[0, 5], 9);
        assert!(matches!(&words[..], [ToDirector::Listener { number: 1, .. }]));
    }

    #[test]
    fn what_there_was_no_room_for_is_told_later() {
        let mut told = Told::default();
        assert_eq!(say(&mut told, &[(1, 1)], &[0, 0], 1).len(), 1);
        let words = say(&mut told, &[(1, 1)], &[0, 0], 9);
        assert!(matches!(
            &words[..],
            [ToDirector::Counts(_), ToDirector::Listener { number: 1, .. }]
                | [ToDirector::Listener { number: 1, .. }, ToDirector::Counts(_)]
        ));
    }

    #[test]
    fn the_largest_counts_of_the_largest_cluster_fit_into_their_words() {
        let most = u64::MAX;
        let connections = ConnectionCounts {
            open: most,
            total: most,
            offered: most,
            claimed: most,
            revoked: most,
            rings: most,
        };
        let largest = WorkerCounts { connections, private_memory: Some(most) };
        let all: BTreeMap<_, _> = (0..70_000).map(|nth| (WorkerId(most - nth), largest)).collect();
        let mut status = Status::default();
        let mut told = Told::default();
        let mut counted = 0;
        told.tell_counts(all, |word| {
            let ToDirector::Counts(some) = word else { panic!("{word:?}") };
            let mut bytes = vec![0; codec::MAX_ENCODED];
            let bytes = codec::encode(word, &mut bytes).expect("it fits");
            assert!(codec::decode::<ToDirector>(bytes).is_ok());
            counted += some.len();
            status.count(some.iter().copied());
            true
        });
        assert_eq!(counted, 70_000);
    }
}
