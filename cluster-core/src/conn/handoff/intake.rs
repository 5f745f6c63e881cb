//! A worker's side of the hand-off: it claims what the primary offers, and takes in what it has claimed.
//!
//! Offers are claimed by the runtime, and only while an acceptor waits: a loop that is blocked claims nothing, and the
//! primary gives its offers to others.
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use nix::errno::Errno;
use tokio::io::unix::AsyncFd;

use crate::conn::admission::Admission;
use crate::conn::admission::spare::Spare;
use crate::conn::exhaustion;
use crate::conn::handoff::offer::MOST;
use crate::conn::handoff::passing::{Heard, ToPrimary, ToWorker};
use crate::scoreboard::Page;
use crate::sys::page::Mapped;
use crate::sys::readiness;

#[cfg(test)]
mod tests;

/// Where a worker takes connections in.
pub(crate) struct Intake {
    socket: Arc<OwnedFd>,
    page: Arc<Mapped<Page>>,
    admission: Arc<Admission>,
    state: Mutex<State>,
}

struct State {
    /// By the acceptors' numbers.
    desks: Vec<Desk>,
    /// The primary has rung and has had no answer; from the start it wants to hear that somebody is here.
    owes_answer: bool,
    /// Nothing more will be offered: all was claimed, or the primary is gone.
    nothing_more: bool,
    /// The primary is gone.
    ended: bool,
    spare: Spare,
}

/// An acceptor, as connections come to it.
#[derive(Default)]
struct Desk {
    /// The numbers of its listeners.
    listeners: Vec<u16>,
    arrived: VecDeque<OwnedFd>,
    /// Claimed and not arrived.
    expected: usize,
    waker: Option<Waker>,
}

impl State {
    /// The acceptor that a connection of this listener is for.
    fn expects(&mut self, listener: u16) -> Option<&mut Desk> {
        let mut desks = self.desks.iter_mut();
        let desk = desks.find(|desk| desk.expected > 0 && desk.listeners.contains(&listener))?;
        desk.expected -= 1;
        Some(desk)
    }

    /// All that were claimed and have not come.
    fn expected(&self) -> usize {
        self.desks.iter().map(|desk| desk.expected).sum()
    }

    /// Keeps a descriptor for each that is still to come: what has come now was none of them, or not all.
    fn keep_spare(&mut self, any: BorrowedFd<'_>) {
        let expected = self.expected();
        if self.spare.count() < expected {
            // Where there are none any more they may come back until then.
            let _ = self.spare.keep(expected, expected, any);
        }
    }
}

