//! Messages as a stream: what waits in it, and what becomes of that when it is dropped.
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use futures::Stream;
use tokio::task::coop::poll_proceed;

use crate::ipc::endpoint::Endpoint;
use crate::ipc::frame::Address;
use crate::ipc::inbox::{Delivered, Mark, Receiver};
use crate::ipc::letter::{Arriving, Letter};
use crate::ipc::listeners::undelivered;
use crate::ipc::message::Message;
use crate::ipc::shape::{self, Key, Unsupported};
use crate::peer::Peer;

/// Messages of one type, as they come; see [`Worker::messages`](crate::Worker::messages).
///
/// It ends in a drain, after the last message that was on the way when the drain began. A message that is
/// not taken out keeps room in its sender's window.
///
/// Dropped, it loses nothing that it alone had and that was not taken out: that waits, in its order and before
/// all that comes, for who listens next, as messages before a first handler do (1,024 or 1 MiB; beyond, it is an
/// [`Event::Undelivered`](crate::Event::Undelivered)). So a stream may be made for a single message, and `next()`
/// may lose a `select!`. Where somebody else listens already, who began after it had come: a stream that has
/// not given anything yet gets it at once; others may have heard what was said later, and it is an
/// `Event::Undelivered`, too.
///
/// # Example
/// ```no_run
/// use futures::StreamExt;
///
/// # async fn program(worker: cluster_core::Worker) {
/// let mut texts = worker.messages::<String>().with_sender();
/// while let Some((from, text)) = texts.next().await {
///     println!("{:?} says {text}", from.worker);
/// }
/// # }
/// ```
#[must_use = "a stream does nothing unless polled"]
pub struct MessageStream<T> {
    queue: Arc<Queue>,
    key: &'static Key,
    endpoint: Endpoint,
    /// Values are made as they are taken out.
    values: PhantomData<fn() -> T>,
}

/// A [`MessageStream`] that says who sent each message.
///
/// # Example
/// ```no_run
/// use cluster_core::{Peer, WithSender};
/// use futures::StreamExt;
///
/// async fn first(texts: &mut WithSender<String>) -> Option<(Peer, String)> {
///     texts.next().await
/// }
/// ```
#[must_use = "a stream does nothing unless polled"]
#[derive(Debug)]
pub struct WithSender<T>(MessageStream<T>);

impl<T: Message> MessageStream<T> {
    pub(crate) fn open(endpoint: &Endpoint) -> Result<Self, Unsupported> {
        let key = shape::key_of::<T>()?;
        let queue = Arc::new(Queue::default());
        endpoint.inbox().listen(endpoint, key, Arc::new(Filling(queue.clone())));
        Ok(Self { queue, key, endpoint: endpoint.clone(), values: PhantomData })
    }

    /// The same messages, each with its sender.
    ///
    /// # Example
    /// ```no_run
    /// let with_sender = cluster_core::worker().messages::<String>().with_sender();
    /// ```
    pub fn with_sender(self) -> WithSender<T> {
        WithSender(self)
    }

    fn poll_message(&self, cx: &mut Context<'_>) -> Poll<Option<(Address, T)>> {
        loop {
            // As with all of Tokio's: a stream that is never empty lets other tasks have a turn.
            let turn = ready!(poll_proceed(cx));
            let next = ready!(self.queue.poll_next(cx));
            turn.made_progress();
            let Some(letter) = next else { return Poll::Ready(None) };
            match letter.read() {
                Ok(message) => return Poll::Ready(Some((letter.from, message))),
                Err(why) => self.report(&letter, why),
            }
        }
    }

    fn report(&self, letter: &Letter, why: Option<String>) {
        if let Some(why) = why {
            let size = letter.body.len() as u64;
            self.endpoint.report(undelivered(letter.from, &self.key.name, size, why));
        }
    }
}

impl<T> Drop for MessageStream<T> {
    fn drop(&mut self) {
        self.endpoint.inbox().give_up(&self.endpoint, self.key, &self.queue);
    }
}

impl<T: Message> Stream for MessageStream<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll_message(cx).map(|next| next.map(|(_, message)| message))
    }
}

impl<T: Message> Stream for WithSender<T> {
    type Item = (Peer, T);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<(Peer, T)>> {
        let next = ready!(self.0.poll_message(cx));
        Poll::Ready(next.map(|(from, message)| (Peer::of(&self.0.endpoint, from), message)))
    }
}

impl<T> std::fmt::Debug for MessageStream<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MessageStream")
    }
}

/// What stands in a stream. Not bounded by itself: the senders' windows are.
#[derive(Default)]
pub(crate) struct Queue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    letters: VecDeque<Arc<Letter>>,
    reader: Option<Waker>,
    /// Something has been taken out: what is older would come out of order.
    begun: bool,
    /// Nothing more comes.
    ended: bool,
    /// The stream is dropped.
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Arc<Letter>>> {
        let mut waiting = self.lock();
        if let Some(letter) = waiting.letters.pop_front() {
            waiting.begun = true;
            return Poll::Ready(Some(letter));
        }
        if waiting.ended {
            return Poll::Ready(None);
        }
        waiting.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Changes what waits, if anybody will look at it, and wakes the reader. Answers whether it was changed.
    fn change(&self, change: impl FnOnce(&mut Waiting) -> bool) -> bool {
        let mut waiting = self.lock();
        let changed = !waiting.closed && change(&mut waiting);
        let reader = waiting.reader.take_if(|_| changed);
        drop(waiting);
        // Without the lock: whoever is woken may look at once.
        reader.into_iter().for_each(Waker::wake);
        changed
    }

    /// The stream is dropped: takes nothing from now on, and answers with those letters that nobody else has.
    pub(crate) fn close(&self) -> Vec<Letter> {
        let mut waiting = self.lock();
        waiting.closed = true;
        let letters = std::mem::take(&mut waiting.letters);
        drop(waiting);
        letters.into_iter().filter_map(Arc::into_inner).collect()
    }
}

/// The end of a stream that is filled. Dropped, nothing more comes.
struct Filling(Arc<Queue>);

impl Receiver for Filling {
    /// What cannot be read is found out where it is taken out: until then it can be given back.
    fn deliver(&self, arriving: &mut Arriving<'_>) -> Result<Delivered, String> {
        let letter = arriving.letter();
        let taken = self.0.change(|waiting| {
            waiting.letters.push_back(letter);
            true
        });
        Ok(if taken { Delivered::Waits } else { Delivered::Closed })
    }

    fn take_over(&self, older: &[Arc<Letter>]) -> bool {
        self.0.change(|waiting| {
            if !waiting.begun {
                older.iter().rev().for_each(|letter| waiting.letters.push_front(letter.clone()));
            }
            !waiting.begun
        })
    }

    /// A stream may never be read: nobody waits for it.
    fn mark(&self, _: Mark) {}

    fn is_stream(&self) -> bool {
        true
    }

    fn is_closed(&self) -> bool {
        self.0.lock().closed
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.0.change(|waiting| {
            waiting.ended = true;
            true
        });
    }
}
