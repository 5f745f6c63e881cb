//! A process's side of the message path: what it sends and what it hears, over one socket to the primary.
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use nix::errno::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc};
use tokio_util::task::TaskTracker;

use crate::id::PeerId;
use crate::ipc::backlog::SharedParcel;
use crate::ipc::codec;
use crate::ipc::control::ToDirector;
use crate::ipc::error::SendError;
use crate::ipc::frame::{self, Address, Collector, Frame, Head, Kind};
use crate::ipc::inbox::Inbox;
use crate::ipc::notice::{self, Credit, Notice, Receipt, Refusal, Undelivered, Weight};
use crate::ipc::outbox::{Admitted, Awaits, Outbox, Prepared, Reply};
use crate::ipc::tally::Tally;
use crate::sys::parcel::Parcel;
use crate::sys::readiness;
use crate::sys::stream::{self, Reader, Received};

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

/// How long to leave a socket alone that has room and takes nothing.
const REFUSED: std::time::Duration = std::time::Duration::from_millis(10);

/// How writing what waits has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    All,
    /// There is no more room.
    Full,
    /// Not for want of room: too many descriptors are on their way (unix(7), ETOOMANYREFS), or there is no
    /// memory.
    Refused,
    /// Nobody will read it.
    Gone,
}

impl Written {
    fn after(err: Errno) -> Self {
        match err {
            Errno::EAGAIN => Written::Full,
            Errno::EPIPE | Errno::ECONNRESET => Written::Gone,
            _ => Written::Refused,
        }
    }
}

/// Why reading has ended.
enum End {
    Gone,
    Garbled(String),
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
        fake.outbox().notice(Notice::Slots(1));
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

    /// Sends a frame if there is room; where there is none, the waker is woken when there may be.
    pub(crate) fn admit(
        &self,
        prepared: &mut Prepared,
        awaits: Awaits,
        waker: Option<&std::task::Waker>,
    ) -> Result<Admitted, SendError> {
        let mut outbox = self.outbox();
        let admitted = self.inner.admit(&mut outbox, prepared, awaits)?;
        if let (Admitted::No(_), Some(waker)) = (&admitted, waker) {
            outbox.wait(waker.clone());
        }
        Ok(admitted)
    }

