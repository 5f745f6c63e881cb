//! A worker's place among those who wait for connections: who is in the wait set, who was rung, whose turn to ring.
//! Decides only; `doorbell.rs` acts.
//!
//! The kernel spends a connection's wake-up on one worker. Where that one dies, stops or leaves before it accepts,
//! the connection waits while others sleep. So whoever leaves the set without accepting rings a neighbour, and so
//! does the doorbell of a worker whose runtime does not answer.
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

/// How long a runtime may take to answer its doorbell before a neighbour is rung.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_millis(1);

/// An acceptor's number in its worker.
pub(crate) type Seat = usize;

/// Where an acceptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Not in `accept`: its worker is busy with what it took, or has not asked yet.
    Away,
    /// In the wait set.
    Inside,
    /// In `accept`, but it left the set when another acceptor of this worker was rung.
    Outside,
    /// Rung; its runtime has not answered.
    Rung,
    /// Dropped.
    Gone,
}

/// All acceptors of a worker.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    places: Vec<Place>,
    /// When a neighbour is to be rung, unless all who were rung have answered.
    answer_by: Option<Instant>,
}

/// What rang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ring {
    /// Somebody waits in the queue of this acceptor.
    Queue(Seat),
    /// A neighbour or the primary: somebody waits somewhere.
    Bell,
}

/// What an acceptor that waits is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Look into the queue.
    Accept,
    /// Join the wait set.
    Join,
    /// Nothing: it is in the set.
    Stay,
}

/// What a ring does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rung {
    /// They leave the wait set.
    pub(crate) leave: Vec<Seat>,
    /// They are woken, in this order: those who were rung first.
    pub(crate) wake: Vec<Seat>,
}

impl Membership {
    /// A further acceptor, which is not in the set yet.
    pub(crate) fn seat(&mut self) -> Seat {
        match self.places.iter().position(|place| *place == Place::Gone) {
            Some(seat) => {
                self.places[seat] = Place::Away;
                seat
            }
            None => {
                self.places.push(Place::Away);
                self.places.len() - 1
            }
        }
    }

    /// An acceptor waits for a connection.
    pub(crate) fn wait(&mut self, seat: Seat) -> Turn {
        match self.places[seat] {
            Place::Rung => {
                self.places[seat] = Place::Away;
                Turn::Accept
            }
            Place::Inside => Turn::Stay,
            Place::Away | Place::Outside | Place::Gone => {
                self.places[seat] = Place::Inside;
                Turn::Join
            }
        }
    }

    /// It rang. All leave the set together: a worker that is about to be busy must not be woken for anything.
    pub(crate) fn ring(&mut self, now: Instant, ring: Ring) -> Rung {
        let mut rung = Rung::default();
        if let Ring::Queue(seat) = ring
            && self.places.get(seat) != Some(&Place::Inside)
        {
            // An event from before it left.
            return rung;
        }
        let mut along = Vec::new();
        for (seat, place) in self.places.iter_mut().enumerate() {
            if *place != Place::Inside {
                continue;
            }
            rung.leave.push(seat);
            if ring == Ring::Bell || ring == Ring::Queue(seat) {
                *place = Place::Rung;
                rung.wake.push(seat);
            } else {
                *place = Place::Outside;
                along.push(seat);
            }
        }
        if !rung.wake.is_empty() {
            self.answer_by = Some(now + ANSWER_WITHIN);
        }
        // They come back when the loop has come to them: it is not stuck then.
        rung.wake.append(&mut along);
        rung
    }

    /// When [`time`](Self::time) wants to be asked.
    pub(crate) fn answer_by(&self) -> Option<Instant> {
        self.answer_by
    }

    /// Time has passed: whether to ring a neighbour, because the runtime has not answered. Once is enough: who is
    /// rung accepts one, and finds the others when it joins again.
    pub(crate) fn time(&mut self, now: Instant) -> bool {
        if self.answer_by.is_none_or(|by| by > now) {
            return false;
        }
        self.answer_by = None;
        self.places.contains(&Place::Rung)
    }

    /// An acceptor leaves for good: whether it was in the set. Whoever was, or was rung, may have had a wake-up spent
    /// on it, so a neighbour is to be rung.
    pub(crate) fn leave(&mut self, seat: Seat) -> Left {
        let place = std::mem::replace(&mut self.places[seat], Place::Gone);
        Left {
            was_inside: place == Place::Inside,
            ring_neighbour: matches!(place, Place::Inside | Place::Rung),
        }
    }

    /// An acceptor is to wait for nothing for a while. What was spent on it is a neighbour's, as above.
    pub(crate) fn step_aside(&mut self, seat: Seat) -> Left {
        let left = self.leave(seat);
        self.places[seat] = Place::Away;
        left
    }

    /// An acceptor could not join.
    pub(crate) fn step_back(&mut self, seat: Seat) {
        self.places[seat] = Place::Away;
    }

    /// Whether anybody is in the set.
    pub(crate) fn is_inside(&self) -> bool {
        self.places.contains(&Place::Inside)
    }
}

/// What leaving asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) was_inside: bool,
    pub(crate) ring_neighbour: bool,
}
