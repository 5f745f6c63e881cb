//! The user's `on_exit` and `on_event`: each has a queue, and is called for one event at a time, in order.
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::director::finish;
use crate::event::{Event, Exit, warn};
use crate::ipc::handler::Callback;
use crate::ipc::inbox::Inbox;
use crate::ipc::queue::log;

/// So many wait for a callback, beside the one that it is at work on. Further ones are dropped until it has
/// come through half of them: one that is merely slow loses many at once, and not every second.
const MOST_WAITING: usize = 1024;

/// An exit is told when handlers have done with what the worker had sent. A handler that takes longer than this
/// holds up no alert.
const HANDLING: Duration = Duration::from_secs(1);

pub(super) struct Callbacks {
    exits: Vec<Queue<Exit>>,
    events: Vec<Queue<Event>>,
}

/// What comes before a call.
type Before = Shared<BoxFuture<'static, ()>>;

impl Callbacks {
    pub(super) fn start(
        on_exit: Vec<Callback<Exit>>,
        on_event: Vec<Callback<Event>>,
        tasks: &TaskTracker,
    ) -> Self {
        let exits = on_exit.into_iter().map(|callback| Queue::start("on_exit", callback, |_| None, tasks));
        let lost = |count| Some(Event::EventsLost { count });
        let events = on_event.into_iter().map(|callback| Queue::start("on_event", callback, lost, tasks));
        Self { exits: exits.collect(), events: events.collect() }
    }

    pub(super) fn call(&self, event: Event, inbox: &Inbox) {
        let before = match &event {
            Event::WorkerExited(exit) => {
                let before = tokio::time::timeout(HANDLING, inbox.handled()).map(drop).boxed().shared();
                self.exits.iter().for_each(|queue| queue.put(exit.clone(), Some(before.clone())));
                Some(before)
            }
            _ => None,
        };
        self.events.iter().for_each(|queue| queue.put(event.clone(), before.clone()));
    }
}

/// The queue of a callback: the end that is filled.
struct Queue<T> {
    name: &'static str,
    items: mpsc::Sender<Due<T>>,
    /// How many were dropped since the last that there was room for.
    lost: Arc<AtomicU64>,
}

/// Something to call a callback for.
struct Due<T> {
    item: T,
    before: Option<Before>,
    /// So many were dropped between the one before and this.
    lost: u64,
}

impl<T: Send + 'static> Queue<T> {
    /// A drain waits until the queue is worked through. `gap` is what the callback itself is told of those that
    /// were dropped.
    fn start(
        name: &'static str,
        callback: Callback<T>,
        gap: fn(u64) -> Option<T>,
        tasks: &TaskTracker,
    ) -> Self {
        let (items, queue) = mpsc::channel(MOST_WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        tasks.spawn(Calls { name, callback, gap }.work_through(queue, lost.clone()));
        Self { name, items, lost }
    }

    fn put(&self, item: T, before: Option<Before>) {
        let lost = self.lost.load(Ordering::Acquire);
        let room = if lost == 0 { 1 } else { MOST_WAITING / 2 };
        if self.items.capacity() < room {
            self.lost.store(lost + 1, Ordering::Release);
            if is_told(lost + 1) {
                let (name, lost) = (self.name, lost + 1);
                warn(&format!(
                    "{name} does not return, and {MOST_WAITING} calls wait for it; more are dropped, {lost} so far"
                ));
            }
            return;
        }
        self.lost.store(0, Ordering::Release);
        // There is room, because nobody else fills it.
        let _ = self.items.try_send(Due { item, before, lost });
    }
}

/// The first, the tenth, the hundredth, and so on.
fn is_told(count: u64) -> bool {
    count.checked_ilog10().is_some_and(|power| count == 10_u64.pow(power))
}

/// The end of a queue that is worked through.
struct Calls<T> {
    name: &'static str,
    callback: Callback<T>,
    gap: fn(u64) -> Option<T>,
}

