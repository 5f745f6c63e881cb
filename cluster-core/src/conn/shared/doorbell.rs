//! The doorbell: a thread of a worker that waits for connections in the runtime's stead.
//!
//! All workers have the same listening sockets. Tokio's own epoll would wake every idle worker for each connection,
//! or the same one again and again; a doorbell waits with EPOLLEXCLUSIVE (epoll_ctl(2)), so that the kernel wakes one,
//! the one that has waited longest. Rung, it leaves the wait set and wakes the runtime. The runtime accepts one
//! connection, and joins the set again, at its tail, when its loop has come round: idle workers take turns, and a busy
//! or stalled one takes nothing.
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::SigSet;

use crate::conn::shared::bell::Bell;
use crate::conn::shared::membership::{Membership, Ring, Rung, Seat, Turn};
use crate::conn::socket::ListeningSocket;
use crate::scoreboard::Page;
use crate::sys::page::Mapped;

/// The event of the bell; those of listeners are numbers of acceptors.
const BELL: u64 = u64::MAX;
/// Events taken at once.
const EVENTS: usize = 8;
/// It calls a few system calls and wakers.
const STACK: usize = 128 << 10;

/// The door of a worker: what its acceptors wait at.
pub(crate) struct Door {
    set: Epoll,
    bell: Arc<Bell>,
    page: Arc<Mapped<Page>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    membership: Membership,
    /// By their numbers.
    seats: Vec<Sitter>,
    /// The bell is in the set: whenever anybody is.
    bell_inside: bool,
}

/// An acceptor.
#[derive(Default)]
struct Sitter {
    listeners: Vec<Arc<ListeningSocket>>,
    /// What it waits for, while it is in the set.
    awaited: Awaited,
    waker: Option<Waker>,
}

/// An acceptor's place at the door. Dropped, it leaves for good.
pub(crate) struct Chair {
    door: Arc<Door>,
    seat: Seat,
}

/// What an acceptor waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Awaited {
    /// Somebody in the queue.
    #[default]
    Connections,
    /// Room in the cluster: the bell alone.
    Room,
}

/// What an acceptor that waits finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was rung: somebody is, or was, in the queue.
    Rung,
    /// It will be woken.
    Wait,
}

impl Door {
    /// Begins to wait, in a thread of its own.
    pub(crate) fn open(bell: Arc<Bell>, page: Arc<Mapped<Page>>) -> io::Result<Arc<Self>> {
        let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let door = Arc::new(Self { set, bell, page, state: Mutex::default() });
        let keeper = door.clone();
        thread::Builder::new().name("doorbell".into()).stack_size(STACK).spawn(move || keeper.keep())?;
        Ok(door)
    }

    /// A place for an acceptor with these listeners.
    pub(crate) fn sit(this: &Arc<Self>, listeners: Vec<Arc<ListeningSocket>>) -> Chair {
        let mut state = this.lock();
        let seat = state.membership.seat();
        if seat == state.seats.len() {
            state.seats.push(Sitter::default());
        }
        state.seats[seat] = Sitter { listeners, ..Sitter::default() };
        Chair { door: this.clone(), seat }
    }

    fn join(&self, state: &mut State, seat: Seat) -> io::Result<()> {
        let exclusive = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
        let Sitter { listeners, awaited, .. } = &state.seats[seat];
        for listener in listeners.iter().filter(|_| *awaited == Awaited::Connections) {
            self.set.add(listener.as_fd(), EpollEvent::new(exclusive, seat as u64))?;
        }
        if !state.bell_inside {
            self.set.add(self.bell.as_fd(), EpollEvent::new(exclusive, BELL))?;
            state.bell_inside = true;
        }
        Ok(())
    }

    /// Takes listeners out of the set, and the bell with the last of them. Leaving is all there is to return to the
    /// tail: what waits exclusively cannot be modified (epoll_ctl(2), EINVAL).
    fn remove(&self, state: &mut State, seats: &[Seat]) {
        for &seat in seats {
            for listener in &state.seats[seat].listeners {
                let _ = self.set.delete(listener.as_fd());
            }
        }
        if state.bell_inside && !state.membership.is_inside() {
            let _ = self.set.delete(self.bell.as_fd());
            state.bell_inside = false;
        }
    }

