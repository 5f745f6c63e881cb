//! Who receives messages of which type, and where a message goes. Pure: nothing is decoded here.
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::ipc::early::{Early, Kept};
use crate::ipc::frame::{Address, Frame};
use crate::ipc::inbox::{Mark, Receiver};
use crate::ipc::letter::Letter;
use crate::ipc::notice::Undelivered;
use crate::ipc::router::worker_of;
use crate::ipc::shape::Key;
use crate::ipc::ticket::Ticket;

/// Why a message of a known name is not decoded.
const OTHER_LAYOUT: &str = "its fields are others here than where it was sent";

/// Why what a dropped stream leaves is not given to others.
const BEGAN_LATER: &str = "its stream was dropped, and who else listens began later";

/// All who receive messages, and what waits for somebody who does.
#[derive(Default)]
pub(crate) struct Listeners {
    /// By the fingerprint of their type; few have the same.
    types: BTreeMap<u64, Vec<Type>>,
    early: Early,
}

/// A type of message and who receives it.
struct Type {
    key: &'static Key,
    /// While none is open, messages are kept as early ones.
    receivers: Receivers,
    /// While what was kept is handed over, all that comes waits behind it.
    handing_over: Option<HandingOver>,
}

pub(crate) type Receivers = Arc<Vec<Arc<dyn Receiver>>>;

/// Messages on their way from the kept ones to the receivers.
#[derive(Default)]
struct HandingOver {
    queue: VecDeque<Waiting>,
    /// So many at its front came before the one that is shown to receivers now.
    ahead: usize,
    /// Those who wait for all that has come.
    marks: Vec<Mark>,
}

/// A message that waits for those before it.
pub(crate) struct Waiting {
    pub(crate) kept: Kept,
    /// As they were when it came.
    pub(crate) receivers: Receivers,
    pub(crate) ticket: Ticket,
}

fn is_open(receivers: &[Arc<dyn Receiver>]) -> bool {
    receivers.iter().any(|receiver| !receiver.is_closed())
}

/// What becomes of a message.
pub(crate) enum Course {
    /// It is for these, now.
    Deliver(Receivers),
    /// It is kept, or waits for others.
    Waits,
}

/// What one of those that are handed over comes to.
pub(crate) enum HandedOver {
    To(Waiting),
    Lost(Undelivered),
}

impl Type {
    /// The next of those that wait; none ends the handing over.
    fn next_waiting(&mut self, early: &mut Early) -> Option<HandedOver> {
        let handing_over = self.handing_over.as_mut()?;
        handing_over.ahead = 0;
        while let Some(mut next) = handing_over.queue.pop_front() {
            if !is_open(&next.receivers) && is_open(&self.receivers) {
                next.receivers = self.receivers.clone();
            }
            if is_open(&next.receivers) {
                return Some(HandedOver::To(next));
            }
            let (from, size) = (next.kept.from, next.kept.body.len() as u64);
            if let Err(reason) = early.keep(&self.key.name, next.kept) {
                return Some(HandedOver::Lost(undelivered(from, &self.key.name, size, reason)));
            }
        }
        let marks = std::mem::take(&mut handing_over.marks);
        self.handing_over = None;
        marks.iter().for_each(|mark| self.mark(mark));
        None
    }

    /// Gives what was kept to those who listen now. Answers whether handing over begins with it.
    fn give_kept(&mut self, kept: Vec<Kept>) -> bool {
        let begins = self.handing_over.is_none() && !kept.is_empty();
        if begins
            && let [stream] = self.receivers.as_slice()
            && stream.is_stream()
        {
            // It has them all at once: nothing is decoded now.
            let letters: Vec<_> = kept.into_iter().map(|kept| Arc::new(Letter::of(kept))).collect();
            stream.take_over(&letters);
            return false;
        }
        if !kept.is_empty() {
            let HandingOver { queue, ahead, .. } = self.handing_over.get_or_insert_default();
            *ahead += kept.len();
            // They came before what waits. They have no senders who wait for them any more.
            for kept in kept.into_iter().rev() {
                queue.push_front(Waiting { kept, receivers: self.receivers.clone(), ticket: Ticket::none() });
            }
        }
        begins
    }

    fn mark(&mut self, mark: &Mark) {
        match &mut self.handing_over {
            Some(handing_over) => handing_over.marks.push(mark.clone()),
            None => self.receivers.iter().for_each(|receiver| receiver.mark(mark.clone())),
        }
    }
}

impl Listeners {
    fn known(&mut self, fingerprint: u64, name: &[u8]) -> Option<(&mut Type, &mut Early)> {
        let types = self.types.get_mut(&fingerprint)?;
        let known = types.iter_mut().find(|known| known.key.name.as_bytes() == name)?;
        Some((known, &mut self.early))
    }