impl<T: Send + 'static> Calls<T> {
    async fn work_through(self, mut queue: mpsc::Receiver<Due<T>>, lost: Arc<AtomicU64>) {
        while let Some(due) = queue.recv().await {
            self.tell_gap(due.lost).await;
            if let Some(before) = due.before {
                before.await;
            }
            self.call(due.item).await;
        }
        // Those that nothing came after.
        self.tell_gap(lost.load(Ordering::Acquire)).await;
    }

    async fn tell_gap(&self, lost: u64) {
        if lost == 0 {
            return;
        }
        warn(&format!("{} has returned; {lost} calls were dropped meanwhile", self.name));
        if let Some(item) = (self.gap)(lost) {
            self.call(item).await;
        }
    }

    async fn call(&self, item: T) {
        let called = AssertUnwindSafe(async { finish((self.callback)(item)).await }).catch_unwind().await;
        log(called, || self.name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::ipc::handler::{Called, callback};

    /// A callback that notes what it is called for, and returns when it is let.
    struct Slow<T> {
        queue: Queue<T>,
        heard: Arc<Mutex<Vec<T>>>,
        permits: Arc<Semaphore>,
        tasks: TaskTracker,
    }

    impl<T: Clone + Send + 'static> Slow<T> {
        fn start(gap: fn(u64) -> Option<T>) -> Self {
            let (heard, permits) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
            let (notes, lets) = (heard.clone(), permits.clone());
            let callback: Callback<T> = callback(move |item: T| {
                notes.lock().unwrap().push(item);
                let lets = lets.clone();
                async move { lets.acquire().await.unwrap().forget() }
            });
            let tasks = TaskTracker::new();
            Self { queue: Queue::start("on_test", callback, gap, &tasks), heard, permits, tasks }
        }

        /// It returns so many times, and is called as often.
        async fn returns(&self, times: usize) {
            let before = self.heard.lock().unwrap().len();
            self.permits.add_permits(times);
            while self.heard.lock().unwrap().len() < before + times {
                tokio::task::yield_now().await;
            }
        }

        /// All that it was called for, to the end.
        async fn heard(self) -> Vec<T> {
            drop(self.queue);
            self.permits.add_permits(100_000);
            self.tasks.close();
            self.tasks.wait().await;
            std::mem::take(&mut self.heard.lock().unwrap())
        }
    }

    #[tokio::test]
    async fn what_waits_for_a_callback_that_does_not_return_is_bounded_and_the_gap_is_told_in_its_place() {
        let slow = Slow::start(|count| Some(format!("{count} lost")));
        let put = |range: std::ops::Range<usize>| range.for_each(|nth| slow.queue.put(nth.to_string(), None));
        put(0..1);
        while slow.heard.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        // It is at work on the first.
        put(1..3000);
        let waiting = slow.queue.items.max_capacity() - slow.queue.items.capacity();
        assert_eq!((waiting, slow.queue.lost.load(Ordering::Acquire)), (1024, 1975));
        // A little room is none; half of it is.
        slow.returns(511).await;
        put(3000..3001);
        assert_eq!(slow.queue.lost.load(Ordering::Acquire), 1976);
        slow.returns(1).await;
        put(3001..3003);
        let numbers = |range: std::ops::Range<usize>| range.map(|nth| nth.to_string());
        let expected = numbers(0..1025).chain(["1976 lost".to_owned()]).chain(numbers(3001..3003));
        assert_eq!(slow.heard().await, expected.collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_gap_that_nothing_comes_after_is_told_at_the_end() {
        let slow = Slow::start(|count| Some(Event::EventsLost { count }));
        (0..1030).for_each(|_| slow.queue.put(Event::OomGroup, None));
        let heard = slow.heard().await;
        assert_eq!((heard.len(), heard.last()), (1025, Some(&Event::EventsLost { count: 6 })));
    }

    #[tokio::test]
    async fn exits_come_in_order_and_a_gap_is_none() {
        let slow = Slow::start(|_| None);
        (0..2000).for_each(|nth| slow.queue.put(nth, None));
        assert_eq!(slow.heard().await, (0..1024).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_callback_that_panics_is_called_again() {
        let heard = Arc::new(AtomicU64::new(0));
        let count = heard.clone();
        let panics: Callback<u8> = Box::new(move |_| -> Called {
            count.fetch_add(1, Ordering::AcqRel);
            panic!("the test panics here, as it should")
        });
        let tasks = TaskTracker::new();
        let queue = Queue::start("on_test", panics, |_| None, &tasks);
        (0..3).for_each(|nth| queue.put(nth, None));
        drop(queue);
        tasks.close();
        tasks.wait().await;
        assert_eq!(heard.load(Ordering::Acquire), 3);
    }

    #[test]
    fn drops_are_told_at_powers_of_ten() {
        assert_eq!((0..=1000).filter(|count| is_told(*count)).collect::<Vec<_>>(), [1, 10, 100, 1000]);
    }
}
