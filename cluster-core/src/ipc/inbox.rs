//! What a process hears: which handlers there are, and what becomes of what nobody handles yet.
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::ipc::endpoint::{Endpoint, Inner, weight_of};
use crate::ipc::frame::{Address, Frame};
use crate::ipc::notice::{Refusal, Undelivered};
use crate::ipc::router::worker_of;
use crate::ipc::shape::Key;
use crate::ipc::ticket::{Ledger, Ticket};

/// Messages of one type that are kept for its first handler.
const EARLY_MESSAGES: usize = 1024;
const EARLY_BYTES: usize = 1 << 20;
/// Why a message of a known name is not decoded.
const OTHER_LAYOUT: &str = "its fields are others here than where it was sent";
/// Types of which messages are kept.
const EARLY_TYPES: usize = 64;

/// Takes messages of one type, encoded.
pub(crate) trait Receiver: Send + Sync {
    /// Decodes and queues one. A type that cannot be read is an error.
    fn deliver(&self, from: Address, body: &[u8], ticket: Ticket) -> Result<Delivered, String>;
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
    Yes,
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
    ledger: Ledger,
    /// What a drain waits for: handlers at work are.
    tasks: TaskTracker,
}

#[derive(Default)]
struct State {
    /// By the fingerprint of their type; few have the same.
    receivers: BTreeMap<u64, Vec<Type>>,
    answerers: BTreeMap<u64, Vec<Asks>>,
    early: HashMap<String, Early>,
    /// No stream begins any more: it would never end.
    streams_closed: bool,
    runtime: Runtime,
}

/// A type of message and who receives it.
struct Type {
    key: &'static Key,
    receivers: Arc<Vec<Arc<dyn Receiver>>>,
}

