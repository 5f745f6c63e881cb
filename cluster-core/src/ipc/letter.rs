//! A message that has come, on its way to those who listen, and as it stands in streams.
use std::borrow::Cow;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ipc::codec;
use crate::ipc::early::Kept;
use crate::ipc::frame::Address;
use crate::ipc::message::Message;
use crate::ipc::ticket::Ticket;

/// Why what a user's Deserialize has panicked on cannot be read.
pub(crate) const PANICKED: &str = "its Deserialize panicked";

/// A message in streams, as it came. It is one for all streams that have it, so that the last of them knows
/// whether anybody has heard it.
pub(crate) struct Letter {
    pub(crate) from: Address,
    pub(crate) body: Vec<u8>,
    /// Its sender's window has room again when the letter is dropped.
    ticket: Ticket,
    /// Somebody has taken it, whatever came of that.
    heard: AtomicBool,
    /// It is known that it cannot be read.
    spoilt: AtomicBool,
}

impl Letter {
    fn new(from: Address, body: Vec<u8>, ticket: Ticket) -> Self {
        Self { from, body, ticket, heard: AtomicBool::new(false), spoilt: AtomicBool::new(false) }
    }

    /// One that was kept: it has no sender who waits for it any more.
    pub(crate) fn of(kept: Kept) -> Self {
        Self::new(kept.from, kept.body, Ticket::none())
    }

    /// Whoever reads it has heard it. An error says why it cannot be read, `None` if that is known already.
    pub(crate) fn read<T: Message>(&self) -> Result<T, Option<String>> {
        self.heard.store(true, Ordering::Relaxed);
        let body = self.body.as_slice();
        // The type's own Deserialize runs here, and it is the user's.
        let read = match catch_unwind(|| codec::decode_message(body)) {
            Ok(decoded) => decoded.map_err(|err| err.to_string()),
            Err(_) => Err(PANICKED.to_owned()),
        };
        read.map_err(|why| (!self.spoilt.swap(true, Ordering::Relaxed)).then_some(why))
    }

    /// Of the last who has it this is the last word.
    pub(crate) fn is_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }
}

/// A message that is shown to receivers, one after the other.
pub(crate) struct Arriving<'a> {
    pub(crate) from: Address,
    /// Empty where there is a letter: it is in there.
    body: Cow<'a, [u8]>,
    pub(crate) ticket: Ticket,
    letter: Option<Arc<Letter>>,
    /// There are further ones to show it to.
    more: bool,
}

impl<'a> Arriving<'a> {
    pub(crate) fn new(from: Address, body: impl Into<Cow<'a, [u8]>>, ticket: Ticket) -> Self {
        Self { from, body: body.into(), ticket, letter: None, more: false }
    }

    pub(crate) fn body(&self) -> &[u8] {
        self.letter.as_ref().map_or(&self.body, |letter| &letter.body)
    }

    /// For a receiver of its own; `last` is the last one.
    pub(crate) fn is_for(&mut self, last: bool) {
        self.more = !last;
    }

    /// The present receiver's.
    pub(crate) fn take_ticket(&mut self) -> Ticket {
        if self.more { self.ticket.share() } else { std::mem::take(&mut self.ticket) }
    }

    /// The message for a stream's queue.
    pub(crate) fn letter(&mut self) -> Arc<Letter> {
        if let Some(letter) = &self.letter {
            return letter.clone();
        }
        let (body, ticket) = (std::mem::take(&mut self.body).into_owned(), self.take_ticket());
        let letter = Arc::new(Letter::new(self.from, body, ticket));
        self.letter = Some(letter.clone());
        letter
    }

    /// All receivers have seen it; `handled` says that one of them calls a handler. Answers whether it is with
    /// any of them: where all streams that had it have been dropped meanwhile, it is not.
    pub(crate) fn settle(&mut self, handled: bool) -> bool {
        let Some(letter) = self.letter.take() else { return handled };
        if handled {
            letter.heard.store(true, Ordering::Relaxed);
            return true;
        }
        let Some(letter) = Arc::into_inner(letter) else { return true };
        let heard = letter.is_heard();
        (self.body, self.ticket) = (letter.body.into(), letter.ticket);
        heard
    }

    /// A handler could not read it: neither can a stream, and it is told once.
    pub(crate) fn spoil(&mut self) {
        if let Some(letter) = &self.letter {
            letter.heard.store(true, Ordering::Relaxed);
            letter.spoilt.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn into_body(self) -> Vec<u8> {
        self.body.into_owned()
    }
}
