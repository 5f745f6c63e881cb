//! What goes no further, and who hears why.
use crate::id::PeerId;
use crate::ipc::frame::{Address, Frame, Head, Kind};
use crate::ipc::notice::{self, Credit, Refusal, Undelivered, Weight};
use crate::ipc::router::{Found, Router, Sink, worker_of};

/// What waits for the socket of one process, and for all sockets together; of the latter each may have a little.
const MOST_FOR_ONE: usize = 24 << 20;
const MOST_FOR_ALL: usize = 36 << 20;
const ALWAYS_FOR_ONE: usize = 256 << 10;

/// Why a frame of a user's goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Reason {
    #[error("there is no such worker (any more)")]
    NoSuchWorker,
    #[error("its asker is gone")]
    AskerGone,
    #[error("it has ended")]
    Ended,
    #[error("nobody has its place any more")]
    Vacant,
    #[error("as much as may wait for the next in its place does")]
    PlaceFull,
    #[error("it takes nothing, and as much as may wait for it does")]
    TakesNothing,
    /// Of a message to several.
    #[error("a worker that it was for has not taken enough of earlier ones to have room for it")]
    Missed,
}

impl Reason {
    /// What a question is told.
    fn refusal(self) -> Refusal {
        match self {
            Reason::TakesNothing | Reason::PlaceFull | Reason::Missed => Refusal::Full,
            Reason::NoSuchWorker | Reason::AskerGone | Reason::Ended | Reason::Vacant => Refusal::Gone,
        }
    }
}

impl Router {
    /// A frame of a user's goes no further. Who sent it has room for another again, and hears of it.
    pub(super) fn turn_away(
        &mut self,
        from: PeerId,
        frame: &Frame<'_>,
        reason: Reason,
        sink: Sink<'_>,
        found: &mut Vec<Found>,
    ) {
        let weight = Weight::of_frame(frame);
        let mut credit = Vec::new();
        let head = Head::system(Kind::Credit, Address::Exchange, from.into());
        notice::write(&mut credit, &head, &Credit { to: frame.head.to, weight });
        self.deliver(from, &credit, None, sink);
        if frame.head.kind == Kind::Ask {
            self.refuse(from, frame, &reason.refusal(), sink);
        }
        found.extend(undelivered(frame, reason).map(Found::Undelivered));
    }

    /// Whether a process has taken nothing for so long that no more can wait for it. Who keeps to the windows
    /// comes here where several processes are stuck at once, or one is known by several names.
    pub(super) fn is_overfull(&self, to: PeerId, frame: &Frame<'_>) -> bool {
        matches!(frame.head.kind, Kind::Message | Kind::Ask | Kind::Answer)
            && frame.bytes.len() > self.room_for(to, frame.head.parcel)
    }

    /// How many bytes of a user's may come to a process: any number where nothing waits for its socket.
    pub(super) fn room_for(&self, to: PeerId, parcel: bool) -> usize {
        let waits = self.waiting_of(to);
        if waits == 0 {
            usize::MAX
        } else if self.is_too_much_for_all(waits) || parcel && self.parcels() >= self.most_parcels {
            0
        } else {
            MOST_FOR_ONE.saturating_sub(waits)
        }
    }

    /// Whether all backlogs together have no room for more where so much waits already.
    pub(super) fn is_too_much_for_all(&self, waits: usize) -> bool {
        self.waiting > MOST_FOR_ALL && waits > ALWAYS_FOR_ONE
    }

    fn refuse(&mut self, from: PeerId, frame: &Frame<'_>, why: &Refusal, sink: Sink<'_>) {
        let mut head = Head::system(Kind::Refusal, Address::Exchange, from.into());
        head.correlation = frame.head.correlation;
        let mut bytes = Vec::new();
        notice::write(&mut bytes, &head, why);
        self.deliver(from, &bytes, None, sink);
    }
}

/// What there is to say of a message that came to nothing.
pub(super) fn undelivered(frame: &Frame<'_>, reason: Reason) -> Option<Undelivered> {
    if frame.head.kind != Kind::Message {
        return None;
    }
    Some(Undelivered {
        from: worker_of(frame.head.from),
        type_name: notice::printable(&String::from_utf8_lossy(frame.name)),
        size: frame.size(),
        count: 1,
        reason: reason.to_string(),
    })
}
