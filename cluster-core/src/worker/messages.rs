//! What a worker says and hears.
use std::fmt::Display;
use std::future::Future;
use std::sync::{Mutex, PoisonError};

use crate::ipc::error::SendError;
use crate::ipc::frame::Address;
use crate::ipc::handler::Handler;
use crate::ipc::message::{Ask, Message};
use crate::ipc::queue;
use crate::ipc::request::{self, Asking};
use crate::ipc::sending::{self, Broadcasting, Sending};
use crate::ipc::stream::MessageStream;
use crate::peer::{Peer, To};
use crate::worker::{Worker, try_worker};

impl Worker {
    /// Sends a message to the primary's side; Node's `process.send`. It is on its way from the call on, where
    /// there is room; awaiting waits for room, and so keeps pace with the receiver.
    ///
    /// # Errors
    /// [`SendError`]: the builder has no primary-side code, the message is too long or of a type that cannot be
    /// carried, the primary is gone.
    ///
    /// # Example
    /// ```no_run
    /// use cluster_core::Worker;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Uploaded {
    ///     name: String,
    ///     bytes: u64,
    /// }
    ///
    /// # async fn handler(worker: Worker) -> Result<(), cluster_core::SendError> {
    /// worker.send(&Uploaded { name: "cat.jpg".into(), bytes: 1 << 20 }).await
    /// # }
    /// ```
    pub fn send<T: Message>(&self, message: &T) -> Sending {
        self.send_to(To::Primary, message)
    }

    /// Sends a message to the primary's side if there is room now.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::Full`] where that would wait.
    ///
    /// # Example
    /// ```no_run
    /// # let worker = cluster_core::worker();
    /// if worker.try_send(&"a sample".to_string()).is_err() {
    ///     // a lost sample is no loss
    /// }
    /// ```
    pub fn try_send<T: Message>(&self, message: &T) -> Result<(), SendError> {
        sending::try_send(self.endpoint(), Address::Director, message)
    }

    /// Sends a message to somebody: [`To`], a [`Slot`](crate::Slot) or a [`WorkerId`](crate::WorkerId).
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::PeerGone`] for a worker that has ended and a slot that will
    /// have no worker.
    ///
    /// # Example
    /// ```no_run
    /// # use cluster_core::{SendError, Slot, To};
    /// # async fn handler() -> Result<(), SendError> {
    /// let worker = cluster_core::worker();
    /// worker.send_to(Slot(0), &"to the worker of slot 0".to_string()).await?;
    /// worker.send_to(To::Everyone, &"to all workers, this one too".to_string()).await?;
    /// # Ok(()) }
    /// ```
    pub fn send_to<T: Message>(&self, to: impl Into<To>, message: &T) -> Sending {
        Sending::send(self.endpoint(), to.into().into(), message)
    }

    /// Sends a message to somebody if there is room now.
    ///
    /// # Errors
    /// As [`send_to`](Self::send_to), and [`SendError::Full`] where that would wait: also for a slot or a worker
    /// before the program has first awaited something, because until then it has not heard who there is.
    ///
    /// # Example
    /// ```no_run
    /// # use cluster_core::Slot;
    /// # let worker = cluster_core::worker();
    /// if worker.try_send_to(Slot(1), &"a hint".to_string()).is_err() {
    ///     // it has enough to do
    /// }
    /// ```
    pub fn try_send_to<T: Message>(&self, to: impl Into<To>, message: &T) -> Result<(), SendError> {
        sending::try_send(self.endpoint(), to.into().into(), message)
    }

    /// Sends a message to all other workers, encoded once. A worker that has not taken earlier ones and has
    /// no room is missed, and keeps nobody waiting.
    ///
    /// # Errors
    /// [`SendError`]: the message is too long or of a type that cannot be carried, the primary is gone.
    ///
    /// # Example
    /// ```no_run
    /// # async fn handler() -> Result<(), cluster_core::SendError> {
    /// let delivery = cluster_core::worker().broadcast(&"forget what is cached".to_string()).await?;
    /// assert_eq!(delivery.missed, 0);
    /// # Ok(()) }
    /// ```
    pub fn broadcast<T: Message>(&self, message: &T) -> Broadcasting {
        Broadcasting::send(self.endpoint(), Address::Others, message)
    }

    /// Asks somebody a question and waits for the answer, 10 s unless
    /// [`timeout`](crate::Asking::timeout) says otherwise.
    ///
    /// # Errors
    /// [`AskError`](crate::AskError): no answer in time, the process that was asked has ended or has no
    /// handler, its handler answered with an error.
    ///
    /// # Example
    /// ```no_run
    /// use cluster_core::{Ask, AskError, To};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct NextNumber;
    /// impl Ask for NextNumber {
    ///     type Answer = u64;
    /// }
    ///
    /// # async fn handler() -> Result<(), AskError> {
    /// let number = cluster_core::worker().ask(To::Primary, &NextNumber).await?;
    /// # Ok(()) }
    /// ```
    pub fn ask<Q: Ask>(&self, to: impl Into<To>, question: &Q) -> Asking<Q::Answer> {
        Asking::ask(self.endpoint(), to.into().into(), question)
    }

