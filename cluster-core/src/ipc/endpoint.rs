//! A process's side of the message path: what it sends and what it hears, over one socket to the primary.
//!
//! Sending writes at once where it can; what waits is written by a task (`writing.rs`). What comes is read and
//! taken in by another (`hearing.rs`).
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use tokio::sync::{Notify, mpsc};
use tokio_util::task::TaskTracker;

use crate::id::PeerId;
use crate::ipc::control::ToDirector;
use crate::ipc::error::SendError;
use crate::ipc::frame::{self, Address, Head, Kind};
use crate::ipc::inbox::Inbox;
use crate::ipc::notice::{self, Credit, Receipt, Refusal, Undelivered};
use crate::ipc::outbox::{Admitted, Awaits, Outbox, Prepared, Reply};
use crate::ipc::survey::Surveys;
use crate::ipc::tally::Tally;
use crate::ipc::waiters::Place;
use crate::metrics::Survey;
use crate::sys::readiness;

mod hearing;
mod writing;

use hearing::End;
use writing::write;

/// A process's side of the message path. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Endpoint {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    me: PeerId,
    outbox: Mutex<Outbox>,
    pub(crate) inbox: Inbox,
    way: Way,
    /// Told when there is something that the socket did not take, or that can go together.
    stalled: Notify,
    flushed: Notify,
    /// The exchange has sent the last message for this process.
    let_go: Echo,
    /// The exchange has sent what was on the way when this process asked.
    caught_up: Echo,
    tally: Mutex<Tally>,
    surveys: Surveys,
    /// The primary's words to the director. Not bounded here: the exchange keeps to a bound.
    words: mpsc::UnboundedSender<ToDirector>,
    /// Until the director takes them.
    heard: Mutex<Option<mpsc::UnboundedReceiver<ToDirector>>>,
    /// Told that the exchange cannot be understood: this process leaves, and is replaced.
    broken: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// Where frames go.
enum Way {
    Socket(Arc<OwnedFd>),
    /// A test's fake remembers them.
    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "only a test's fake is made so"))]
    Memory(Mutex<Vec<Prepared>>),
}

impl Endpoint {
    /// `director`: whether the cluster has one. `tasks` are what a drain waits for: handlers at work are.
    pub(crate) fn new(me: PeerId, director: bool, slots: u16, socket: OwnedFd, tasks: TaskTracker) -> Self {
        Self::over(me, director, slots, Way::Socket(Arc::new(socket)), tasks)
    }

    /// A fake's: it is connected to nobody, and remembers what was sent.
    #[cfg(feature = "testing")]
    pub(crate) fn fake(me: PeerId, tasks: TaskTracker) -> Self {
        let fake = Self::over(me, true, 1, Way::Memory(Mutex::default()), tasks);
        fake.outbox().notice(notice::Notice::Slots(1));
        fake
    }

    fn over(me: PeerId, director: bool, slots: u16, way: Way, tasks: TaskTracker) -> Self {
        let (words, heard) = mpsc::unbounded_channel();
        let inner = Arc::new_cyclic(|inner| Inner {
            me,
            outbox: Mutex::new(Outbox::new(director, slots)),
            inbox: Inbox::new(inner.clone(), tasks),
            way,
            stalled: Notify::new(),
            flushed: Notify::new(),
            let_go: Echo::default(),
            caught_up: Echo::default(),
            tally: Mutex::default(),
            surveys: Surveys::default(),
            words,
            heard: Mutex::new(Some(heard)),
            broken: OnceLock::new(),
        });
        Self { inner }
    }