/// A type of question and who answers it.
type Asks = (&'static Key, Arc<dyn Answerer>);

/// Messages without a handler yet.
#[derive(Default)]
struct Early {
    messages: VecDeque<Kept>,
    bytes: usize,
}

struct Kept {
    from: Address,
    fingerprint: u64,
    body: Vec<u8>,
}

/// Where handlers run: known once the process has a runtime.
enum Runtime {
    NotYet(Vec<BoxFuture<'static, ()>>),
    There(Handle),
}

impl Default for Runtime {
    fn default() -> Self {
        Runtime::NotYet(Vec::new())
    }
}

/// Who gets a message.
enum Takers {
    These(Arc<Vec<Arc<dyn Receiver>>>),
    NobodyYet,
    /// The name is known, and means something else here.
    OtherLayout,
}

impl Inbox {
    pub(crate) fn new(endpoint: Weak<Inner>, tasks: TaskTracker) -> Self {
        Self { state: Mutex::default(), ledger: Ledger::new(endpoint), tasks }
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

    /// Adds a receiver; the first of its type gets what has been kept.
    pub(crate) fn listen(&self, endpoint: &Endpoint, key: &'static Key, receiver: Arc<dyn Receiver>) {
        let mut state = self.lock();
        if state.streams_closed && receiver.is_stream() {
            return;
        }
        let types = state.receivers.entry(key.fingerprint).or_default();
        if let Some(known) = types.iter_mut().find(|known| known.key.name == key.name) {
            Arc::make_mut(&mut known.receivers).push(receiver);
            return;
        }
        types.push(Type { key, receivers: Arc::new(vec![receiver.clone()]) });
        let kept = state.early.remove(&key.name).unwrap_or_default();
        let (ours, others): (Vec<_>, Vec<_>) =
            kept.messages.into_iter().partition(|kept| kept.fingerprint == key.fingerprint);
        for Kept { from, body, .. } in ours {
            // What is kept has no sender who waits for it any more. Under the lock: what comes now comes after.
            if let Err(reason) = receiver.deliver(from, &body, Ticket::none()) {
                endpoint.report(undelivered(from, &key.name, body.len() as u64, reason));
            }
        }
        for Kept { from, body, .. } in others {
            endpoint.report(undelivered(from, &key.name, body.len() as u64, OTHER_LAYOUT.to_owned()));
        }
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
        for known in state.receivers.values_mut().flatten() {
            Arc::make_mut(&mut known.receivers).retain(|receiver| !receiver.is_stream());
        }
    }

    /// Resolves when handlers have done with all that has come until now.
    pub(crate) fn handled(&self) -> impl Future<Output = ()> + Send + use<> {
        let (mark, mut marks) = mpsc::channel(1);
        let state = self.lock();
        for receiver in state.receivers.values().flatten().flat_map(|known| known.receivers.iter()) {
            receiver.mark(mark.clone());
        }
        async move {
            drop(mark);
            marks.recv().await;
        }
    }

    /// A process is gone: nobody owes it anything.
    pub(crate) fn forget(&self, process: Address) {
        self.ledger.forget(process);
    }

    // ----- what comes

    /// A message; without a body its parcel could not be opened.
    pub(crate) fn message(&self, endpoint: &Endpoint, frame: &Frame<'_>, body: Option<&[u8]>) {
        let ticket = self.ledger.ticket(frame.head.from, frame.head.to, weight_of(frame));
        let outcome = match (self.takers(frame), body) {
            (_, None) => Err("its parcel could not be opened".to_owned()),
            (Takers::These(receivers), Some(body)) => self.deliver(frame, &receivers, body, ticket),
            (Takers::NobodyYet, Some(body)) => self.keep(frame, body),
            (Takers::OtherLayout, Some(_)) => Err(OTHER_LAYOUT.to_owned()),
        };
        if let Err(reason) = outcome {
            let name = String::from_utf8_lossy(frame.name);
            endpoint.report(undelivered(frame.head.from, &name, frame.weight(), reason));
        }
    }

    fn takers(&self, frame: &Frame<'_>) -> Takers {
        let state = self.lock();
        let same_layout = state.receivers.get(&frame.head.fingerprint);
        let known =
            same_layout.and_then(|types| types.iter().find(|known| known.key.name.as_bytes() == frame.name));
        if let Some(known) = known {
            return Takers::These(known.receivers.clone());
        }
        let has_name = |types: &Vec<Type>| types.iter().any(|known| known.key.name.as_bytes() == frame.name);
        if state.receivers.values().any(has_name) { Takers::OtherLayout } else { Takers::NobodyYet }
    }

    fn deliver(
        &self,
        frame: &Frame<'_>,
        receivers: &[Arc<dyn Receiver>],
        body: &[u8],
        ticket: Ticket,
    ) -> Result<(), String> {
        let mut closed = false;
        let (mut ticket, mut left) = (ticket, receivers.len());
        for receiver in receivers {
            left -= 1;
            let own = if left == 0 { std::mem::take(&mut ticket) } else { ticket.share() };
            // The type's own Deserialize runs here, and it is the user's.
            let delivered = catch_unwind(AssertUnwindSafe(|| receiver.deliver(frame.head.from, body, own)));
            match delivered {
                Ok(delivered) => closed |= delivered? == Delivered::Closed,
                Err(_) => return Err("its Deserialize panicked".to_owned()),
            }
        }
        if closed {
            self.prune(frame);
        }
        Ok(())
    }

    /// Streams that were dropped go.
    fn prune(&self, frame: &Frame<'_>) {
        let mut state = self.lock();
        let Some(types) = state.receivers.get_mut(&frame.head.fingerprint) else { return };
        for known in types.iter_mut().filter(|known| known.key.name.as_bytes() == frame.name) {
            Arc::make_mut(&mut known.receivers).retain(|receiver| !receiver.is_closed());
        }
    }

    fn keep(&self, frame: &Frame<'_>, body: &[u8]) -> Result<(), String> {
        let mut state = self.lock();
        let name = String::from_utf8_lossy(frame.name).into_owned();
        if state.early.len() >= EARLY_TYPES && !state.early.contains_key(&name) {
            return Err("nobody listens, and messages of many types wait already".to_owned());
        }
        let early = state.early.entry(name).or_default();
        if early.messages.len() >= EARLY_MESSAGES || early.bytes + body.len() > EARLY_BYTES {
            return Err("nobody listens, and as many as may wait for a first handler do".to_owned());
        }
        early.bytes += body.len();
        let (from, fingerprint) = (frame.head.from, frame.head.fingerprint);
        early.messages.push_back(Kept { from, fingerprint, body: body.to_vec() });
        Ok(())
    }

    /// A question; without a body its parcel could not be opened.
    pub(crate) fn question(&self, endpoint: &Endpoint, frame: &Frame<'_>, body: Option<&[u8]>) {
        let (asker, correlation) = (frame.head.from, frame.head.correlation);
        let ticket = self.ledger.ticket(asker, frame.head.to, weight_of(frame));
        let answerer = {
            let state = self.lock();
            let known = state.answerers.get(&frame.head.fingerprint);
            let mut known = known.into_iter().flatten();
            known.find(|(key, _)| key.name.as_bytes() == frame.name).map(|(_, answerer)| answerer.clone())
        };
        let (Some(answerer), Some(body)) = (answerer, body) else {
            return endpoint.refuse(asker, correlation, Refusal::NoHandler);
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
        drop(self.ledger.ticket(frame.head.from, frame.head.to, weight_of(frame)));
    }
}

/// One message that came to nothing.
fn undelivered(from: Address, type_name: &str, size: u64, reason: String) -> Undelivered {
    Undelivered::one(worker_of(from), type_name, size, reason)
}
