//! Whom the primary offers a connection that it has accepted. Decides only; `desk.rs` acts.
//!
//! An offer that is not claimed soon is taken back when somebody else has nothing to do: a worker whose loop is
//! blocked, or that is stopped, keeps nobody waiting. Where all are busy it stays, and the primary accepts no more
//! than they have places for: the rest waits in the kernel's queue.
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::conn::handoff::offer::{MOST, Offer};
use crate::id::PeerId;
use crate::scheduling::Scheduling;

/// How long a worker may leave an offer unclaimed while another is idle.
pub(crate) const PATIENCE: Duration = Duration::from_millis(4);
/// How long a worker may claim nothing of what it is offered while others, none of them idle, claim something.
const STALL: Duration = Duration::from_millis(24);

/// A connection that was accepted, and for which listener.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Accepted<T> {
    pub(crate) connection: T,
    pub(crate) listener: u16,
}

/// An offer that was made.
#[derive(Debug)]
struct Made<T> {
    offer: Offer,
    accepted: Accepted<T>,
    since: Instant,
}

/// A worker that takes offers.
#[derive(Debug)]
struct Taker<T> {
    peer: PeerId,
    /// By their places in its page.
    places: [Option<Made<T>>; MOST],
    /// Offers that it has not claimed; and of each listener.
    open: usize,
    open_of: Vec<usize>,
    standing: Standing,
    /// When it was offered something last, for each listener: numbers that grow.
    turns: Vec<u64>,
    /// Offers that it has claimed so far, and when it was last seen to have claimed any.
    claims: u64,
    seen: u64,
    moved: Option<Instant>,
}

/// Whether a worker is offered connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It has not asked yet.
    New,
    /// It claims what it is offered.
    Good,
    /// It has left an offer unclaimed: nothing until it says that it is there again.
    Silent,
    /// It drains.
    Retired,
}

/// An offer to write into a worker's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) peer: PeerId,
    pub(crate) at: usize,
    pub(crate) offer: Offer,
}

/// What the workers say of themselves, for [`Scheduling::LeastConnections`] and limits.
pub(crate) trait Loads {
    /// Connections that the worker has open or has claimed.
    fn open(&self, peer: PeerId) -> u64;
    /// Whether it takes no more for now.
    fn is_full(&self, peer: PeerId) -> bool;
}

/// Who is offered what.
#[derive(Debug)]
pub(crate) struct Dispatch<T> {
    /// By the listener's number; `None` where workers help themselves.
    schedulings: Vec<Option<Scheduling>>,
    takers: Vec<Taker<T>>,
    /// Accepted, and nobody to offer them to: taken back from workers that are gone.
    homeless: VecDeque<Accepted<T>>,
    /// Grows with each offer.
    number: u64,
    /// When to look for offers that nobody claims.
    look_at: Option<Instant>,
}

impl<T> Dispatch<T> {
    /// For listeners that are scheduled like this.
    pub(crate) fn new(schedulings: Vec<Option<Scheduling>>) -> Self {
        Self { schedulings, takers: Vec::new(), homeless: VecDeque::new(), number: 0, look_at: None }
    }

    /// A worker is there; it is offered nothing until it says so.
    pub(crate) fn join(&mut self, peer: PeerId) {
        let (turns, open_of) = (vec![0; self.schedulings.len()], vec![0; self.schedulings.len()]);
        let places = std::array::from_fn(|_| None);
        self.takers.push(Taker {
            peer,
            places,
            open: 0,
            open_of,
            standing: Standing::New,
            turns,
            claims: 0,
            seen: 0,
            moved: None,
        });
    }

    /// The worker says that it waits for connections.
    pub(crate) fn is_here(&mut self, peer: PeerId) {
        if let Some(taker) = self.taker(peer)
            && taker.standing != Standing::Retired
        {
            taker.standing = Standing::Good;
        }
    }

    /// The worker drains: it is offered nothing more. What it has not claimed is to be [`revoked`](Self::revoked).
    pub(crate) fn retire(&mut self, peer: PeerId) -> Vec<Placed> {
        let Some(taker) = self.taker(peer) else { return Vec::new() };
        taker.standing = Standing::Retired;
        newest_first(taker.made().collect())
    }

