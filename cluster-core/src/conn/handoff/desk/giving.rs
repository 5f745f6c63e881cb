//! Hearing what workers claim, and sending it.

use std::os::fd::AsFd;
use std::time::Instant;

use nix::errno::Errno;

use super::{Desk, Held, RETRY};
use crate::conn::admission::Book;
use crate::conn::handoff::dispatch::{Accepted, Placed};
use crate::conn::handoff::offer::Fate;
use crate::conn::handoff::passing::{self, Heard, ToPrimary, ToWorker};
use crate::id::PeerId;

/// Packets that are heard of one worker before the others have a turn. What it says is believed by nobody, and it may
/// say it without end.
const EARFUL: usize = 64;

impl Desk {
    /// What a worker says.
    pub(super) fn hear_worker(&mut self, peer: PeerId) {
        // What is left is told again by the next wait: it is level-triggered.
        for _ in 0..EARFUL {
            let Some(guest) = self.guests.get_mut(&peer) else { return };
            match ToPrimary::receive(guest.socket.as_fd()) {
                // It is looked whether there is at the end of this turn.
                Heard::Said(ToPrimary::Room) => {}
                Heard::Said(ToPrimary::Here | ToPrimary::Claims) => {
                    guest.ringing.answered();
                    self.dispatch.is_here(peer);
                }
                Heard::Nothing => break,
                Heard::End => {
                    guest.deaf = true;
                    let _ = self.set.delete(guest.socket.as_fd());
                    break;
                }
            }
        }
        self.collect(peer);
    }

    /// Looks which of its offers a worker has claimed.
    pub(super) fn collect(&mut self, peer: PeerId) {
        for placed in self.dispatch.made_to(peer) {
            let Some(guest) = self.guests.get_mut(&peer) else { return };
            match guest.page.offers.fate(placed.at, placed.offer) {
                Fate::Open => guest.ringing.left_open(placed.offer.number()),
                fate @ (Fate::Claimed | Fate::Garbled) => self.settle(placed, fate),
            }
        }
    }

    pub(super) fn settle(&mut self, placed: Placed, fate: Fate) {
        let Some(guest) = self.guests.get_mut(&placed.peer) else { return };
        guest.page.offers.clear(placed.at);
        if fate == Fate::Garbled {
            // Its page is its own to spoil; the connection is not.
            return self.dispatch.revoked(placed);
        }
        if let Some(Accepted { mut connection, listener }) = self.dispatch.claimed(placed) {
            // BEFORE it is sent: the worker may have done with it at once.
            if let (Some(entry), Some(counted)) = (&guest.entry, connection.counted.take()) {
                entry.hand_over(counted);
            }
            guest.claimed.push((connection, listener));
        }
    }

    /// Sends what is claimed.
    pub(super) fn send(&mut self, now: Instant) {
        let mut lost = Vec::new();
        for guest in self.guests.values_mut() {
            while !guest.claimed.is_empty() {
                let some = guest.claimed.len().min(passing::MOST);
                match ToWorker::send_connections(guest.socket.as_fd(), &guest.claimed[..some]) {
                    // Closed here: the worker's end is the last one, so that its client sees the end.
                    Ok(()) => drop(guest.claimed.drain(..some)),
                    // It does not read; or too many descriptors are on their way (unix(7), ETOOMANYREFS).
                    Err(Errno::EAGAIN | Errno::ETOOMANYREFS | Errno::ENOBUFS | Errno::ENOMEM) => {
                        self.retry = Some(now + RETRY);
                        break;
                    }
                    Err(_) => {
                        guest.deaf = true;
                        lost.append(&mut guest.claimed);
                    }
                }
            }
        }
        if !lost.is_empty() {
            self.give_back(lost);
            self.offer(now);
        }
    }

    pub(super) fn give_back(&mut self, connections: Vec<(Held, u16)>) {
        for (mut connection, listener) in connections {
            connection.counted = self.policy.book.as_ref().map(Book::take_over);
            self.dispatch.add(Accepted { connection, listener });
        }
    }

    /// Tells workers of offers, once until they answer.
    pub(super) fn ring(&mut self) {
        let newest = self.dispatch.newest();
        for guest in self.guests.values_mut().filter(|guest| guest.ringing.is_due() && !guest.deaf) {
            if ToWorker::ring(guest.socket.as_fd()).is_ok() {
                guest.ringing.rang(newest);
            }
        }
    }

    /// Tells workers that nothing more comes, once that is so. Until then those who leave stay for what others, who are
    /// blocked or stopped, were offered.
    pub(super) fn dismiss(&mut self, now: Instant) {
        let unsent = || self.guests.values().any(|guest| !guest.claimed.is_empty());
        if !self.is_closed() || !self.dispatch.is_empty() || unsent() {
            return;
        }
        for guest in self.guests.values_mut().filter(|guest| !guest.dismissed && !guest.deaf) {
            guest.dismissed = ToWorker::dismiss(guest.socket.as_fd()).is_ok();
            if !guest.dismissed {
                self.retry = Some(now + RETRY);
            }
        }
    }
}