impl Intake {
    /// Begins to listen to the primary.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub(crate) fn open(
        socket: Arc<OwnedFd>,
        page: Arc<Mapped<Page>>,
        admission: Arc<Admission>,
    ) -> io::Result<Arc<Self>> {
        let heard = readiness::watch_reading(socket.clone())?;
        let state = Mutex::new(State {
            desks: Vec::new(),
            owes_answer: true,
            nothing_more: false,
            ended: false,
            spare: Spare::default(),
        });
        let intake = Arc::new(Self { socket, page, admission, state });
        tokio::spawn(intake.clone().listen(heard));
        Ok(intake)
    }

    /// A place for an acceptor with these listeners.
    pub(crate) fn sit(&self, listeners: Vec<u16>) -> usize {
        let mut state = self.lock();
        state.desks.push(Desk { listeners, ..Desk::default() });
        state.desks.len() - 1
    }

    /// Whether a connection is here.
    pub(crate) fn has_arrived(&self, desk: usize) -> bool {
        !self.lock().desks[desk].arrived.is_empty()
    }

    /// The acceptor waits for a connection: whether one has arrived. Otherwise up to `most` are claimed, as far as
    /// there are offers, and it will be woken. Where that is 0 because it has its fill, the primary hears when it
    /// comes again.
    ///
    /// # Errors
    /// There may be no descriptors for what would be claimed.
    pub(crate) fn wait(&self, desk: usize, most: usize, waker: &Waker) -> io::Result<bool> {
        let mut state = self.lock();
        let expected = state.expected();
        let State { desks, owes_answer, ended, spare, .. } = &mut *state;
        let desk = &mut desks[desk];
        if !desk.arrived.is_empty() {
            return Ok(true);
        }
        match &mut desk.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        if *ended {
            return Ok(false);
        }
        if most == 0 {
            *owes_answer = true;
            return Ok(false);
        }
        let offered = self.page.offers.waits(&desk.listeners);
        let mut kept = expected;
        if offered {
            let more = most.saturating_sub(desk.expected);
            match spare.keep(expected + more, expected, self.socket.as_fd()) {
                Ok(count) => kept = count,
                Err(err) => {
                    *owes_answer = true;
                    self.admission.lacks_descriptors();
                    return Err(err);
                }
            }
        }
        let most = most.min(desk.expected + kept.saturating_sub(expected));
        if offered && self.claim(desk, most) {
            *owes_answer = false;
        } else if std::mem::take(owes_answer) {
            self.say(ToPrimary::Here);
        }
        Ok(false)
    }

    /// Claims until so many are on their way; says whether there were any.
    fn claim(&self, desk: &mut Desk, most: usize) -> bool {
        let more = most.saturating_sub(desk.expected);
        let claimed = self.admission.claim(more, |room| self.page.offers.claim(&desk.listeners, room));
        desk.expected += claimed;
        if claimed > 0 {
            self.say(ToPrimary::Claims);
        }
        claimed > 0
    }

    /// Answers the primary. Where the socket is full, because it has not read for long, it hears as soon as it does: it
    /// offers nothing to who owes it an answer.
    fn say(&self, answer: ToPrimary) {
        if answer.send(self.socket.as_fd()) == Err(Errno::EAGAIN) {
            let socket = self.socket.clone();
            tokio::spawn(async move {
                while ToPrimary::Here.send(socket.as_fd()) == Err(Errno::EAGAIN)
                    && readiness::writable(socket.as_fd()).await.is_ok()
                {}
            });
        }
    }

    /// A connection that has arrived.
    pub(crate) fn take(&self, desk: usize) -> Option<OwnedFd> {
        self.lock().desks[desk].arrived.pop_front()
    }

    /// Whether there is more for this acceptor.
    pub(crate) fn somebody_waits(&self, desk: usize) -> bool {
        let state = self.lock();
        let Desk { listeners, arrived, expected, .. } = &state.desks[desk];
        !arrived.is_empty() || *expected > 0 || self.page.offers.waits(listeners)
    }

    /// The acceptor leaves: whether it has nothing more to expect. Where nobody will take its offers they are claimed;
    /// and as long as others have some that they may leave to it, it stays.
    pub(crate) fn leave(&self, desk: usize, claims_all: bool, waker: &Waker) -> bool {
        let mut state = self.lock();
        let State { desks, owes_answer, nothing_more, ended, .. } = &mut *state;
        let desk = &mut desks[desk];
        desk.waker = Some(waker.clone());
        if *ended {
            return true;
        }
        if !claims_all {
            return desk.expected == 0;
        }
        if self.claim(desk, MOST) {
            *owes_answer = false;
        } else if std::mem::take(owes_answer) {
            self.say(ToPrimary::Here);
        }
        *nothing_more && desk.expected == 0
    }

    /// The acceptor is no more: another one at the same listeners has what was to come to it. Where there is none, it is
    /// closed: nobody would answer those clients.
    pub(crate) fn rise(&self, desk: usize) {
        let mut state = self.lock();
        let Desk { listeners, arrived, expected, .. } = std::mem::take(&mut state.desks[desk]);
        match state.desks.iter_mut().find(|other| !listeners.is_empty() && other.listeners == listeners) {
            Some(other) => {
                other.arrived.extend(arrived);
                other.expected += expected;
            }
            None => (0..arrived.len() + expected).for_each(|_| drop(Admission::arrived(&self.admission))),
        }
        wake(state, |_| true);
    }

    async fn listen(self: Arc<Self>, heard: AsyncFd<Arc<OwnedFd>>) {
        while let Ok(mut ready) = heard.readable().await {
            self.lock().spare.make_room();
            match ToWorker::receive(self.socket.as_fd()) {
                Heard::Said(ToWorker::Ring) => self.rung(),
                Heard::Said(ToWorker::Connections { arrived, lost }) => self.arrived(arrived, &lost),
                Heard::Said(ToWorker::NothingMore) => self.dismissed(),
                Heard::Nothing => ready.clear_ready(),
                Heard::End => break,
            }
            self.lock().keep_spare(self.socket.as_fd());
        }
        let mut state = self.lock();
        state.ended = true;
        let missing: usize = state.desks.iter_mut().map(|desk| std::mem::take(&mut desk.expected)).sum();
        self.admission.never_came(missing);
        wake(state, |_| true);
    }

    fn rung(&self) {
        let mut state = self.lock();
        state.owes_answer = true;
        wake(state, |_| true);
    }

    fn dismissed(&self) {
        let mut state = self.lock();
        state.nothing_more = true;
        wake(state, |_| true);
    }

    fn arrived(&self, connections: Vec<(OwnedFd, u16)>, lost: &[u16]) {
        let mut state = self.lock();
        for (fd, listener) in connections {
            // One that nobody has asked for is closed.
            if let Some(desk) = state.expects(listener) {
                desk.arrived.push_back(fd);
            }
        }
        for &listener in lost {
            if state.expects(listener).is_some() {
                drop(Admission::arrived(&self.admission));
            }
        }
        if !lost.is_empty() {
            exhaustion::warn_of_lost(lost.len());
        }
        wake(state, |_| true);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes acceptors, outside the lock.
fn wake(mut state: MutexGuard<'_, State>, which: impl Fn(&Desk) -> bool) {
    let desks = state.desks.iter_mut().filter(|desk| which(desk));
    let wakers: Vec<Waker> = desks.filter_map(|desk| desk.waker.take()).collect();
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
}