    /// The worker is gone, and whatever it had not been sent is somebody else's.
    pub(crate) fn leave(&mut self, peer: PeerId) {
        let Some(at) = self.takers.iter().position(|taker| taker.peer == peer) else { return };
        let taker = self.takers.remove(at);
        let mut made: Vec<Made<T>> = taker.places.into_iter().flatten().collect();
        made.sort_by_key(|made| Reverse(made.offer));
        // They have waited the longest.
        made.into_iter().for_each(|made| self.homeless.push_front(made.accepted));
    }

    /// A connection was accepted, or given back: it is placed as soon as there is room.
    pub(crate) fn add(&mut self, accepted: Accepted<T>) {
        self.homeless.push_back(accepted);
    }

    /// Offers the next connection that has nobody, if there is somebody for it.
    pub(crate) fn place(&mut self, now: Instant, loads: &impl Loads) -> Option<Placed> {
        let mut skipped = 0;
        while let Some(accepted) = self.homeless.get(skipped) {
            let listener = accepted.listener;
            let Some(chosen) = self.choose(listener, loads) else {
                skipped += 1;
                continue;
            };
            let accepted = self.homeless.remove(skipped)?;
            self.number += 1;
            let offer = Offer::new(self.number, listener);
            self.look_at.get_or_insert(now + PATIENCE);
            let (number, taker) = (self.number, &mut self.takers[chosen]);
            let at = taker.places.iter().position(Option::is_none)?;
            if taker.open == 0 {
                taker.moved = Some(now);
            }
            taker.places[at] = Some(Made { offer, accepted, since: now });
            taker.open += 1;
            taker.open_of[usize::from(listener)] += 1;
            taker.turns[usize::from(listener)] = number;
            return Some(Placed { peer: taker.peer, at, offer });
        }
        None
    }

    /// Whether there are connections that nobody was found for.
    pub(crate) fn has_homeless(&self) -> bool {
        !self.homeless.is_empty()
    }

    /// Those: they are the caller's.
    pub(crate) fn take_homeless(&mut self) -> VecDeque<Accepted<T>> {
        std::mem::take(&mut self.homeless)
    }

    /// Whether a further connection of this listener could be placed: whether to accept one.
    pub(crate) fn has_room(&self, listener: u16, loads: &impl Loads) -> bool {
        let of_this = |accepted: &Accepted<T>| accepted.listener == listener;
        !self.homeless.iter().any(of_this) && self.choose(listener, loads).is_some()
    }

    /// Whether every connection that was accepted is claimed.
    pub(crate) fn is_empty(&self) -> bool {
        self.homeless.is_empty() && self.takers.iter().all(|taker| taker.places.iter().all(Option::is_none))
    }

    /// The number of the newest offer.
    pub(crate) fn newest(&self) -> u64 {
        self.number
    }

    /// Offers of a worker that it has not been sent.
    pub(crate) fn made_to(&self, peer: PeerId) -> Vec<Placed> {
        let taker = self.takers.iter().find(|taker| taker.peer == peer);
        taker.map(|taker| taker.made().collect()).unwrap_or_default()
    }

    /// The worker has claimed an offer: here is the connection to send.
    pub(crate) fn claimed(&mut self, placed: Placed) -> Option<Accepted<T>> {
        self.is_here(placed.peer);
        self.taker(placed.peer)?.claims += 1;
        self.take(placed)
    }

    /// An offer was taken back before the worker has claimed it.
    pub(crate) fn revoked(&mut self, placed: Placed) {
        if let Some(accepted) = self.take(placed) {
            // It has waited the longest.
            self.homeless.push_front(accepted);
        }
    }

