//! The primary's side of the message path: one socket per process, frames routed by their heads.
//!
//! The router decides; this file reads and writes, and waits for neither: what a socket does not take stays in
//! the router's backlog, for the process's writing task.
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc};

use crate::id::{PeerId, Seat};
use crate::ipc::codec;
use crate::ipc::control::{Command, FromDirector, ToDirector};
use crate::ipc::frame::Collector;
use crate::ipc::notice::Undelivered;
use crate::ipc::router::{Fault, Found, Router};
use crate::ipc::tally::Tally;
use crate::sys::stream::{self, Reader, Received};
use crate::sys::{parcel, readiness};

/// Nothing more of a process is read while so much waits for its own socket.
const CHOKE_OF_ONE: usize = 8 << 20;
/// Parcels may have this part of our descriptors.
const PARCELS_PART: usize = 4;
/// A process that ends closes its socket a moment BEFORE it is known to have ended.
const END_LINGERS: Duration = Duration::from_secs(1);
/// The director is told no more events while so much waits for it.
const MOST_FOR_DIRECTOR: usize = 8 << 20;
/// How long to wait for somebody to close a descriptor.
const NO_DESCRIPTORS: Duration = Duration::from_millis(10);
/// How much a process that has ended may have left in its socket: a grandchild may write on and on.
const LAST_BYTES: usize = 8 << 20;

/// All message sockets of the primary. Cheap to clone; one per cluster.
#[derive(Clone)]
pub(crate) struct Exchange {
    hub: Arc<Mutex<Hub>>,
    words: mpsc::Sender<Word>,
    /// Told when there is less to wait for.
    eased: Arc<Notify>,
}

/// What the exchange tells whoever supervises.
#[derive(Debug)]
pub(crate) enum Word {
    /// The process wrote what is no frame, or what it may not write. It is not heard any more.
    Garbled { peer: PeerId, why: String },
    /// The director asks for something; the answer is `ToDirector::Reply` with the same id.
    Command { director: PeerId, id: u64, command: Command },
    /// Messages came to nothing; so many with this sender, type and reason until now.
    Undelivered(Undelivered),
}

struct Hub {
    router: Router,
    lines: BTreeMap<PeerId, Line>,
    reader: Reader,
    stand_in: StandIn,
    tally: Tally,
}

/// The way to one process.
struct Line {
    socket: Arc<AsyncFd<OwnedFd>>,
    /// Told when there is something that the socket did not take.
    stalled: Arc<Notify>,
    collector: Collector,
    /// Descriptors that came and whose frames are not read yet.
    parcels: VecDeque<OwnedFd>,
    /// Its stream is sound and has not ended.
    sound: bool,
}

/// Takes the place of a parcel whose descriptor was lost because this process may open no more: its receiver
/// cannot open it, and reports the message. Kept ready, because then it could not be made.
struct StandIn(Option<OwnedFd>);

impl StandIn {
    fn new() -> Self {
        let mut it = Self(None);
        it.renew();
        it
    }

    /// Makes another where the last one is used. Answers whether there is reason to wait for it: none where
    /// there can be none at all.
    fn renew(&mut self) -> bool {
        if self.0.is_some() {
            return true;
        }
        match parcel::create() {
            // Never sealed: nobody takes it for a parcel.
            Ok(file) => self.0 = Some(file.into()),
            Err(err) => {
                let full = [Errno::EMFILE, Errno::ENFILE].map(|errno| Some(errno as i32));
                return !full.contains(&err.raw_os_error());
            }
        }
        true
    }
}

/// How one look at a socket ended.
enum Read {
    Some(Vec<Word>, Rest),
    /// Not now: there is no descriptor left, not even to stand in for a parcel that would be lost.
    Later,
    Nothing,
    End,
    /// The end, in the midst of a frame.
    Cut,
}

/// Whether there may be more to read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Some,
    /// The socket is empty, and what was read was little.
    None,
}

