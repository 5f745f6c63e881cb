//! How the cluster stands, told to the director in as many words as it takes.
use crate::event::Status;
use crate::ipc::control::ToDirector;

/// So many workers fit into one word, whatever their numbers are. What they count is told apart (`counters.rs`).
const PER_WORD: usize = 350;

/// The words that tell it: one, unless the workers are very many.
pub(crate) fn words(status: Status) -> impl Iterator<Item = ToDirector> {
    let Status { generation, slots, stopping, workers, listeners: _ } = status;
    let total = workers.len();
    // One also where there are none.
    let starts = (0..total.max(1)).step_by(PER_WORD);
    starts.map(move |first| {
        let piece = &workers[first..total.min(first + PER_WORD)];
        let (workers, listeners) = (piece.to_vec(), Vec::new());
        let status = Status { generation, slots, stopping, workers, listeners };
        ToDirector::Snapshot { status, first: first as u32, total: total as u32 }
    })
}

/// Puts the words together again.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    /// What there is of one that is not whole.
    part: Option<Status>,
}

impl Picture {
    /// One more word; answers with the picture where that was the last of it. The end of one whose beginning a
    /// predecessor had is of no use: a whole one follows.
    pub(crate) fn add(&mut self, status: Status, first: u32, total: u32) -> Option<Status> {
        let whole = match (first, self.part.take()) {
            (0, _) => status,
            (first, Some(mut part)) if part.workers.len() == first as usize => {
                part.workers.extend(status.workers);
                part
            }
            (_, Some(_) | None) => return None,
        };
        if whole.workers.len() >= total as usize {
            return Some(whole);
        }
        self.part = Some(whole);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ConnectionCounts, WorkerState, WorkerStatus};
    use crate::id::{Slot, WorkerId};
    use crate::ipc::frame::{self, Address, Head, Kind, MAX_FRAME};
    use crate::ipc::{codec, notice};

    /// With numbers that take as much room as they can.
    fn status(workers: u64) -> Status {
        let worker = |nth| WorkerStatus {
            id: WorkerId(u64::MAX - workers + nth),
            slot: Slot(u16::MAX),
            pid: u32::MAX,
            generation: u64::MAX,
            state: WorkerState::Draining,
            connections: ConnectionCounts::default(),
            private_memory: Some(u64::MAX),
        };
        let workers = (0..workers).map(worker).collect();
        Status { generation: u64::MAX, slots: u16::MAX, workers, ..Status::default() }
    }

    /// A word as it arrives.
    fn travel(word: &ToDirector) -> (Status, u32, u32) {
        let mut bytes = Vec::new();
        let head = Head::system(Kind::Word, Address::Exchange, Address::Director);
        notice::write(&mut bytes, &head, word);
        let frame = frame::read(&bytes).unwrap().expect("it was not too long to be written");
        assert!(frame.bytes.len() <= MAX_FRAME);
        match codec::decode(frame.body).unwrap() {
            ToDirector::Snapshot { status, first, total } => (status, first, total),
            other => panic!("{other:?}"),
        }
    }

    fn put_together(picture: &mut Picture, words: impl Iterator<Item = ToDirector>) -> Vec<Status> {
        let words = words.map(|word| travel(&word));
        words.filter_map(|(status, first, total)| picture.add(status, first, total)).collect()
    }

    #[test]
    fn the_picture_of_the_largest_cluster_arrives_whole() {
        // As many as can be configured, each beside one that drains.
        let largest = 2 * u64::from(u16::MAX);
        for workers in [0, 1, 349, 350, 351, 700, largest] {
            let whole = put_together(&mut Picture::default(), words(status(workers)));
            assert!(whole == [status(workers)], "{workers} workers");
        }
    }

    #[test]
    fn a_usual_picture_is_one_word() {
        assert_eq!((words(status(0)).count(), words(status(64)).count()), (1, 1));
    }

    #[test]
    fn what_is_left_of_another_picture_is_passed_over() {
        let mut picture = Picture::default();
        let left = words(status(3000)).skip(1);
        assert!(put_together(&mut picture, left).is_empty(), "its beginning is missing");
        let begun = words(status(2500)).take(1);
        let gap = words(status(3000)).skip(2);
        assert!(put_together(&mut picture, begun.chain(gap)).is_empty());
        let begun = words(status(2500)).take(2);
        assert!(put_together(&mut picture, begun.chain(words(status(1500)))) == [status(1500)]);
    }
}
