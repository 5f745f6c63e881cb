//! What a process sends: windows, what waits for the socket, and who waits for an answer. No I/O here: frames
//! go out through a function that writes.
use std::collections::{BTreeMap, HashMap};
use std::task::Waker;

use crate::id::PeerId;
use crate::ipc::backlog::{Backlog, SharedParcel};
use crate::ipc::error::SendError;
use crate::ipc::frame::{self, Address};
use crate::ipc::notice::{Notice, Receipt, Refusal, Weight};
use crate::ipc::roster::{Roster, Standing};
use crate::ipc::waiters::{Line, Place, Room, Waiters};
use crate::ipc::window::Limits;

/// When so many bytes wait for the socket they are written; if it does not take them `send` waits. Large enough
/// that few system calls carry many messages.
const MOST_WAITING: usize = 64 * 1024;

/// A frame that is ready to go, but for its correlation.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) to: Address,
    pub(crate) frame: Vec<u8>,
    pub(crate) parcel: Option<SharedParcel>,
    pub(crate) weight: Weight,
}

/// What becomes of a question.
pub(crate) enum Reply<'a> {
    /// `name` and `fingerprint` are its type's; `body` is None where its parcel could not be opened.
    Answer {
        name: &'a [u8],
        fingerprint: u64,
        body: Option<&'a [u8]>,
    },
    Refusal(Refusal),
}

