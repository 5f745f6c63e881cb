//! What comes from the primary, read and taken in.
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use tokio::io::unix::AsyncFd;

use crate::ipc::codec;
use crate::ipc::control::{Surveyed, ToDirector};
use crate::ipc::endpoint::Endpoint;
use crate::ipc::frame::{self, Collector, Frame, Kind};
use crate::ipc::notice::{Credit, Notice, Receipt, Refusal};
use crate::ipc::outbox::Reply;
use crate::ipc::row::Row;
use crate::sys::parcel::Parcel;
use crate::sys::stream::{Reader, Received};

/// Why reading has ended.
pub(super) enum End {
    Gone,
    Garbled(String),
}

impl Endpoint {
    /// The task that reads from the primary.
    pub(super) async fn read(self, socket: Arc<AsyncFd<Arc<OwnedFd>>>) {
        /// A read of so much has kept others waiting.
        const MUCH: usize = 16 * 1024;
        let mut hearing = Hearing::new();
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

    /// The writing task does, after those who were offered room.
    fn offer_again_later(&self) {
        if self.outbox().some_wait_on() {
            self.inner.stalled.notify_one();
        }
    }

    /// One frame of the exchange's.
    fn hear(&self, frame: &Frame<'_>, body: &Body<'_>, row: &mut Row) -> Result<(), String> {
        let (inner, head, body) = (&self.inner, frame.head, body.bytes());
        if head.kind != Kind::Message {
            row.end();
        }
        match head.kind {
            Kind::Message => inner.inbox.message(self, frame, body, row),
            Kind::Ask => inner.inbox.question(self, frame, body),
            Kind::Answer => {
                // NOT in one expression: the outbox must be free while the user's own Deserialize runs.
                let complete = self.outbox().reply(head.correlation);
                if let Some(complete) = complete {
                    complete(Reply::Answer { name: frame.name, fingerprint: head.fingerprint, body });
                }
                inner.inbox.took(frame);
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
                self.outbox().credit(to, weight);
                self.offer_again_later();
            }
            Kind::Receipt => {
                let receipt = codec::decode::<Receipt>(frame.body).map_err(|err| err.to_string())?;
                let take = self.outbox().receipt(head.correlation, receipt);
                self.offer_again_later();
                if let Some(take) = take {
                    take();
                }
            }
            Kind::Notice => {
                let notice = codec::decode::<Notice>(frame.body).map_err(|err| err.to_string())?;
                if let Notice::Gone { peer, .. } = notice {
                    inner.inbox.forget(peer.into());
                }
                let lost = self.outbox().notice(notice);
                lost.into_iter().for_each(|complete| complete(Reply::Refusal(Refusal::Gone)));
            }
            Kind::Word => {
                let word = codec::decode::<ToDirector>(frame.body).map_err(|err| err.to_string())?;
                // A worker is told none, and one that takes none hears none.
                let _ = inner.words.send(word);
            }
            Kind::Survey => {
                let piece = codec::decode::<Surveyed>(frame.body).map_err(|err| err.to_string())?;
                inner.surveys.hear(head.correlation, piece);
            }
            Kind::Mark => inner.caught_up.comes_back(),
            Kind::Leave => inner.let_go.comes_back(),
            Kind::Report => return Err("a report came from the primary".to_owned()),
        }
        Ok(())
    }
}

/// The reading side's own.
pub(super) struct Hearing {
    pub(super) collector: Collector,
    pub(super) reader: Reader,
    /// None for one that was lost.
    pub(super) parcels: VecDeque<Option<OwnedFd>>,
}

impl Hearing {
    pub(super) fn new() -> Self {
        Self { collector: Collector::default(), reader: Reader::new(), parcels: VecDeque::new() }
    }

    /// Reads once and treats what came: how much that was, and whether there may be more. `None` where there
    /// was nothing.
    pub(super) fn read(
        &mut self,
        endpoint: &Endpoint,
        socket: BorrowedFd<'_>,
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
        let (mut taken, mut row) = (0, Row::default());
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
            endpoint.hear(&frame, &body, &mut row)?;
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