    /// Adds a receiver. Answers whether something is to be handed over now, and what cannot be.
    pub(crate) fn listen(
        &mut self,
        key: &'static Key,
        receiver: Arc<dyn Receiver>,
    ) -> (bool, Vec<Undelivered>) {
        let types = self.types.entry(key.fingerprint).or_default();
        let at = types.iter().position(|known| known.key.name == key.name).unwrap_or_else(|| {
            types.push(Type { key, receivers: Arc::default(), handing_over: None });
            types.len() - 1
        });
        let known = &mut types[at];
        let receivers = Arc::make_mut(&mut known.receivers);
        receivers.retain(|receiver| !receiver.is_closed());
        receivers.push(receiver);
        if receivers.len() > 1 {
            return (false, Vec::new());
        }
        let kept = self.early.take(&key.name);
        let (ours, others): (Vec<_>, Vec<_>) =
            kept.into_iter().partition(|kept| kept.fingerprint == key.fingerprint);
        let begins = known.give_kept(ours);
        let lost =
            |kept: Kept| undelivered(kept.from, &key.name, kept.body.len() as u64, OTHER_LAYOUT.to_owned());
        (begins, others.into_iter().map(lost).collect())
    }

    /// What is handed over next. After the last, messages go to the receivers at once.
    pub(crate) fn next_waiting(&mut self, key: &Key) -> Option<HandedOver> {
        let (known, early) = self.known(key.fingerprint, key.name.as_bytes())?;
        known.next_waiting(early)
    }

    /// Puts back what nobody has taken.
    pub(crate) fn wait_first(&mut self, key: &Key, waiting: Waiting) {
        if let Some((known, _)) = self.known(key.fingerprint, key.name.as_bytes()) {
            let HandingOver { queue, ahead, .. } = known.handing_over.get_or_insert_default();
            queue.insert(*ahead, waiting);
        }
    }

    /// A stream is dropped, and nobody else has these: those that are unheard are older than all that is kept, or
    /// waits. Answers with those that are lost. What is left of `letters` is done with.
    pub(crate) fn take_back(&mut self, key: &Key, letters: &mut Vec<Letter>) -> Vec<Undelivered> {
        let Some((known, early)) = self.known(key.fingerprint, key.name.as_bytes()) else {
            return Vec::new();
        };
        let mut unheard = letters.iter_mut().filter(|letter| !letter.is_heard()).peekable();
        if unheard.peek().is_none() {
            return Vec::new();
        }
        if !is_open(&known.receivers) {
            // Without their tickets: what is kept is not on the way any more.
            let bodies = unheard.map(|letter| (letter.from, std::mem::take(&mut letter.body)));
            let kept = bodies.map(|(from, body)| Kept { from, fingerprint: key.fingerprint, body });
            return early.keep_first(&key.name, kept);
        }
        let lost = unheard.map(|letter| {
            undelivered(letter.from, &key.name, letter.body.len() as u64, BEGAN_LATER.to_owned())
        });
        let lost = lost.collect();
        let older: Vec<_> = letters.extract_if(.., |letter| !letter.is_heard()).map(Arc::new).collect();
        // One: given to several they could come to one of them again, behind what is younger.
        let taken = known.receivers.iter().any(|receiver| receiver.take_over(&older));
        // Not dropped here: where nobody has taken them these are the last.
        letters.extend(older.into_iter().filter_map(Arc::into_inner));
        if taken { Vec::new() } else { lost }
    }

    /// Says where a message goes, and has it wait where it has to; its ticket is taken where it is queued.
    pub(crate) fn admit(
        &mut self,
        frame: &Frame<'_>,
        body: &[u8],
        ticket: &mut Ticket,
    ) -> Result<Course, String> {
        let (from, fingerprint) = (frame.head.from, frame.head.fingerprint);
        let kept = || Kept { from, fingerprint, body: body.to_vec() };
        if let Some((known, _)) = self.known(fingerprint, frame.name) {
            let receivers = known.receivers.clone();
            if let Some(handing_over) = &mut known.handing_over {
                let ticket = std::mem::take(ticket);
                handing_over.queue.push_back(Waiting { kept: kept(), receivers, ticket });
                return Ok(Course::Waits);
            }
            if is_open(&receivers) {
                return Ok(Course::Deliver(receivers));
            }
        } else if self.types.values().flatten().any(|known| known.key.name.as_bytes() == frame.name) {
            return Err(OTHER_LAYOUT.to_owned());
        }
        self.early.keep(&String::from_utf8_lossy(frame.name), kept()).map(|()| Course::Waits)
    }

    /// Who waits for all that has come until now.
    pub(crate) fn mark(&mut self, mark: &Mark) {
        self.types.values_mut().flatten().for_each(|known| known.mark(mark));
    }

    pub(crate) fn close_streams(&mut self) {
        for known in self.types.values_mut().flatten() {
            Arc::make_mut(&mut known.receivers).retain(|receiver| !receiver.is_stream());
        }
    }

    /// Nothing is kept from now on; what was is lost.
    pub(crate) fn end_early(&mut self) -> Vec<Undelivered> {
        self.early.end()
    }
}

/// One message that came to nothing.
pub(crate) fn undelivered(from: Address, type_name: &str, size: u64, reason: String) -> Undelivered {
    Undelivered::one(worker_of(from), type_name, size, reason)
}
