//! The primary's side of the message path: one socket per process, frames routed by their heads.
//!
//! The router decides; `hub.rs` reads and writes, and waits for neither: what a socket does not take stays in
//! the router's backlog, for the process's writing task. Here are the tasks, and who comes and goes.
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{Shutdown, shutdown};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

use crate::id::{PeerId, Seat};
use crate::ipc::control::{Command, Surveyed, ToDirector};
use crate::ipc::notice::Undelivered;
use crate::ipc::router::{Router, Sink};
use crate::sys::readiness;

mod hub;
mod stand_in;

use hub::{Hub, Line, Read, Rest, Written};

/// Nothing more of a process is read while so much waits for its own socket.
const CHOKE_OF_ONE: usize = 8 << 20;
/// Parcels may have this part of our descriptors.
const PARCELS_PART: usize = 4;
/// A process that ends closes its socket a moment BEFORE it is known to have ended.
const END_LINGERS: Duration = Duration::from_secs(1);
/// The director is told no more events while so much waits for it.
const MOST_FOR_DIRECTOR: usize = 8 << 20;
/// And nothing that is told again and again while so much does.
const MOST_BEFORE_COUNTERS: usize = 256 << 10;
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
    /// A process asks how the cluster stands, under this number.
    Survey { peer: PeerId, id: u64 },
    /// Messages came to nothing; so many with this sender, type and reason until now.
    Undelivered(Undelivered),
}

impl Exchange {
    /// `director`: whether the cluster has one. Must be called on the runtime that will run its tasks.
    pub(crate) fn new(director: bool, slots: u16, words: mpsc::Sender<Word>) -> Self {
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        let mut router = Router::new(director, slots);
        router.most_parcels = usize::try_from(descriptors).unwrap_or(usize::MAX) / PARCELS_PART;
        Self { hub: Arc::new(Mutex::new(Hub::new(router))), words, eased: Arc::new(Notify::new()) }
    }

    /// A process is about to be born: from now on it can be written to. `socket` is our end of its message
    /// socket (SOCK_STREAM). What waits for its seat is its.
    pub(crate) fn join(&self, peer: PeerId, seat: Seat, socket: OwnedFd) -> io::Result<()> {
        self.attend(peer, socket, |router, sink| router.join(peer, seat, sink))
    }

    /// As `join`, for one whose seat is another's until `give_seat`.
    pub(crate) fn join_beside(&self, peer: PeerId, seat: Seat, socket: OwnedFd) -> io::Result<()> {
        self.attend(peer, socket, |router, sink| router.join_beside(peer, seat, sink))
    }

    /// The seat is this process's from now on.
    pub(crate) fn give_seat(&self, peer: PeerId) {
        self.lock().with_router(|router, sink| router.give_seat(peer, sink));
    }

    fn attend(
        &self,
        peer: PeerId,
        socket: OwnedFd,
        join: impl FnOnce(&mut Router, Sink<'_>),
    ) -> io::Result<()> {
        let socket = Arc::new(readiness::watch_reading(socket)?);
        let stalled = Arc::new(Notify::new());
        let line = Line::new(socket.clone(), stalled.clone());
        let mut hub = self.lock();
        hub.lines.insert(peer, line);
        hub.with_router(join);
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
            // Its tasks see that it is gone: the one that writes is told, and the one that reads finds the end. It
            // would wait for ever where a grandchild has the other end and says nothing. What fails is not connected.
            line.stalled.notify_one();
            let _ = shutdown(line.socket.as_raw_fd(), Shutdown::Both);
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
    /// there was room: for events and counters there may be none.
    pub(crate) fn tell_director(&self, word: &ToDirector) -> bool {
        let mut hub = self.lock();
        let most = match word {
            ToDirector::Event(_) => MOST_FOR_DIRECTOR,
            ToDirector::Counts(_) | ToDirector::Listener { .. } => MOST_BEFORE_COUNTERS,
            ToDirector::Snapshot { .. } | ToDirector::Reply { .. } | ToDirector::Reloaded { .. } => {
                usize::MAX
            }
        };
        if hub.router.waiting_for(Seat::Director) > most {
            return false;
        }
        hub.with_router(|router, sink| router.tell_director(word, sink));
        true
    }

    /// Tells this director, whoever has the seat.
    pub(crate) fn tell_one(&self, director: u64, word: &ToDirector) {
        self.lock().with_router(|router, sink| router.tell_one(director, word, sink));
    }

    /// Answers a process that has asked how the cluster stands.
    pub(crate) fn tell_survey(&self, peer: PeerId, id: u64, pieces: &[Surveyed]) {
        self.lock().with_router(|router, sink| router.tell_survey(peer, id, pieces, sink));
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

    /// Tells without waiting: who calls is who hears it. What there is no room for now is told in time.
    fn tell_now(&self, words: Vec<Word>) {
        let mut words = words.into_iter();
        for word in words.by_ref() {
            let Err(TrySendError::Full(word)) = self.words.try_send(word) else { continue };
            let later = self.words.clone();
            tokio::spawn(async move {
                for word in std::iter::once(word).chain(words) {
                    let _ = later.send(word).await;
                }
            });
            return;
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

#[cfg(test)]
mod tests;
