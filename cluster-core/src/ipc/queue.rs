//! A handler's queue, and how it is worked through: one message at a time.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures::FutureExt;
use tokio::task::coop::consume_budget;

use crate::ipc::batches::{Batches, Filling, batches};
use crate::ipc::codec;
use crate::ipc::endpoint::Endpoint;
use crate::ipc::frame::Address;
use crate::ipc::handler::{Called, Handler};
use crate::ipc::inbox::{Delivered, Mark, Receiver};
use crate::ipc::letter::{Arriving, Letter};
use crate::ipc::message::Message;
use crate::ipc::shape::{self, Unsupported};
use crate::ipc::ticket::Ticket;

/// A message in a queue. Its sender's window has room again when it is dropped.
struct Item<T> {
    from: Address,
    message: T,
    _ticket: Ticket,
}

/// What stands in a queue.
enum Entry<T> {
    Message(Item<T>),
    Mark {
        mark: Mark,
        /// Counts those that wait.
        _one: Arc<()>,
    },
}

/// So many marks wait for a handler at the most: one that never returns comes to none of them.
const MOST_MARKS: usize = 1024;

/// The end that is filled.
struct Queue<T> {
    entries: Filling<Entry<T>>,
    /// As many others have it as marks are in the queue.
    marks: Arc<()>,
}

impl<T: Message> Receiver for Queue<T> {
    fn deliver(&self, arriving: &mut Arriving<'_>) -> Result<Delivered, String> {
        let message = codec::decode_message(arriving.body()).map_err(|err| err.to_string())?;
        let (from, ticket) = (arriving.from, arriving.take_ticket());
        match self.entries.push(Entry::Message(Item { from, message, _ticket: ticket })) {
            Ok(()) => Ok(Delivered::Handled),
            Err(_) => Ok(Delivered::Closed),
        }
    }

    /// What it has may be younger, and be handled already.
    fn take_over(&self, _: &[Arc<Letter>]) -> bool {
        false
    }

    fn mark(&self, mark: Mark) {
        // A handler that has not come to so many will not: nobody waits for the next.
        if Arc::strong_count(&self.marks) <= MOST_MARKS {
            let _ = self.entries.push(Entry::Mark { mark, _one: self.marks.clone() });
        }
    }

    fn is_stream(&self) -> bool {
        false
    }

    fn is_closed(&self) -> bool {
        self.entries.is_closed()
    }
}

/// Has a handler called for every message of its type; `sender` names who sent it as the handler wants it.
pub(crate) fn handle<F, A, H>(
    endpoint: &Endpoint,
    handler: H,
    sender: impl Fn(Address) -> F + Send + Sync + 'static,
) -> Result<(), Unsupported>
where
    F: Send + 'static,
    A: 'static,
    H: Handler<F, A>,
{
    let key = shape::key_of::<H::Message>()?;
    let (entries, queue) = batches(endpoint.inbox().tasks().clone());
    endpoint.inbox().listen(endpoint, key, Arc::new(Queue { entries, marks: Arc::default() }));
    endpoint.inbox().run(work_through(queue, handler, sender, &key.name).boxed());
    Ok(())
}

/// Whether the messages of a handler can be carried.
pub(crate) fn supports<F, A, H: Handler<F, A>>(_: &H) -> Result<(), Unsupported> {
    shape::key_of::<H::Message>().map(drop)
}

/// In order, one at a time. A panic ends the call and not the handler.
async fn work_through<F, A, H: Handler<F, A>>(
    mut queue: Batches<Entry<H::Message>>,
    handler: H,
    sender: impl Fn(Address) -> F,
    type_name: &'static str,
) {
    while let Some(batch) = queue.next().await {
        while let Some(entry) = batch.pop_front() {
            // As with all of Tokio's: a queue that is never empty lets other tasks have a turn.
            consume_budget().await;
            let Item { from, message, _ticket } = match entry {
                Entry::Message(item) => item,
                Entry::Mark { mark, _one } => {
                    drop(mark);
                    continue;
                }
            };
            let called = catch_unwind(AssertUnwindSafe(|| handler.call(|| sender(from), message)));
            let outcome = match called {
                Ok(Called::Done(outcome)) => Ok(outcome),
                Ok(Called::Later(outcome)) => AssertUnwindSafe(outcome).catch_unwind().await,
                Err(panic) => Err(panic),
            };
            log(outcome, || format!("the handler of {type_name} messages"));
        }
    }
}

/// Says that a callback failed; that ends nothing.
pub(crate) fn log(outcome: std::thread::Result<Result<(), String>>, who: impl Fn() -> String) {
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(err)) => crate::event::warn(&format!("{} failed: {err}", who())),
        Err(panic) => {
            let said = crate::error::panic_text(panic.as_ref());
            crate::event::warn(&format!("{} {said}", who()));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio_util::task::TaskTracker;

    use super::*;

    #[test]
    fn a_handler_that_never_returns_keeps_a_bounded_number_of_marks() {
        let (filling, mut entries) = batches(TaskTracker::new());
        let queue = Queue::<u8> { entries: filling, marks: Arc::default() };
        let (mark, mut marks) = mpsc::channel(1);
        (0..3 * MOST_MARKS).for_each(|_| queue.mark(mark.clone()));
        assert_eq!(entries.len(), MOST_MARKS);
        // One that it has come to makes room for another.
        drop(entries.try_next().unwrap());
        (0..2).for_each(|_| queue.mark(mark.clone()));
        assert_eq!(entries.len(), MOST_MARKS);
        drop((mark, queue, entries));
        assert_eq!(marks.recv().now_or_never(), Some(None), "nobody is waited for any more");
    }
}