    /// Sends a word of the director's to the primary.
    pub(crate) fn say(&self, word: &impl serde::Serialize) {
        self.inner.put_system(Kind::Word, word);
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

    // ----- the tasks

    async fn write(self, socket: Arc<OwnedFd>) {
        loop {
            self.inner.stalled.notified().await;
            loop {
                let written = self.inner.write(&mut self.outbox());
                match written {
                    Written::All => break,
                    Written::Full => {
                        if readiness::writable(socket.as_fd()).await.is_err() {
                            // This process may open no more descriptors, and waiting takes one.
                            tokio::time::sleep(REFUSED).await;
                        }
                    }
                    // The socket has room, and does not say when it will take this.
                    Written::Refused => tokio::time::sleep(REFUSED).await,
                    // The reading task sees it too, and tells all who wait.
                    Written::Gone => return,
                }
            }
            self.inner.flushed.notify_waiters();
        }
    }

    async fn read(self, socket: Arc<AsyncFd<Arc<OwnedFd>>>) {
        /// A read of so much has kept others waiting.
        const MUCH: usize = 16 * 1024;
        let mut hearing =
            Hearing { collector: Collector::default(), reader: Reader::new(), parcels: VecDeque::new() };
        let end = loop {
            let Ok(mut ready) = socket.readable().await else { break End::Gone };
            match hearing.read(&self, socket.get_ref().as_fd()) {
                Ok(Some((len, more))) => {
                    if !more {
                        ready.clear_ready();
                    }
                    drop(ready);
                    if len > MUCH {
                        tokio::task::yield_now().await;
                    }
                }
                Ok(None) => ready.clear_ready(),
                Err(end) => break end,
            }
        };
        self.end(end);
    }

    fn end(&self, end: End) {
        let (questions, receipts) = self.outbox().end();
        questions.into_iter().for_each(|complete| complete(Reply::Refusal(Refusal::Gone)));
        // Dropped: who waits for one hears that nobody will send it.
        drop(receipts);
        self.inner.inbox.close_streams();
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

/// The reading side's own.
struct Hearing {
    collector: Collector,
    reader: Reader,
    /// None for one that was lost.
    parcels: VecDeque<Option<OwnedFd>>,
}

impl Hearing {
    /// Reads once and treats what came: how much that was, and whether there may be more. `None` where there
    /// was nothing.
    fn read(
        &mut self,
        endpoint: &Endpoint,
        socket: std::os::fd::BorrowedFd<'_>,
    ) -> Result<Option<(usize, bool)>, End> {
        let spare = self.collector.spare();
        let (room, mut fds) = (spare.len(), Vec::new());
        let Received { len, lost } = match self.reader.read(socket, spare, &mut fds) {
            Ok(Received { len: 0, .. }) => return Err(End::Gone),
            Ok(received) => received,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(err) => return Err(End::Garbled(format!("reading failed: {err}"))),
        };
        self.collector.filled(len);
        // A read ends where descriptors come, though there is more; else a short one has emptied the socket.
        let more = len == room || !fds.is_empty() || lost;
        self.parcels.extend(fds.into_iter().map(Some));
        if lost {
            // One: each frame with a parcel is written by itself, and a read brings the descriptors of one write.
            self.parcels.push_back(None);
        }
        self.treat(endpoint).map_err(End::Garbled)?;
        Ok(Some((len, more)))
    }

    /// All whole frames that are there.
    fn treat(&mut self, endpoint: &Endpoint) -> Result<(), String> {
        let Self { collector, parcels, reader: _ } = self;
        let mut taken = 0;
        while let Some(frame) = frame::read(&collector.bytes()[taken..]).map_err(|err| err.to_string())? {
            taken += frame.bytes.len();
            let body = if frame.head.parcel {
                let fd = parcels.pop_front().ok_or("a parcel came without its descriptor")?;
                // One that is not what it should be spoils this message, and nothing else. One that is too long
                // is not even mapped: a file with nothing in it would fill our memory.
                let len = frame.parcel_len().filter(|len| *len <= codec::MAX_MESSAGE as u64);
                Body::Parcel(fd.zip(len).and_then(|(fd, len)| Parcel::open(fd.as_fd(), len).ok()))
            } else {
                Body::Inline(frame.body)
            };
            endpoint.inner.hear(endpoint, &frame, &body)?;
        }
        collector.take(taken);
        if parcels.len() > usize::from(!collector.bytes().is_empty()) {
            return Err("descriptors came that belong to no frame".to_owned());
        }
        Ok(())
    }
}

/// The body of a frame, wherever it is.
enum Body<'a> {
    Inline(&'a [u8]),
    /// None where it could not be opened, or was lost on the way.
    Parcel(Option<Parcel>),
}

impl Body<'_> {
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Body::Inline(bytes) => Some(bytes),
            Body::Parcel(parcel) => parcel.as_ref().map(Parcel::bytes),
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

    fn write(&self, outbox: &mut Outbox) -> Written {
        let Way::Socket(socket) = &self.way else { return Written::All };
        let mut short = Written::Full;
        let all = outbox.write(&mut |bytes, parcel| {
            let fd = parcel.map(|parcel| parcel.as_fd());
            stream::write(socket.as_fd(), bytes, fd).unwrap_or_else(|err| {
                short = Written::after(err);
                0
            })
        });
        if all { Written::All } else { short }
    }

    /// One frame of the exchange's.
    fn hear(&self, endpoint: &Endpoint, frame: &Frame<'_>, body: &Body<'_>) -> Result<(), String> {
        let (head, body) = (frame.head, body.bytes());
        match head.kind {
            Kind::Message => self.inbox.message(endpoint, frame, body),
            Kind::Ask => self.inbox.question(endpoint, frame, body),
            Kind::Answer => {
                // NOT in one expression: the outbox must be free while the user's own Deserialize runs.
                let complete = self.outbox().reply(head.correlation);
                if let Some(complete) = complete {
                    complete(Reply::Answer { name: frame.name, fingerprint: head.fingerprint, body });
                }
                self.inbox.took(frame);
            }
            Kind::Refusal => {
                let why = codec::decode::<Refusal>(frame.body).map_err(|err| err.to_string())?;
                let complete = self.outbox().reply(head.correlation);
                if let Some(complete) = complete {
                    complete(Reply::Refusal(why));
                }
            }
            Kind::Credit => {
                let Credit { to, weight } = codec::decode(frame.body).map_err(|err| err.to_string())?;
                endpoint.outbox().credit(to, weight);
            }
            Kind::Receipt => {
                let receipt = codec::decode::<Receipt>(frame.body).map_err(|err| err.to_string())?;
                let take = endpoint.outbox().receipt(head.correlation, receipt);
                if let Some(take) = take {
                    take();
                }
            }
            Kind::Notice => {
                let notice = codec::decode::<Notice>(frame.body).map_err(|err| err.to_string())?;
                if let Notice::Gone { peer, .. } = notice {
                    self.inbox.forget(peer.into());
                }
                let lost = endpoint.outbox().notice(notice);
                lost.into_iter().for_each(|complete| complete(Reply::Refusal(Refusal::Gone)));
            }
            Kind::Word => {
                let word = codec::decode::<ToDirector>(frame.body).map_err(|err| err.to_string())?;
                // A worker is told none, and one that takes none hears none.
                let _ = self.words.send(word);
            }
            Kind::Mark => self.caught_up.comes_back(),
            Kind::Leave => self.let_go.comes_back(),
            Kind::Report => return Err("a report came from the primary".to_owned()),
        }
        Ok(())
    }
}

/// Writes without waiting: how much was taken. Why not all of it was, the writing task finds out.
fn write(socket: &OwnedFd, bytes: &[u8], parcel: Option<&SharedParcel>) -> usize {
    stream::write(socket.as_fd(), bytes, parcel.map(|parcel| parcel.as_fd())).unwrap_or(0)
}

/// What a frame weighs in its sender's window.
pub(crate) fn weight_of(frame: &Frame<'_>) -> Weight {
    Weight::of(frame.bytes.len(), if frame.head.parcel { frame.parcel_len() } else { None })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::id::WorkerId;
    use crate::sys::{channel, parcel};

    const ME: PeerId = PeerId::Worker(WorkerId(1));

    /// An endpoint, its reading side, and the primary's end of its socket.
    fn connected() -> (Endpoint, Arc<OwnedFd>, Hearing, OwnedFd) {
        let (mine, primary) = channel::stream_pair().unwrap();
        let endpoint = Endpoint::new(ME, true, 1, mine, TaskTracker::new());
        let Way::Socket(socket) = &endpoint.inner.way else { unreachable!("it was made with one") };
        let socket = socket.clone();
        let hearing =
            Hearing { collector: Collector::default(), reader: Reader::new(), parcels: VecDeque::new() };
        (endpoint, socket, hearing, primary)
    }

    /// A frame of type `name` with a parcel of `len` bytes.
    fn send_parcel(socket: &OwnedFd, name: &str, len: usize) {
        let mut file = parcel::create().unwrap();
        file.write_all(&vec![1; len]).unwrap();
        let fd = parcel::seal(file).unwrap();
        let mut head = Head::system(Kind::Message, Address::Director, ME.into());
        head.parcel = true;
        let mut bytes = Vec::new();
        frame::write(&mut bytes, &head, name.as_bytes(), &(len as u64).to_le_bytes());
        assert_eq!(stream::write(socket.as_fd(), &bytes, Some(fd.as_fd())), Ok(bytes.len()));
    }

    /// More than a socket takes.
    fn send_much(endpoint: &Endpoint) {
        for _ in 0..20_000 {
            endpoint.refuse(Address::Director, 1, Refusal::NoHandler);
        }
    }

    /// What the primary is told of messages that came to nothing: their types and why.
    fn reported(primary: &OwnedFd) -> Vec<(String, String)> {
        let (mut buf, mut fds) = (vec![0; 1 << 16], Vec::new());
        let len = Reader::new().read(primary.as_fd(), &mut buf, &mut fds).map_or(0, |received| received.len);
        let (mut at, mut told) = (0, Vec::new());
        while let Some(frame) = frame::read(&buf[at..len]).unwrap() {
            at += frame.bytes.len();
            if frame.head.kind == Kind::Report {
                let what: Undelivered = codec::decode(frame.body).unwrap();
                told.push((what.type_name, what.reason));
            }
        }
        told
    }

    #[test]
    fn a_parcel_that_is_lost_costs_its_own_message_and_no_other() {
        let (endpoint, socket, mut hearing, primary) = connected();
        send_parcel(&primary, "First", 10);
        send_parcel(&primary, "Lost", 20);
        send_parcel(&primary, "Last", 30);
        for reader in [Reader::new(), Reader::without_room(), Reader::new()] {
            hearing.reader = reader;
            let read = hearing.read(&endpoint, socket.as_fd());
            assert!(matches!(read, Ok(Some((_, true)))), "there may be more behind a descriptor");
        }
        endpoint.inner.write(&mut endpoint.outbox());
        // Those that are whole wait for a handler.
        let lost = ("Lost".to_owned(), "its parcel could not be opened".to_owned());
        assert_eq!(reported(&primary), [lost]);
        assert!(hearing.parcels.is_empty() && hearing.collector.bytes().is_empty());
    }

    #[test]
    fn writing_ends_as_the_socket_says() {
        let (endpoint, _socket, _hearing, primary) = connected();
        send_much(&endpoint);
        assert_eq!(endpoint.inner.write(&mut endpoint.outbox()), Written::Full);
        drop(primary);
        assert_eq!(endpoint.inner.write(&mut endpoint.outbox()), Written::Gone);
        assert_eq!(Written::after(Errno::ETOOMANYREFS), Written::Refused);
        assert_eq!(Written::after(Errno::ENOBUFS), Written::Refused);
    }

    #[tokio::test]
    async fn what_waits_goes_when_there_is_room_and_ends_with_the_primary() {
        let (endpoint, _socket, _hearing, primary) = connected();
        endpoint.start(|| unreachable!("nothing is garbled")).unwrap();
        send_much(&endpoint);
        assert!(!endpoint.outbox().is_flushed());
        let (mut buf, mut fds) = (vec![0; 1 << 16], Vec::new());
        let patience = std::time::Duration::from_secs(20);
        let all = async {
            while !endpoint.outbox().is_flushed() {
                let _ = Reader::new().read(primary.as_fd(), &mut buf, &mut fds);
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(patience, all).await.expect("what is read makes room for more");
        send_much(&endpoint);
        drop(primary);
        tokio::time::timeout(patience, endpoint.flush()).await.expect("nobody waits for who is gone");
    }
}