    /// Has a function called for every message of its type; Node's `process.on('message')`. Any number per
    /// type, each called in order, one message at a time, sync or async; a [`Peer`] as first argument says
    /// who sent it. Messages that came before the first handler of their type have been kept (1,024 or 1 MiB).
    ///
    /// An error or panic of the function is logged and ends nothing. A drain waits for messages that have
    /// come.
    ///
    /// # Panics
    /// Where the message's type cannot be carried as it is: the text names the remedy.
    ///
    /// # Example
    /// ```no_run
    /// use cluster_core::Peer;
    /// # let worker = cluster_core::worker();
    /// worker.on_message(|text: String| println!("somebody says {text}"));
    /// worker.on_message(|from: Peer, text: String| async move { from.send(&text).await });
    /// ```
    pub fn on_message<A: 'static>(&self, handler: impl Handler<Peer, A>) {
        let endpoint = self.endpoint().clone();
        queue::handle(self.endpoint(), handler, move |sender| Peer::of(&endpoint, sender))
            .unwrap_or_else(|err| panic!("on_message: {err}"));
    }

    /// Answers questions of one type; a second function takes over from the first. Questions are answered side
    /// by side: one that takes long holds up no other.
    ///
    /// # Panics
    /// Where the type of question or answer cannot be carried as it is: the text names the remedy.
    ///
    /// # Example
    /// ```no_run
    /// use cluster_core::{Ask, Peer};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct HowMany;
    /// impl Ask for HowMany {
    ///     type Answer = usize;
    /// }
    ///
    /// # let worker = cluster_core::worker();
    /// worker.on_ask(|_: Peer, _: HowMany| async { Ok::<_, std::io::Error>(42) });
    /// ```
    pub fn on_ask<Q: Ask, F, Fut, E: Display + 'static>(&self, answer: F)
    where
        F: Fn(Peer, Q) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Q::Answer, E>> + Send + 'static,
    {
        let endpoint = self.endpoint().clone();
        request::answer::<_, Q, _, _, _>(self.endpoint(), answer, move |asker| Peer::of(&endpoint, asker))
            .unwrap_or_else(|err| panic!("on_ask: {err}"));
    }

    /// The messages of one type as a stream, from now on; each call gives a stream of its own. The first to
    /// listen to its type, handlers included, begins with what has been kept (1,024 or 1 MiB).
    ///
    /// A stream may be dropped at any time, also while `next()` waits in a `select!`: what stands in it, and
    /// nobody else has had, waits for who listens next. See [`MessageStream`] for the exceptions, which are
    /// told as [`Event::Undelivered`](crate::Event::Undelivered). A message that its `Deserialize` refuses is
    /// one, too, when its turn comes; the stream goes on with the next.
    ///
    /// # Panics
    /// As [`on_message`](Self::on_message).
    ///
    /// # Example
    /// ```no_run
    /// use futures::StreamExt;
    /// # async fn program(worker: cluster_core::Worker) {
    /// let mut texts = worker.messages::<String>();
    /// while let Some(text) = texts.next().await {
    ///     println!("{text}");
    /// }
    /// # }
    /// ```
    pub fn messages<T: Message>(&self) -> MessageStream<T> {
        MessageStream::open(self.endpoint()).unwrap_or_else(|err| panic!("messages: {err}"))
    }
}

/// What a free `on_message` has put aside for the worker that this process will be.
type Registration = Box<dyn FnOnce(&Worker) + Send>;

static WAITING: Mutex<Vec<Registration>> = Mutex::new(Vec::new());

pub(crate) fn send<T: Message>(message: &T) -> Sending {
    try_worker().map_or_else(|| Sending::failed(SendError::NoWorker), |worker| worker.send(message))
}

pub(crate) fn broadcast<T: Message>(message: &T) -> Broadcasting {
    try_worker().map_or_else(|| Broadcasting::failed(SendError::NoWorker), |worker| worker.broadcast(message))
}

/// Registers with this process's worker, now or when it is one. In a process that is never one it is forgotten.
pub(crate) fn on_message<A: 'static>(handler: impl Handler<Peer, A>) {
    match try_worker() {
        Some(worker) => worker.on_message(handler),
        None => lock().push(Box::new(move |worker: &Worker| worker.on_message(handler))),
    }
}

/// This process is a worker now.
pub(crate) fn register(worker: &Worker) {
    // Taken out first: a registration may make another.
    let waiting = std::mem::take(&mut *lock());
    waiting.into_iter().for_each(|register| register(worker));
}

fn lock() -> std::sync::MutexGuard<'static, Vec<Registration>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}