/// Takes the reply; called once.
pub(crate) type Complete = Box<dyn FnOnce(Reply<'_>) + Send>;
/// Takes the receipt of a broadcast; called once.
pub(crate) type TakeReceipt = Box<dyn FnOnce(Receipt) + Send>;

/// Who waits for what comes back.
pub(crate) enum Awaits {
    Nothing,
    Reply(Complete),
    Receipt(TakeReceipt),
}

struct Question {
    to: Address,
    /// Who may have it, of those that are not gone: whoever had the place when it was asked, and who came after
    /// that. Word of one who came may be older than the question, or younger: until all are gone there may be an
    /// answer.
    with: Vec<PeerId>,
    complete: Complete,
}

impl Question {
    /// Somebody is gone. Answers whether nobody is left who could answer.
    fn is_lost_with(&mut self, gone: PeerId) -> bool {
        let could = self.with.len();
        self.with.retain(|peer| *peer != gone);
        self.with.is_empty() && could > 0
    }
}

struct Broadcast {
    to: Address,
    weight: Weight,
    take: TakeReceipt,
}

/// Writes to the socket: how much of it was taken, without waiting.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(&[u8], Option<&SharedParcel>) -> usize;

pub(crate) struct Outbox {
    pub(crate) roster: Roster,
    backlog: Backlog,
    /// Since the writing task's last turn a frame was written at once: further ones wait for its next, and go
    /// together.
    burst: bool,
    /// Few, and looked into for every message: an ordered map is quicker there than a hashed one.
    windows: BTreeMap<Address, Weight>,
    limits: Limits,
    questions: HashMap<u64, Question>,
    broadcasts: HashMap<u64, Broadcast>,
    last_correlation: u64,
    waiters: Waiters,
    /// There is no primary any more.
    gone: bool,
}

/// Whether a frame went.
pub(crate) enum Admitted {
    /// It did. `correlation`: where something comes back it is known by this. `crowded`: much was written to
    /// make room for it, so that others should have a turn now.
    Yes { correlation: u64, crowded: bool },
    /// There is no room now.
    No(Awaits),
}

impl Outbox {
    pub(crate) fn new(director: bool, slots: u16) -> Self {
        Self {
            roster: Roster::new(director),
            backlog: Backlog::default(),
            burst: false,
            windows: BTreeMap::new(),
            limits: Limits::of(slots),
            questions: HashMap::new(),
            broadcasts: HashMap::new(),
            last_correlation: 0,
            waiters: Waiters::default(),
            gone: false,
        }
    }

    /// Takes room for it if there is some; an error where there never will be.
    fn take_room(&mut self, to: Address, weight: Weight) -> Result<bool, SendError> {
        let gone = || SendError::PeerGone { to: to.to_string() };
        if self.gone {
            return Err(gone());
        }
        match self.roster.standing(to) {
            Standing::There => {}
            Standing::Unknown => return Ok(false),
            Standing::Gone => return Err(gone()),
            Standing::NoDirector => return Err(SendError::NoDirector),
        }
        if self.backlog.len() >= MOST_WAITING {
            return Ok(false);
        }
        let on_the_way = self.windows.entry(to).or_default();
        let admitted = self.limits.admit(*on_the_way, weight);
        if admitted {
            on_the_way.add(weight);
        }
        Ok(admitted)
    }

    /// Sends a frame of the user's if there is room.
    pub(crate) fn admit(
        &mut self,
        prepared: &mut Prepared,
        awaits: Awaits,
        sink: Sink<'_>,
    ) -> Result<Admitted, SendError> {
        let Prepared { to, weight, .. } = *prepared;
        let crowded = self.backlog.len() >= MOST_WAITING;
        if crowded {
            // Only a socket that is full is a reason to wait.
            self.write(sink);
        }
        if !self.take_room(to, weight)? {
            return Ok(Admitted::No(awaits));
        }
        let correlation = match awaits {
            Awaits::Nothing => 0,
            Awaits::Reply(complete) => {
                let with = self.roster.holder_of(to).into_iter().collect();
                let question = Question { to, with, complete };
                self.last_correlation += 1;
                self.questions.insert(self.last_correlation, question);
                self.last_correlation
            }
            Awaits::Receipt(take) => {
                self.last_correlation += 1;
                self.broadcasts.insert(self.last_correlation, Broadcast { to, weight, take });
                self.last_correlation
            }
        };
        if correlation > 0 {
            frame::correlate(&mut prepared.frame, correlation);
        }
        self.put(&prepared.frame, prepared.parcel.as_ref(), sink);
        Ok(Admitted::Yes { correlation, crowded })
    }

    /// Sends a frame, room or not: the system's own are few.
    pub(crate) fn put(&mut self, frame: &[u8], parcel: Option<&SharedParcel>, sink: Sink<'_>) {
        if self.gone {
            return;
        }
        // The first of a burst goes at once, so that it is on its way whatever happens to this process next;
        // what follows in the same breath goes together.
        let at_once = self.backlog.is_empty() && !std::mem::replace(&mut self.burst, true);
        let written = if at_once { sink(frame, parcel) } else { 0 };
        self.backlog.push(frame, written, parcel);
    }

    /// Writes what waits. Answers whether the socket has taken it all.
    pub(crate) fn write(&mut self, sink: Sink<'_>) -> bool {
        self.burst = false;
        while let Some((bytes, parcel)) = self.backlog.front() {
            let (len, written) = (bytes.len(), sink(bytes, parcel));
            self.backlog.advance(written);
            if written < len {
                break;
            }
        }
        if self.backlog.len() < MOST_WAITING / 2 {
            self.waiters.wake(Line::Socket);
        }
        self.backlog.is_empty()
    }

    /// Whether nothing waits for the socket, or nothing ever will be written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.gone || self.backlog.is_empty()
    }

    /// Who could not send `prepared` just now waits until it may; `had` is the place in which it has waited.
    pub(crate) fn wait(&mut self, prepared: &Prepared, had: Option<Place>, waker: &Waker) -> Place {
        let line = if self.roster.standing(prepared.to) == Standing::Unknown {
            Line::Roster
        } else if self.backlog.len() >= MOST_WAITING {
            Line::Socket
        } else {
            Line::Window(prepared.to)
        };
        self.waiters.wait(line, had, prepared.weight, waker)
    }

    /// Nobody waits in this place any more.
    pub(crate) fn leave(&mut self, place: Place) {
        self.waiters.leave(place);
    }

    /// There may be room in a window.
    fn offer(&mut self, to: Address) {
        const LEAST: Weight = Weight { frames: 1, bytes: frame::HEAD as u64, parcels: 0 };
        let limits = self.limits;
        let mut on_the_way = self.windows.get(&to).copied().unwrap_or_default();
        self.waiters.offer(to, |weight| {
            if limits.admit(on_the_way, weight) {
                on_the_way.add(weight);
                Room::Enough
            } else if limits.admit(on_the_way, LEAST) {
                Room::TooLittle
            } else {
                Room::None
            }
        });
    }

    /// Whether room was offered to some while others wait on: call [`offer_again`](Self::offer_again) when those
    /// have had their turn.
    pub(crate) fn some_wait_on(&self) -> bool {
        self.waiters.some_wait_on()
    }

    /// Offers others the room that was offered and is still there: who was offered it may never come.
    pub(crate) fn offer_again(&mut self) {
        self.waiters.take_offered().into_iter().for_each(|to| self.offer(to));
    }

    // ----- what comes back

    pub(crate) fn credit(&mut self, to: Address, weight: Weight) {
        if let Some(on_the_way) = self.windows.get_mut(&to) {
            on_the_way.sub(weight);
        }
        self.offer(to);
    }

    pub(crate) fn receipt(&mut self, correlation: u64, receipt: Receipt) -> Option<impl FnOnce() + use<>> {
        let Broadcast { to, weight, take } = self.broadcasts.remove(&correlation)?;
        self.credit(to, weight);
        Some(move || take(receipt))
    }

    pub(crate) fn reply(&mut self, correlation: u64) -> Option<Complete> {
        self.questions.remove(&correlation).map(|question| question.complete)
    }

    /// Who asked does not wait any more.
    pub(crate) fn forget(&mut self, correlation: u64) {
        self.questions.remove(&correlation);
        if let Some(broadcast) = self.broadcasts.get_mut(&correlation) {
            broadcast.take = Box::new(|_| {});
        }
    }

    /// Takes in a notice; answers with the questions that will have no answer.
    pub(crate) fn notice(&mut self, notice: Notice) -> Vec<Complete> {
        self.roster.apply(notice);
        let mut lost = Vec::new();
        match notice {
            Notice::Joined { peer, seat } => {
                let asked = self.questions.values_mut().filter(|question| question.to == seat.into());
                asked.for_each(|question| question.with.push(peer));
            }
            // What is asked of its seat is another's to answer.
            Notice::Beside { .. } => {}
            Notice::Slots(slots) => self.limits = Limits::of(slots),
            Notice::Gone { peer, seat } => {
                self.windows.remove(&peer.into());
                self.windows.remove(&seat.into());
                lost = self.take_questions(|question| question.is_lost_with(peer));
            }
            Notice::Vacant { seat } => {
                self.windows.remove(&seat.into());
                lost = self.take_questions(|question| question.to == seat.into());
            }
        }
        self.waiters.wake_all();
        lost
    }

    /// The primary is gone: nobody will answer, and there is nobody to send to.
    pub(crate) fn end(&mut self) -> (Vec<Complete>, Vec<TakeReceipt>) {
        self.gone = true;
        self.waiters.wake_all();
        let receipts = self.broadcasts.drain().map(|(_, broadcast)| broadcast.take).collect();
        (self.take_questions(|_| true), receipts)
    }

    fn take_questions(&mut self, which: impl Fn(&mut Question) -> bool) -> Vec<Complete> {
        self.questions
            .extract_if(|_, question| which(question))
            .map(|(_, question)| question.complete)
            .collect()
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
