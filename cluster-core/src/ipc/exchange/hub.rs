//! The sockets of all processes, and the router between them: what one turn of a task does.
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::id::PeerId;
use crate::ipc::codec;
use crate::ipc::control::FromDirector;
use crate::ipc::exchange::Word;
use crate::ipc::exchange::stand_in::StandIn;
use crate::ipc::frame::Collector;
use crate::ipc::notice::Undelivered;
use crate::ipc::router::{Fault, Found, Router, Sink};
use crate::ipc::tally::Tally;
use crate::sys::stream::{self, Reader, Received};

pub(super) struct Hub {
    pub(super) router: Router,
    pub(super) lines: BTreeMap<PeerId, Line>,
    pub(super) reader: Reader,
    pub(super) stand_in: StandIn,
    pub(super) tally: Tally,
}

/// The way to one process.
pub(super) struct Line {
    pub(super) socket: Arc<AsyncFd<OwnedFd>>,
    /// Told when there is something that the socket did not take.
    pub(super) stalled: Arc<Notify>,
    pub(super) collector: Collector,
    /// Descriptors that came and whose frames are not read yet.
    pub(super) parcels: VecDeque<OwnedFd>,
    /// Its stream is sound and has not ended.
    pub(super) sound: bool,
}

/// How one look at a socket ended.
pub(super) enum Read {
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
pub(super) enum Rest {
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

/// How writing from a backlog ended.
pub(super) enum Written {
    All,
    Some,
    Full,
    Not,
    Gone,
}

impl Line {
    pub(super) fn new(socket: Arc<AsyncFd<OwnedFd>>, stalled: Arc<Notify>) -> Self {
        Self { socket, stalled, collector: Collector::default(), parcels: VecDeque::new(), sound: true }
    }
}

impl Hub {
    pub(super) fn new(router: Router) -> Self {
        Self {
            router,
            lines: BTreeMap::new(),
            reader: Reader::new(),
            stand_in: StandIn::new(),
            tally: Tally::default(),
        }
    }

    /// Runs the router with a way to write.
    pub(super) fn with_router<R>(&mut self, act: impl FnOnce(&mut Router, Sink<'_>) -> R) -> R {
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
    pub(super) fn read_prepared(&mut self, peer: PeerId) -> Read {
        if self.stand_in.renew() { self.read(peer, &mut usize::MAX.clone()) } else { Read::Later }
    }

    /// Reads once from a process and routes what came; counts the bytes down from `left`.
    pub(super) fn read(&mut self, peer: PeerId, left: &mut usize) -> Read {
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
            Found::Survey(id) => Some(Word::Survey { peer, id }),
            Found::Word(bytes) => Some(match codec::decode(&bytes) {
                Ok(FromDirector::Command { id, command }) => Word::Command { director: peer, id, command },
                Err(err) => Word::Garbled { peer, why: format!("a command that is none: {err}") },
            }),
        }
    }

    pub(super) fn count(&mut self, lost: Vec<Undelivered>) -> Vec<Word> {
        lost.into_iter().filter_map(|what| self.tally.count(what)).map(Word::Undelivered).collect()
    }

    /// Writes from the backlog of a process.
    pub(super) fn write(&mut self, peer: PeerId) -> Written {
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
