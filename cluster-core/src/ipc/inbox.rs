//! What a process hears: which handlers there are, and what becomes of what nobody handles yet.
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::ipc::early::Kept;
use crate::ipc::endpoint::{Endpoint, Inner};
use crate::ipc::frame::{Address, Frame};
use crate::ipc::letter::{Arriving, Letter, PANICKED};
use crate::ipc::listeners::{Course, HandedOver, Listeners, Waiting, undelivered};
use crate::ipc::notice::{Refusal, Weight};
use crate::ipc::row::Row;
use crate::ipc::shape::Key;
use crate::ipc::stream::Queue;
use crate::ipc::ticket::{Account, Ledger, Ticket};

/// Why what came has no body.
const UNOPENED: &str = "its parcel could not be opened";

/// Takes messages of one type, encoded.
pub(crate) trait Receiver: Send + Sync {
    /// Queues one. A handler's is decoded before: one that cannot be read is an error.
    fn deliver(&self, arriving: &mut Arriving<'_>) -> Result<Delivered, String>;
    /// Queues messages that are older than all that it was given, in their order. Answers whether it has.
    fn take_over(&self, older: &[Arc<Letter>]) -> bool;
    /// Queues a mark, which is dropped when all before it has been handled.
    fn mark(&self, mark: Mark);
    /// A stream ends where a drain has no more for it; handlers go on.
    fn is_stream(&self) -> bool;
    /// Nobody listens there any more.
    fn is_closed(&self) -> bool;
}

/// Stands in a queue between messages. Dropped, what came before it has been handled.
pub(crate) type Mark = mpsc::Sender<()>;

/// Whether somebody is there to take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// It has a handler's task.
    Handled,
    /// It stands in a stream, and may never be taken out.
    Waits,
    /// Nobody listens there any more.
    Closed,
}

/// Answers questions of one type.
pub(crate) trait Answerer: Send + Sync {
    /// Begins to answer.
    fn answer(&self, asked: Asked<'_>) -> Result<BoxFuture<'static, ()>, String>;
}

/// A question that has come.
pub(crate) struct Asked<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) asker: Address,
    pub(crate) correlation: u64,
    pub(crate) body: &'a [u8],
    pub(crate) ticket: Ticket,
}

pub(crate) struct Inbox {
    state: Mutex<State>,
    /// What a drain waits for: handlers at work are.
    tasks: TaskTracker,
}

struct State {
    ledger: Ledger,
    listeners: Listeners,
    answerers: BTreeMap<u64, Vec<Asks>>,
    /// A stream has what is kept, and no more: it would never end.
    streams_closed: bool,
    runtime: Runtime,
}

