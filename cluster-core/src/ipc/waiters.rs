//! Who waits before it can send, and whom room is offered to. Pure.
//!
//! Room in a window is offered to so many as it is enough for, in the order in which they began to wait: a hundred
//! behind a full window cost no more than one. Who is offered room may come for it late, or never: a future may be
//! dropped, or kept and not polled. So nothing is set aside for it, and a moment later what is still there is offered
//! to the next ([`Waiters::some_wait_on`] says when). Who came in vain keeps its place.
use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;

use crate::ipc::frame::Address;
use crate::ipc::notice::Weight;

#[derive(Default)]
pub(crate) struct Waiters {
    lines: BTreeMap<Line, BTreeMap<u64, Waiter>>,
    /// Windows whose room was offered to some, while others wait on.
    offered: BTreeSet<Address>,
    last: u64,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Line {
    /// Word of who there is.
    Roster,
    /// The socket.
    Socket,
    /// Room in the window to somebody.
    Window(Address),
}

/// A place in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    line: Line,
    number: u64,
}

struct Waiter {
    weight: Weight,
    waker: Waker,
}

/// Whether there is room for one who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    Enough,
    /// Not for this one.
    TooLittle,
    /// Not for any.
    None,
}

impl Waiters {
    /// Waits; in the place it had, if that is in the same line.
    pub(crate) fn wait(&mut self, line: Line, had: Option<Place>, weight: Weight, waker: &Waker) -> Place {
        let place = match had {
            Some(had) if had.line == line => had,
            Some(had) => {
                self.leave(had);
                self.last_of(line)
            }
            None => self.last_of(line),
        };
        let waiter = Waiter { weight, waker: waker.clone() };
        self.lines.entry(line).or_default().insert(place.number, waiter);
        place
    }

    fn last_of(&mut self, line: Line) -> Place {
        self.last += 1;
        Place { line, number: self.last }
    }

    /// Waits no more.
    pub(crate) fn leave(&mut self, place: Place) {
        if let Some(line) = self.lines.get_mut(&place.line) {
            line.remove(&place.number);
            if line.is_empty() {
                self.lines.remove(&place.line);
            }
        }
    }

    /// There may be room in a window: `take` says for whom, one after the other.
    pub(crate) fn offer(&mut self, to: Address, mut take: impl FnMut(Weight) -> Room) {
        self.offered.remove(&to);
        let Some(line) = self.lines.get_mut(&Line::Window(to)) else { return };
        let mut lucky = Vec::new();
        for (number, waiter) in line.iter() {
            match take(waiter.weight) {
                Room::Enough => lucky.push(*number),
                Room::TooLittle => {}
                Room::None => break,
            }
        }
        let woken: Vec<Waiter> = lucky.iter().filter_map(|number| line.remove(number)).collect();
        if line.is_empty() {
            self.lines.remove(&Line::Window(to));
        } else if !woken.is_empty() {
            self.offered.insert(to);
        }
        woken.into_iter().for_each(|waiter| waiter.waker.wake());
    }

    /// Whether room was offered to some while others wait on: it is to be offered again, a moment later.
    pub(crate) fn some_wait_on(&self) -> bool {
        !self.offered.is_empty()
    }

    /// The windows whose room is to be offered again.
    pub(crate) fn take_offered(&mut self) -> BTreeSet<Address> {
        std::mem::take(&mut self.offered)
    }

    /// Wakes all of a line.
    pub(crate) fn wake(&mut self, line: Line) {
        let all = self.lines.remove(&line).into_iter().flat_map(BTreeMap::into_values);
        all.for_each(|waiter| waiter.waker.wake());
    }

    /// Wakes everybody.
    pub(crate) fn wake_all(&mut self) {
        self.offered.clear();
        let all = std::mem::take(&mut self.lines).into_values().flat_map(BTreeMap::into_values);
        all.for_each(|waiter| waiter.waker.wake());
    }
}