impl Rest {
    const LITTLE: usize = 16 * 1024;

    /// A read ends where descriptors come, though there is more; else a short one has emptied the socket.
    fn after(len: usize, descriptors: bool) -> Self {
        if len < Self::LITTLE && !descriptors { Rest::None } else { Rest::Some }
    }
}

impl Exchange {
    /// `director`: whether the cluster has one. Must be called on the runtime that will run its tasks.
    pub(crate) fn new(director: bool, slots: u16, words: mpsc::Sender<Word>) -> Self {
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        let mut router = Router::new(director, slots);
        router.most_parcels = usize::try_from(descriptors).unwrap_or(usize::MAX) / PARCELS_PART;
        let hub = Hub {
            router,
            lines: BTreeMap::new(),
            reader: Reader::new(),
            stand_in: StandIn::new(),
            tally: Tally::default(),
        };
        Self { hub: Arc::new(Mutex::new(hub)), words, eased: Arc::new(Notify::new()) }
    }

    /// A process is about to be born: from now on it can be written to. `socket` is our end of its message
    /// socket (SOCK_STREAM). What waits for its seat is its.
    pub(crate) fn join(&self, peer: PeerId, seat: Seat, socket: OwnedFd) -> io::Result<()> {
        let socket = Arc::new(readiness::watch_reading(socket)?);
        let stalled = Arc::new(Notify::new());
        let line = Line {
            socket: socket.clone(),
            stalled: stalled.clone(),
            collector: Collector::default(),
            parcels: VecDeque::new(),
            sound: true,
        };
        let mut hub = self.lock();
        hub.lines.insert(peer, line);
        hub.with_router(|router, sink| router.join(peer, seat, sink));
        drop(hub);
        tokio::spawn(self.clone().read(peer, socket.clone()));
        tokio::spawn(self.clone().write(peer, socket, stalled));
        Ok(())
    }

    /// The process has ended, or will never be: what it had written is routed, then all others are told.
    /// Call it BEFORE its exit is told to anybody.
    pub(crate) fn leave(&self, peer: PeerId) {
        let mut hub = self.lock();
        let mut words = Vec::new();
        let mut left = LAST_BYTES;
        while left > 0 {
            // There is no later.
            let _ = hub.stand_in.renew();
            match hub.read(peer, &mut left) {
                Read::Some(more, _) => words.extend(more),
                Read::Later | Read::Nothing | Read::End | Read::Cut => break,
            }
        }
        let lost = hub.with_router(|router, sink| router.leave(peer, sink));
        words.extend(hub.count(lost));
        if let PeerId::Worker(worker) = peer {
            hub.tally.forget(worker);
        }
        if let Some(line) = hub.lines.remove(&peer) {
            // Its tasks see that it is gone.
            line.stalled.notify_one();
        }
        drop(hub);
        self.eased.notify_waiters();
        self.tell_now(words);
    }

    /// Nobody will have the seat any more: who waits for it is told so.
    pub(crate) fn vacate(&self, seat: Seat) {
        let mut hub = self.lock();
        let lost = hub.with_router(|router, sink| router.vacate(seat, sink));
        let words = hub.count(lost);
        drop(hub);
        self.eased.notify_waiters();
        self.tell_now(words);
    }

    /// Tells the director, after all that was routed to it before. Kept while there is none. Answers whether
    /// there was room: for events there may be none.
    pub(crate) fn tell_director(&self, word: &ToDirector) -> bool {
        let mut hub = self.lock();
        let full = hub.router.waiting_for(Seat::Director) > MOST_FOR_DIRECTOR;
        if full && matches!(word, ToDirector::Event(_)) {
            return false;
        }
        hub.with_router(|router, sink| router.tell_director(word, sink));
        true
    }

