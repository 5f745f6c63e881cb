//! A handler's queue: filled one by one and emptied a batch at a time, so that an entry costs little more than its
//! place. Not bounded by itself: the senders' windows are.
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Room for more entries than this is not kept.
const MOST_KEPT: usize = 1024;

/// A new queue. A drain, which waits for `tasks`, waits for what is in it and for the batch that was taken last.
pub(crate) fn batches<T>(tasks: TaskTracker) -> (Filling<T>, Batches<T>) {
    let state = State { entries: VecDeque::new(), waits: None, at_work: None, ended: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), closed: AtomicBool::new(false) });
    (Filling { shared: shared.clone(), tasks }, Batches { shared, batch: VecDeque::new() })
}

/// The end that is filled.
pub(crate) struct Filling<T> {
    shared: Arc<Shared<T>>,
    tasks: TaskTracker,
}

/// The end that is emptied.
pub(crate) struct Batches<T> {
    shared: Arc<Shared<T>>,
    batch: VecDeque<T>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Nobody empties it any more.
    closed: AtomicBool,
}

struct State<T> {
    entries: VecDeque<T>,
    /// Who empties it, where it waits for an entry.
    waits: Option<Waker>,
    /// From the first entry until the last one of a batch is done with. One for all: for each it would cost as much
    /// as all else that is done here.
    at_work: Option<TaskTrackerToken>,
    /// Nobody fills it any more.
    ended: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Filling<T> {
    /// Queues an entry. Gives it back where nobody empties the queue any more.
    pub(crate) fn push(&self, entry: T) -> Result<(), T> {
        let mut state = self.shared.lock();
        // With the lock: what is pushed after the other end was dropped would stay for ever.
        if self.is_closed() {
            return Err(entry);
        }
        state.at_work.get_or_insert_with(|| self.tasks.token());
        state.entries.push_back(entry);
        let waits = state.waits.take();
        drop(state);
        if let Some(waker) = waits {
            waker.wake();
        }
        Ok(())
    }

    /// Nobody empties it any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }
}

impl<T> Drop for Filling<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ended = true;
        let waits = state.waits.take();
        drop(state);
        if let Some(waker) = waits {
            waker.wake();
        }
    }
}

impl<T> Batches<T> {
    /// All that is there, in order, when the batch before is done with. What is left of that one is lost. `None` where
    /// nothing more will come.
    pub(crate) async fn next(&mut self) -> Option<&mut VecDeque<T>> {
        self.batch.clear();
        if self.batch.capacity() > MOST_KEPT {
            self.batch = VecDeque::new();
        }
        poll_fn(|cx| self.poll_filled(cx)).await.then_some(&mut self.batch)
    }

    /// Whether there is a batch.
    fn poll_filled(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.shared.lock();
        if !state.entries.is_empty() {
            std::mem::swap(&mut state.entries, &mut self.batch);
            return Poll::Ready(true);
        }
        let done = state.at_work.take();
        let poll = if state.ended {
            Poll::Ready(false)
        } else {
            state.waits = Some(cx.waker().clone());
            Poll::Pending
        };
        drop(state);
        // Without the lock: it may be what a drain waits for.
        drop(done);
        poll
    }

    /// The next entry, if there is one.
    #[cfg(test)]
    pub(crate) fn try_next(&mut self) -> Option<T> {
        self.batch.pop_front().or_else(|| self.shared.lock().entries.pop_front())
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.batch.len() + self.shared.lock().entries.len()
    }
}

impl<T> Drop for Batches<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        self.shared.closed.store(true, Ordering::Release);
        let left = (std::mem::take(&mut state.entries), state.at_work.take());
        drop(state);
        // Without the lock: whoever sent them is told that there is room again.
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn all(batches: &mut Batches<u32>) -> Option<Vec<u32>> {
        batches
            .next()
            .now_or_never()
            .map(|batch| batch.map(|batch| batch.drain(..).collect()).unwrap_or_default())
    }

    #[test]
    fn a_batch_is_all_that_has_come_in_order() {
        let (filling, mut batches) = batches(TaskTracker::new());
        assert_eq!(all(&mut batches), None);
        (0..5).for_each(|n| filling.push(n).unwrap());
        assert_eq!(all(&mut batches), Some(vec![0, 1, 2, 3, 4]));
        filling.push(5).unwrap();
        drop(filling);
        assert_eq!(all(&mut batches), Some(vec![5]), "what came before the end");
        assert_eq!(all(&mut batches), Some(vec![]), "the end");
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_an_entry_and_by_the_end() {
        let (filling, mut batches) = batches(TaskTracker::new());
        let reads = tokio::spawn(async move {
            let mut read = Vec::new();
            while let Some(batch) = batches.next().await {
                read.extend(batch.drain(..));
            }
            read
        });
        for n in 0..3 {
            tokio::task::yield_now().await;
            filling.push(n).unwrap();
        }
        tokio::task::yield_now().await;
        drop(filling);
        assert_eq!(reads.await.unwrap(), [0, 1, 2]);
    }

    #[test]
    fn a_drain_waits_for_the_batch_that_was_taken() {
        let tasks = TaskTracker::new();
        let (filling, mut batches) = batches(tasks.clone());
        assert!(tasks.is_empty());
        filling.push(1).unwrap();
        assert!(!tasks.is_empty(), "it is queued");
        assert_eq!(all(&mut batches), Some(vec![1]));
        assert!(!tasks.is_empty(), "it is at work");
        assert_eq!(all(&mut batches), None);
        assert!(tasks.is_empty(), "it is done with");
    }

    #[test]
    fn what_nobody_empties_is_given_back_and_keeps_no_drain() {
        let tasks = TaskTracker::new();
        let (filling, batches) = batches(tasks.clone());
        let one = Arc::new(());
        filling.push(one.clone()).unwrap();
        drop(batches);
        assert!(filling.is_closed() && tasks.is_empty());
        assert_eq!(Arc::strong_count(&one), 1, "what was in it is dropped");
        assert!(filling.push(one).is_err());
    }

    #[test]
    fn the_room_of_a_flood_is_not_kept() {
        let (filling, mut batches) = batches(TaskTracker::new());
        (0..10_000).for_each(|n| filling.push(n).unwrap());
        assert_eq!(all(&mut batches).map(|batch| batch.len()), Some(10_000));
        assert_eq!(all(&mut batches), None);
        assert!(batches.batch.capacity() <= MOST_KEPT);
    }
}