    pub(crate) fn of(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    pub(crate) fn me(&self) -> PeerId {
        self.inner.me
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inner.inbox
    }

    /// The primary's words to the director, once.
    pub(crate) fn take_words(&self) -> Option<mpsc::UnboundedReceiver<ToDirector>> {
        self.inner.heard.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Begins to read and write, on the current runtime. `broken` is called where the exchange cannot be
    /// understood.
    pub(crate) fn start(&self, broken: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
        let _ = self.inner.broken.set(Box::new(broken));
        // The director lets its handlers begin when it knows how things stand.
        if let PeerId::Worker(_) = self.inner.me {
            self.inner.inbox.start(tokio::runtime::Handle::current());
        }
        if let Way::Socket(socket) = &self.inner.way {
            let socket = Arc::new(readiness::watch_reading(socket.clone())?);
            tokio::spawn(self.clone().read(socket.clone()));
            tokio::spawn(self.clone().write(socket.get_ref().clone()));
        }
        Ok(())
    }

    pub(crate) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.inner.outbox()
    }

    // ----- sending

    /// Sends a frame if there is room. Where there is none, the waker is woken when there may be; its place is
    /// to be given back with [`Outbox::leave`].
    pub(crate) fn admit(
        &self,
        prepared: &mut Prepared,
        awaits: Awaits,
        waits: Option<(&Waker, &mut Option<Place>)>,
    ) -> Result<Admitted, SendError> {
        let mut outbox = self.outbox();
        let admitted = self.inner.admit(&mut outbox, prepared, awaits)?;
        if let (Admitted::No(_), Some((waker, place))) = (&admitted, waits) {
            *place = Some(outbox.wait(prepared, *place, waker));
        }
        Ok(admitted)
    }

    /// Sends a word of the director's to the primary.
    pub(crate) fn say(&self, word: &impl serde::Serialize) {
        self.inner.put_system(Kind::Word, word);
    }

    /// Asks the primary how the cluster stands, at once. `None` where there is nobody to answer.
    pub(crate) fn survey(&self) -> impl Future<Output = Option<Survey>> + Send + use<> {
        if let Way::Memory(_) = self.inner.way {
            self.inner.surveys.over();
        }
        let (id, told) = self.inner.surveys.expect();
        if let Some(correlation) = id {
            let head = Head::system(Kind::Survey, self.inner.me.into(), Address::Exchange);
            let mut bytes = Vec::new();
            frame::write(&mut bytes, &Head { correlation, ..head }, b"", b"");
            self.inner.put(&bytes);
        }
        told
    }

    /// Tells the primary of messages that came to nothing here.
    pub(crate) fn report(&self, what: Undelivered) {
        let told = self.inner.tally.lock().unwrap_or_else(PoisonError::into_inner).count_since(what);
        if let Some(what) = told {
            self.inner.put_system(Kind::Report, &what);
        }
    }

    /// Tells who asked that there will be no answer.
    pub(crate) fn refuse(&self, asker: Address, correlation: u64, why: Refusal) {
        let mut head = Head::system(Kind::Refusal, self.inner.me.into(), asker);
        head.correlation = correlation;
        let mut bytes = Vec::new();
        notice::write(&mut bytes, &head, &why);
        self.inner.put(&bytes);
    }

    /// Tells a sender that so much of its own has been taken.
    pub(crate) fn credit(&self, sender: Address, credit: Credit) {
        let mut bytes = Vec::new();
        notice::write(&mut bytes, &Head::system(Kind::Credit, self.inner.me.into(), sender), &credit);
        self.inner.put(&bytes);
    }

    /// What a fake was asked to send.
    #[cfg(feature = "testing")]
    pub(crate) fn remembered<R>(&self, look: impl FnOnce(&[Prepared]) -> R) -> R {
        match &self.inner.way {
            Way::Memory(sent) => look(&sent.lock().unwrap_or_else(PoisonError::into_inner)),
            Way::Socket(_) => look(&[]),
        }
    }

    // ----- the end

    /// Takes no more messages, and waits until all that was on the way has come.
    pub(crate) async fn let_go(&self) {
        self.echo(Kind::Leave, &self.inner.let_go).await;
    }

    /// Waits until all that is on the way now has come.
    pub(crate) async fn catch_up(&self) {
        self.echo(Kind::Mark, &self.inner.caught_up).await;
    }

    async fn echo(&self, kind: Kind, echo: &Echo) {
        if let Way::Memory(_) = self.inner.way {
            return;
        }
        let mut bytes = Vec::new();
        frame::write(&mut bytes, &Head::system(kind, self.inner.me.into(), Address::Exchange), b"", b"");
        self.inner.put(&bytes);
        echo.heard().await;
    }

    /// Nobody is there any more to send to or to hear from.
    pub(crate) fn abandon(&self) {
        self.end(End::Gone);
    }

    /// Waits until the socket has taken all that was sent.
    pub(crate) async fn flush(&self) {
        loop {
            let flushed = self.inner.flushed.notified();
            if self.outbox().is_flushed() {
                return;
            }
            self.inner.stalled.notify_one();
            flushed.await;
        }
    }

    fn end(&self, end: End) {
        let (questions, receipts) = self.outbox().end();
        questions.into_iter().for_each(|complete| complete(Reply::Refusal(Refusal::Gone)));
        // Dropped: who waits for one hears that nobody will send it.
        drop(receipts);
        self.inner.inbox.close_streams();
        self.inner.surveys.over();
        self.inner.let_go.comes_back();
        self.inner.caught_up.comes_back();
        self.inner.flushed.notify_waiters();
        if let End::Garbled(why) = end {
            let name = self.inner.me;
            crate::event::warn(&format!("{name} cannot understand its primary and leaves: {why}"));
            if let Some(broken) = self.inner.broken.get() {
                broken();
            }
        }
    }
}

/// A word that comes back from the exchange, once.
#[derive(Default)]
struct Echo {
    back: AtomicBool,
    told: Notify,
}

impl Echo {
    fn comes_back(&self) {
        self.back.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    async fn heard(&self) {
        loop {
            let told = self.told.notified();
            if self.back.load(Ordering::Acquire) {
                return;
            }
            told.await;
        }
    }
}

impl Inner {
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(
        &self,
        outbox: &mut Outbox,
        prepared: &mut Prepared,
        awaits: Awaits,
    ) -> Result<Admitted, SendError> {
        match &self.way {
            Way::Socket(socket) => {
                let admitted =
                    outbox.admit(prepared, awaits, &mut |bytes, parcel| write(socket, bytes, parcel))?;
                self.stalled.notify_one();
                Ok(admitted)
            }
            Way::Memory(sent) => {
                let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
                let Prepared { to, ref frame, ref parcel, weight } = *prepared;
                sent.push(Prepared { to, frame: frame.clone(), parcel: parcel.clone(), weight });
                match awaits {
                    Awaits::Nothing => {}
                    Awaits::Reply(complete) => complete(Reply::Refusal(Refusal::Gone)),
                    Awaits::Receipt(take) => take(Receipt { reached: 0, missed: 0 }),
                }
                Ok(Admitted::Yes { correlation: 0, crowded: false })
            }
        }
    }

    fn put(&self, frame: &[u8]) {
        if let Way::Socket(socket) = &self.way {
            let mut outbox = self.outbox();
            outbox.put(frame, None, &mut |bytes, parcel| write(socket, bytes, parcel));
            self.stalled.notify_one();
        }
    }

    fn put_system(&self, kind: Kind, body: &impl serde::Serialize) {
        let mut bytes = Vec::new();
        notice::write(&mut bytes, &Head::system(kind, self.me.into(), Address::Exchange), body);
        self.put(&bytes);
    }
}

#[cfg(test)]
mod tests;