/// A type of question and who answers it.
type Asks = (&'static Key, Arc<dyn Answerer>);

/// Where handlers run: known once the process has a runtime.
enum Runtime {
    NotYet(Vec<BoxFuture<'static, ()>>),
    There(Handle),
}

impl Inbox {
    pub(crate) fn new(endpoint: Weak<Inner>, tasks: TaskTracker) -> Self {
        let state = State {
            ledger: Ledger::new(endpoint),
            listeners: Listeners::default(),
            answerers: BTreeMap::new(),
            streams_closed: false,
            runtime: Runtime::NotYet(Vec::new()),
        };
        Self { state: Mutex::new(state), tasks }
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// From now on there is a runtime for handlers.
    pub(crate) fn start(&self, runtime: Handle) {
        let mut state = self.lock();
        if let Runtime::NotYet(waiting) =
            std::mem::replace(&mut state.runtime, Runtime::There(runtime.clone()))
        {
            waiting.into_iter().for_each(|task| drop(runtime.spawn(task)));
        }
    }

    /// Runs a handler's task, when there is a runtime.
    pub(crate) fn run(&self, task: BoxFuture<'static, ()>) {
        match &mut self.lock().runtime {
            Runtime::NotYet(waiting) => waiting.push(task),
            Runtime::There(runtime) => drop(runtime.spawn(task)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ----- who listens

    /// Adds a receiver; the first of its type gets what has been kept, before anything else.
    pub(crate) fn listen(&self, endpoint: &Endpoint, key: &'static Key, receiver: Arc<dyn Receiver>) {
        let (begins, lost) = {
            let mut state = self.lock();
            let ends = state.streams_closed && receiver.is_stream();
            let begun = state.listeners.listen(key, receiver);
            if ends {
                // It has what was kept, and ends after that.
                state.listeners.close_streams();
            }
            begun
        };
        lost.into_iter().for_each(|what| endpoint.report(what));
        if begins {
            self.hand_over(endpoint, key);
        }
    }

    /// Without the lock: the type's Deserialize, which is the user's, may use this inbox.
    fn hand_over(&self, endpoint: &Endpoint, key: &'static Key) {
        // A drain waits for it.
        let _at_work = self.tasks.token();
        loop {
            // By itself: the lock is not held for the body.
            let next = self.lock().listeners.next_waiting(key);
            let Some(next) = next else { return };
            let Waiting { kept, receivers, ticket } = match next {
                HandedOver::To(waiting) => waiting,
                HandedOver::Lost(what) => {
                    endpoint.report(what);
                    continue;
                }
            };
            let (from, fingerprint, size) = (kept.from, kept.fingerprint, kept.body.len() as u64);
            let mut arriving = Arriving::new(from, kept.body, ticket);
            match self.deliver(&mut arriving, &receivers) {
                Ok(true) => {}
                // They have closed meanwhile: it is looked at again.
                Ok(false) => {
                    let ticket = std::mem::take(&mut arriving.ticket);
                    let kept = Kept { from, fingerprint, body: arriving.into_body() };
                    self.lock().listeners.wait_first(key, Waiting { kept, receivers, ticket });
                }
                Err(reason) => endpoint.report(undelivered(from, &key.name, size, reason)),
            }
        }
    }

    /// A stream is dropped: what stands in it and nobody has heard is for somebody else.
    pub(crate) fn give_up(&self, endpoint: &Endpoint, key: &'static Key, stream: &Queue) {
        let (letters, lost) = {
            // At once for all others: what comes from now on is younger than what stands in it.
            let mut state = self.lock();
            let mut letters = stream.close();
            let lost = state.listeners.take_back(key, &mut letters);
            (letters, lost)
        };
        // Without the lock: their senders are told that they have room again.
        drop(letters);
        lost.into_iter().for_each(|what| endpoint.report(what));
    }

    /// Sets who answers questions of a type; the last one set does.
    pub(crate) fn answer(&self, key: &'static Key, answerer: Arc<dyn Answerer>) {
        let mut state = self.lock();
        let known = state.answerers.entry(key.fingerprint).or_default();
        known.retain(|(known, _)| known.name != key.name);
        known.push((key, answerer));
    }

    /// Streams end; handlers and answerers go on.
    pub(crate) fn close_streams(&self) {
        let mut state = self.lock();
        state.streams_closed = true;
        state.listeners.close_streams();
    }

    /// Resolves when handlers have done with all that has come until now.
    pub(crate) fn handled(&self) -> impl Future<Output = ()> + Send + use<> {
        let (mark, mut marks) = mpsc::channel(1);
        self.lock().listeners.mark(&mark);
        async move {
            drop(mark);
            marks.recv().await;
        }
    }

    /// A process is gone: nobody owes it anything.
    pub(crate) fn forget(&self, process: Address) {
        self.lock().ledger.forget(process);
    }

    // ----- what comes

    /// A message; without a body its parcel could not be opened. `row` is of the messages right before it.
    pub(crate) fn message(&self, endpoint: &Endpoint, frame: &Frame<'_>, body: Option<&[u8]>, row: &mut Row) {
        let outcome = match body {
            None => {
                self.took(frame);
                Err(UNOPENED.to_owned())
            }
            Some(body) => self.place(frame, body, row),
        };
        if let Err(reason) = outcome {
            let name = String::from_utf8_lossy(frame.name);
            endpoint.report(undelivered(frame.head.from, &name, frame.size(), reason));
        }
    }

    fn place(&self, frame: &Frame<'_>, body: &[u8], row: &mut Row) -> Result<(), String> {
        let weight = Weight::of_frame(frame);
        let arriving =
            |account: &Arc<Account>| Arriving::new(frame.head.from, body, account.clone().ticket(weight));
        let (account, mut arriving) = match row.like(frame) {
            Some(alike) => {
                let mut arriving = arriving(&alike.account);
                if self.deliver(&mut arriving, &alike.receivers)? {
                    return Ok(());
                }
                (alike.account.clone(), arriving)
            }
            None => {
                let account = self.lock().account(frame);
                let arriving = arriving(&account);
                (account, arriving)
            }
        };
        row.end();
        // Again where those it was for have closed meanwhile.
        loop {
            // By itself: the lock is not held for the match.
            let course = self.lock().listeners.admit(frame, body, &mut arriving.ticket)?;
            match course {
                Course::Waits => return Ok(()),
                Course::Deliver(receivers) => {
                    if self.deliver(&mut arriving, &receivers)? {
                        row.begin(frame, account, receivers);
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Whether anybody has it.
    fn deliver(&self, arriving: &mut Arriving<'_>, receivers: &[Arc<dyn Receiver>]) -> Result<bool, String> {
        let (mut handled, mut left) = (false, receivers.len());
        for receiver in receivers {
            left -= 1;
            if receiver.is_closed() {
                continue;
            }
            arriving.is_for(left == 0);
            // A handler's type is decoded here: its Deserialize is the user's.
            let delivered = catch_unwind(AssertUnwindSafe(|| receiver.deliver(arriving)))
                .unwrap_or_else(|_| Err(PANICKED.to_owned()))
                .inspect_err(|_| arriving.spoil())?;
            handled |= delivered == Delivered::Handled;
        }
        Ok(arriving.settle(handled))
    }

    /// The process ends: reports what was kept for a handler that never was, one word for each sender and type.
    /// What comes after it is reported as it comes.
    pub(crate) fn end_early(&self, endpoint: &Endpoint) {
        let lost = self.lock().listeners.end_early();
        lost.into_iter().for_each(|what| endpoint.report(what));
    }

    /// A question; without a body its parcel could not be opened.
    pub(crate) fn question(&self, endpoint: &Endpoint, frame: &Frame<'_>, body: Option<&[u8]>) {
        let (asker, correlation) = (frame.head.from, frame.head.correlation);
        let (ticket, answerer) = {
            let mut state = self.lock();
            let ticket = state.account(frame).ticket(Weight::of_frame(frame));
            let known = state.answerers.get(&frame.head.fingerprint);
            let mut known = known.into_iter().flatten();
            let answerer = known.find(|(key, _)| key.name.as_bytes() == frame.name);
            (ticket, answerer.map(|(_, answerer)| answerer.clone()))
        };
        let Some(answerer) = answerer else {
            return endpoint.refuse(asker, correlation, Refusal::NoHandler);
        };
        let Some(body) = body else {
            return endpoint.refuse(asker, correlation, Refusal::unreadable(UNOPENED));
        };
        let asked = Asked { endpoint, asker, correlation, body, ticket };
        match catch_unwind(AssertUnwindSafe(|| answerer.answer(asked))) {
            Ok(Ok(answering)) => self.run(Box::pin(self.tasks.track_future(answering))),
            Ok(Err(why)) => endpoint.refuse(asker, correlation, Refusal::unreadable(why)),
            Err(_) => {
                let why = "the question's Deserialize panicked";
                endpoint.refuse(asker, correlation, Refusal::unreadable(why));
            }
        }
    }

    /// What needs no queue has been taken.
    pub(crate) fn took(&self, frame: &Frame<'_>) {
        let account = self.lock().account(frame);
        // Without the lock: its sender may be told.
        drop(account.ticket(Weight::of_frame(frame)));
    }
}

impl State {
    fn account(&mut self, frame: &Frame<'_>) -> Arc<Account> {
        self.ledger.account(frame.head.from, frame.head.to)
    }
}

#[cfg(test)]
#[path = "inbox_tests.rs"]
mod tests;