    /// Waits for rings for as long as the process lives.
    fn keep(&self) {
        // The worker's signals are its other threads' business.
        let _ = SigSet::all().thread_block();
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut answer_by: Option<Instant> = None;
        loop {
            let timeout = answer_by.map_or(EpollTimeout::NONE, |by| up_to(by, Instant::now()));
            match self.set.wait(&mut events, timeout) {
                Ok(count) => events[..count].iter().for_each(|event| self.rung(event.data())),
                // A stop and its continuation (signal(7)).
                Err(Errno::EINTR) => {}
                Err(err) => {
                    return crate::event::warn(&format!("the doorbell cannot wait for connections: {err}"));
                }
            }
            let mut state = self.lock();
            let ring_neighbour = state.membership.time(Instant::now());
            answer_by = state.membership.answer_by();
            drop(state);
            if ring_neighbour {
                self.bell.ring();
            }
        }
    }

    fn rung(&self, event: u64) {
        let mut state = self.lock();
        let ring = if event == BELL { Ring::Bell } else { Ring::Queue(event as Seat) };
        let Rung { leave, wake } = state.membership.ring(Instant::now(), ring);
        match (ring, leave.is_empty()) {
            // Nobody is idle here any more, and the wake-up was spent on us: the next one has it.
            (Ring::Bell, true) => return self.bell.ring(),
            (Ring::Bell, false) => self.bell.answer(),
            (Ring::Queue(_), true) => return,
            (Ring::Queue(_), false) => {}
        }
        self.remove(&mut state, &leave);
        self.page.rung();
        let wakers: Vec<Waker> = wake.iter().filter_map(|seat| state.seats[*seat].waker.clone()).collect();
        // BEFORE they are woken: they come for the lock at once.
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chair {
    /// The acceptor waits for a connection: it is in the wait set from now on, or was rung.
    ///
    /// # Errors
    /// The set takes no more (epoll_ctl(2): ENOMEM, ENOSPC).
    pub(crate) fn answer(&self, awaited: Awaited, waker: &Waker) -> io::Result<Answer> {
        let (door, seat) = (&self.door, self.seat);
        let mut state = door.lock();
        let turn = state.membership.wait(seat);
        if turn == Turn::Accept {
            return Ok(Answer::Rung);
        }
        // BEFORE it joins: the doorbell may be rung at once, and waits for the lock.
        match &mut state.seats[seat].waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        let changes = std::mem::replace(&mut state.seats[seat].awaited, awaited) != awaited;
        if turn == Turn::Stay && changes {
            door.remove(&mut state, &[seat]);
        }
        if (turn == Turn::Join || changes)
            && let Err(err) = door.join(&mut state, seat)
        {
            state.membership.step_back(seat);
            door.remove(&mut state, &[seat]);
            return Err(err);
        }
        Ok(Answer::Wait)
    }

    /// The acceptor waits for nothing for a while.
    pub(crate) fn step_aside(&self) {
        let mut state = self.door.lock();
        let left = state.membership.step_aside(self.seat);
        if left.was_inside {
            self.door.remove(&mut state, &[self.seat]);
        }
        drop(state);
        if left.ring_neighbour {
            self.door.bell.ring();
        }
    }

    /// Somebody else is to look into the queues.
    pub(crate) fn ring_neighbour(&self) {
        self.door.bell.ring();
    }

    /// A listener of the acceptor is closed.
    pub(crate) fn forget(&self, listener: &Arc<ListeningSocket>) {
        let mut state = self.door.lock();
        // Out of the set it may be already: then there is nothing to remove.
        let _ = self.door.set.delete(listener.as_fd());
        state.seats[self.seat].listeners.retain(|known| !Arc::ptr_eq(known, listener));
    }
}

impl Drop for Chair {
    /// The acceptor leaves for good, because it drains or is dropped.
    fn drop(&mut self) {
        let (door, seat) = (&self.door, self.seat);
        let mut state = door.lock();
        let left = state.membership.leave(seat);
        if left.was_inside {
            door.remove(&mut state, &[seat]);
        }
        state.seats[seat] = Sitter::default();
        drop(state);
        if left.ring_neighbour {
            door.bell.ring();
        }
    }
}

/// The time until then, rounded up: 0 would spin through the last millisecond.
fn up_to(then: Instant, now: Instant) -> EpollTimeout {
    let left = then.saturating_duration_since(now) + Duration::from_micros(999);
    EpollTimeout::try_from(left).unwrap_or(EpollTimeout::MAX)
}