    /// When [`overdue`](Self::overdue) wants to be asked.
    pub(crate) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Offers to take back, the newest first: nobody has claimed them for long, and others have nothing to do, or get on where this one
    /// does not. Who is slow is offered nothing until it says that it is there.
    pub(crate) fn overdue(&mut self, now: Instant, loads: &impl Loads) -> Vec<Placed> {
        if self.look_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.takers.iter_mut().for_each(|taker| taker.notice(now));
        let mut overdue = Vec::new();
        let idle: Vec<PeerId> =
            self.takers.iter().filter(|taker| taker.is_idle(loads)).map(|taker| taker.peer).collect();
        // Its places may all be taken: as it claims some, they become free.
        let gets_on = |taker: &Taker<T>| taker.takes(loads) && !taker.is_stuck(now);
        let getting_on = self.takers.iter().any(gets_on);
        let mut next: Option<Instant> = None;
        for taker in &mut self.takers {
            let mut late = taker.places.iter().flatten().map(|made| made.since + PATIENCE);
            let Some(first) = late.by_ref().min() else { continue };
            let others_idle = idle.iter().any(|peer| *peer != taker.peer);
            // Who has its fill will not claim them, and others may have room before it does. Where nobody has they are
            // kept here: there is nothing to look at again and again then.
            let is_slow = taker.is_stuck(now) && getting_on;
            if first <= now && (others_idle || is_slow || loads.is_full(taker.peer)) {
                taker.standing =
                    if taker.standing == Standing::Retired { Standing::Retired } else { Standing::Silent };
                overdue.extend(taker.made());
            }
            // Where all are busy it is looked at again soon: one of them may become idle.
            let again = if first <= now { now + PATIENCE } else { first };
            next = Some(next.map_or(again, |next| next.min(again)));
        }
        self.look_at = next;
        newest_first(overdue)
    }

    /// Who gets a connection of this listener.
    fn choose(&self, listener: u16, loads: &impl Loads) -> Option<usize> {
        let scheduling = self.schedulings.get(usize::from(listener)).copied().flatten()?;
        let takers = self.takers.iter().enumerate();
        let eligible = takers.filter(|(_, taker)| taker.has_place_of(listener, &self.schedulings, loads));
        let turn = |taker: &Taker<T>| taker.turns[usize::from(listener)];
        let chosen = match scheduling {
            Scheduling::Shared | Scheduling::RoundRobin => eligible.min_by_key(|(_, taker)| turn(taker)),
            Scheduling::LeastConnections => eligible.min_by_key(|(_, taker)| {
                (loads.open(taker.peer).saturating_add(taker.open as u64), turn(taker))
            }),
        };
        chosen.map(|(at, _)| at)
    }

    fn take(&mut self, Placed { peer, at, offer }: Placed) -> Option<Accepted<T>> {
        let taker = self.taker(peer)?;
        let made = taker.places[at].take_if(|made| made.offer == offer)?;
        taker.open -= 1;
        taker.open_of[usize::from(made.accepted.listener)] -= 1;
        Some(made.accepted)
    }

    fn taker(&mut self, peer: PeerId) -> Option<&mut Taker<T>> {
        self.takers.iter_mut().find(|taker| taker.peer == peer)
    }
}

/// Each goes to the head of those who wait: the oldest last, so that it is the first there.
fn newest_first(mut offers: Vec<Placed>) -> Vec<Placed> {
    offers.sort_by_key(|placed| Reverse(placed.offer));
    offers
}

impl<T> Taker<T> {
    fn made(&self) -> impl Iterator<Item = Placed> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(at, made)| {
            made.as_ref().map(|made| Placed { peer: self.peer, at, offer: made.offer })
        })
    }

    fn has_place(&self, loads: &impl Loads) -> bool {
        self.takes(loads) && self.places.iter().any(Option::is_none)
    }

    /// Whether it has a place for this listener. The last ones are for listeners that have none yet: an
    /// acceptor that leaves its offers alone, because it waits for something else, is to hold up no other.
    fn has_place_of(&self, listener: u16, all: &[Option<Scheduling>], loads: &impl Loads) -> bool {
        let free = MOST - self.open;
        let kept = || {
            let with_none =
                all.iter().zip(&self.open_of).filter(|(rule, open)| rule.is_some() && **open == 0);
            with_none.count().min(MOST / 2)
        };
        self.takes(loads) && (free > 0 && self.open_of[usize::from(listener)] == 0 || free > kept())
    }

    fn takes(&self, loads: &impl Loads) -> bool {
        self.standing == Standing::Good && !loads.is_full(self.peer)
    }

    fn is_idle(&self, loads: &impl Loads) -> bool {
        self.open == 0 && self.has_place(loads)
    }

    /// Whether it has claimed anything since it was looked at last.
    fn notice(&mut self, now: Instant) {
        if std::mem::replace(&mut self.seen, self.claims) != self.claims {
            self.moved = Some(now);
        }
    }

    /// It has offers, and has claimed none for long.
    fn is_stuck(&self, now: Instant) -> bool {
        self.open > 0 && self.moved.is_some_and(|moved| moved + STALL <= now)
    }
}