    /// How many slots there are from now on: told to all.
    pub(crate) fn set_slots(&self, slots: u16) {
        let mut hub = self.lock();
        let lost = hub.with_router(|router, sink| router.set_slots(slots, sink));
        let words = hub.count(lost);
        drop(hub);
        self.tell_now(words);
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what there is room for: more of it is of no use to anybody.
    fn tell_now(&self, words: Vec<Word>) {
        for word in words {
            let _ = self.words.try_send(word);
        }
    }

    /// The task that reads from one process.
    async fn read(self, peer: PeerId, socket: Arc<AsyncFd<OwnedFd>>) {
        loop {
            self.wait_until_eased(peer).await;
            let Ok(mut ready) = socket.readable().await else { return };
            let read = self.lock().read_prepared(peer);
            match read {
                Read::Later => {
                    drop(ready);
                    tokio::time::sleep(NO_DESCRIPTORS).await;
                }
                Read::Some(words, rest) => {
                    if rest == Rest::None {
                        // No look at an empty socket: it would keep whoever was written to from the processor.
                        ready.clear_ready();
                    }
                    drop(ready);
                    for word in words {
                        let _ = self.words.send(word).await;
                    }
                    if rest == Rest::Some {
                        // BETWEEN reads all else has its turn: signals, commands, the ends of processes.
                        tokio::task::yield_now().await;
                    }
                }
                Read::Nothing => ready.clear_ready(),
                Read::End => return,
                Read::Cut => {
                    drop(ready);
                    return self.cut(peer, &socket).await;
                }
            }
        }
    }

    /// What the process wrote ended in the midst of a frame: one that lives on all the same is not sound.
    async fn cut(&self, peer: PeerId, socket: &Arc<AsyncFd<OwnedFd>>) {
        tokio::time::sleep(END_LINGERS).await;
        let lives = self.lock().lines.get(&peer).is_some_and(|line| Arc::ptr_eq(&line.socket, socket));
        if lives {
            let why = "what it wrote ended in the midst of a frame".to_owned();
            let _ = self.words.send(Word::Garbled { peer, why }).await;
        }
    }

    /// What a process asks for, and does not take, is answered no further. Nobody else waits for it: what others
    /// send to it is bounded by the router.
    async fn wait_until_eased(&self, peer: PeerId) {
        loop {
            let eased = self.eased.notified();
            if self.lock().router.waiting_of(peer) < CHOKE_OF_ONE {
                return;
            }
            eased.await;
        }
    }

    /// The task that writes to one process what its socket did not take at first.
    async fn write(self, peer: PeerId, socket: Arc<AsyncFd<OwnedFd>>, stalled: Arc<Notify>) {
        loop {
            stalled.notified().await;
            loop {
                let written = self.lock().write(peer);
                self.ease();
                match written {
                    Written::All => break,
                    Written::Some => tokio::task::yield_now().await,
                    Written::Full => {
                        if readiness::writable(socket.get_ref().as_fd()).await.is_err() {
                            // Waiting takes a descriptor.
                            tokio::time::sleep(NO_DESCRIPTORS).await;
                        }
                    }
                    // Not the socket's: too many descriptors are on their way (unix(7), ETOOMANYREFS).
                    Written::Not => tokio::time::sleep(Duration::from_millis(10)).await,
                    Written::Gone => return,
                }
            }
        }
    }

    fn ease(&self) {
        // Each looks for itself: one may be held up by its own backlog, all by everybody's.
        self.eased.notify_waiters();
    }
}

/// How writing from a backlog ended.
enum Written {
    All,
    Some,
    Full,
    Not,
    Gone,
}

impl Hub {
    /// Runs the router with a way to write.
    fn with_router<R>(&mut self, act: impl FnOnce(&mut Router, crate::ipc::router::Sink<'_>) -> R) -> R {
        let Self { router, lines, .. } = self;
        act(router, &mut |peer, bytes, parcel| {
            let Some(line) = lines.get(&peer) else { return 0 };
            let fd = parcel.map(|parcel| parcel.as_fd());
            // A process that is gone takes nothing; what was for its seat is the next one's.
            let written = stream::write(line.socket.get_ref().as_fd(), bytes, fd).unwrap_or(0);
            if written < bytes.len() {
                line.stalled.notify_one();
            }
            written
        })
    }

    /// Reads once from a process, unless a parcel could come to nothing unseen.
    fn read_prepared(&mut self, peer: PeerId) -> Read {
        if self.stand_in.renew() { self.read(peer, &mut usize::MAX.clone()) } else { Read::Later }
    }

    /// Reads once from a process and routes what came; counts the bytes down from `left`.
    fn read(&mut self, peer: PeerId, left: &mut usize) -> Read {
        let Some(line) = self.lines.get_mut(&peer).filter(|line| line.sound) else { return Read::End };
        let mut fds = Vec::new();
        let socket = line.socket.clone();
        let read = self.reader.read(socket.get_ref().as_fd(), line.collector.spare(), &mut fds);
        let descriptors = !fds.is_empty() || matches!(read, Ok(Received { lost: true, .. }));
        line.parcels.extend(fds);
        let rest = match read {
            Ok(Received { len: 0, .. }) => {
                line.sound = false;
                return if line.collector.bytes().is_empty() { Read::End } else { Read::Cut };
            }
            Ok(Received { len, lost }) => {
                if lost {
                    // One: each frame with a parcel is written by itself, and a read brings the descriptors of
                    // one write.
                    let Some(stand_in) = self.stand_in.0.take() else {
                        return self
                            .distrust(peer, "there is no descriptor left for what it sent".to_owned());
                    };
                    line.parcels.push_back(stand_in);
                }
                *left = left.saturating_sub(len);
                line.collector.filled(len);
                Rest::after(len, descriptors)
            }
            Err(Errno::EAGAIN) => return Read::Nothing,
            Err(err) => return self.distrust(peer, format!("reading from it failed: {err}")),
        };
        match self.route(peer) {
            Ok(found) => {
                Read::Some(found.into_iter().filter_map(|found| self.say(peer, found)).collect(), rest)
            }
            Err(fault) => self.distrust(peer, fault.to_string()),
        }
    }

    fn route(&mut self, peer: PeerId) -> Result<Vec<Found>, Fault> {
        let Some(line) = self.lines.get_mut(&peer) else { return Ok(Vec::new()) };
        // Taken out: the process may write to itself.
        let (mut collector, mut parcels) =
            (std::mem::take(&mut line.collector), std::mem::take(&mut line.parcels));
        let mut found = Vec::new();
        let routed = self
            .with_router(|router, sink| router.route(peer, collector.bytes(), &mut parcels, sink, &mut found))
            .map(|len| collector.take(len));
        // The last one's frame may not be here yet.
        let stray = parcels.len() > usize::from(!collector.bytes().is_empty());
        if let Some(line) = self.lines.get_mut(&peer) {
            (line.collector, line.parcels) = (collector, parcels);
        }
        routed?;
        if stray { Err(Fault::Descriptors("descriptors came that belong to no frame")) } else { Ok(found) }
    }

    fn distrust(&mut self, peer: PeerId, why: String) -> Read {
        if let Some(line) = self.lines.get_mut(&peer) {
            line.sound = false;
            line.parcels.clear();
        }
        Read::Some(vec![Word::Garbled { peer, why }], Rest::Some)
    }

    /// What was found, in a word for the supervision.
    fn say(&mut self, peer: PeerId, found: Found) -> Option<Word> {
        match found {
            Found::Undelivered(what) => self.count(vec![what]).pop(),
            Found::Word(bytes) => Some(match codec::decode(&bytes) {
                Ok(FromDirector::Command { id, command }) => Word::Command { director: peer, id, command },
                Err(err) => Word::Garbled { peer, why: format!("a command that is none: {err}") },
            }),
        }
    }

    fn count(&mut self, lost: Vec<Undelivered>) -> Vec<Word> {
        lost.into_iter().filter_map(|what| self.tally.count(what)).map(Word::Undelivered).collect()
    }

    /// Writes from the backlog of a process.
    fn write(&mut self, peer: PeerId) -> Written {
        /// Then others have their turn.
        const AT_ONCE: usize = 1 << 20;
        let mut left = AT_ONCE;
        let Some(line) = self.lines.get(&peer) else { return Written::Gone };
        while left > 0 {
            let Some((bytes, parcel)) = self.router.front(peer) else { return Written::All };
            let fd = parcel.map(|parcel| parcel.as_fd());
            match stream::write(line.socket.get_ref().as_fd(), bytes, fd) {
                Ok(len) => {
                    self.router.advance(peer, len);
                    left = left.saturating_sub(len);
                }
                Err(Errno::EAGAIN) => return Written::Full,
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Written::Gone,
                Err(_) => return Written::Not,
            }
        }
        Written::Some
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::id::{Slot, WorkerId};
    use crate::ipc::frame::{self, Head, Kind};
    use crate::sys::channel::stream_pair;
    use crate::sys::parcel::Parcel;

    const FROM: PeerId = PeerId::Worker(WorkerId(1));
    const TO: PeerId = PeerId::Worker(WorkerId(2));

    /// Sends a message with a parcel of `len` bytes.
    fn send_parcel(socket: &OwnedFd, len: u64) {
        let mut file = parcel::create().unwrap();
        file.write_all(&vec![1; len as usize]).unwrap();
        let fd = parcel::seal(file).unwrap();
        let mut bytes = Vec::new();
        let head = Head { parcel: true, ..Head::system(Kind::Message, FROM.into(), TO.into()) };
        frame::write(&mut bytes, &head, b"Large", &len.to_le_bytes());
        assert_eq!(stream::write(socket.as_fd(), &bytes, Some(fd.as_fd())), Ok(bytes.len()));
    }

    /// Which of the parcels that have come can be opened.
    fn opened(socket: &OwnedFd) -> Vec<bool> {
        let (mut buf, mut fds, mut bytes) = (vec![0; 1 << 16], Vec::new(), Vec::new());
        while let Ok(received) = Reader::new().read(socket.as_fd(), &mut buf, &mut fds) {
            bytes.extend_from_slice(&buf[..received.len]);
        }
        let (mut at, mut opened, mut fds) = (0, Vec::new(), fds.into_iter());
        while let Some(frame) = frame::read(&bytes[at..]).unwrap() {
            at += frame.bytes.len();
            if frame.head.parcel {
                let (fd, len) = (fds.next().unwrap(), frame.parcel_len().unwrap());
                opened.push(Parcel::open(fd.as_fd(), len).is_ok());
            }
        }
        opened
    }

    #[tokio::test]
    async fn a_parcel_that_is_lost_is_no_fault_of_its_sender() {
        let (words, _told) = mpsc::channel(8);
        let exchange = Exchange::new(false, 2, words);
        let (from, to) = (stream_pair().unwrap(), stream_pair().unwrap());
        exchange.join(FROM, Seat::Slot(Slot(0)), from.0).unwrap();
        exchange.join(TO, Seat::Slot(Slot(1)), to.0).unwrap();
        for len in [10, 20, 30] {
            send_parcel(&from.1, len);
        }
        // No task has its turn: this one does not wait.
        let mut hub = exchange.lock();
        for reader in [Reader::new(), Reader::without_room(), Reader::new()] {
            hub.reader = reader;
            let Read::Some(words, _) = hub.read_prepared(FROM) else { panic!("there was nothing") };
            assert!(words.is_empty(), "{words:?}");
        }
        assert!(matches!(hub.write(TO), Written::All));
        assert_eq!(opened(&to.1), [true, false, true]);
    }
}
