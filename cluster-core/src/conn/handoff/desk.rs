//! The primary's side of the hand-off: a thread that accepts, offers, and sends what is claimed.
//!
//! A thread of its own, so that neither supervision nor messages wait for connections, nor these for them. It never
//! blocks but to wait for events. Whom it offers what, `dispatch.rs` decides.
mod accepting;
mod giving;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::SigSet;

use crate::conn::admission::limits::AdmissionPolicy;
use crate::conn::admission::{Counted, Entry};
use crate::conn::handoff::dispatch::{Dispatch, Loads, Placed};
use crate::conn::handoff::front::{Command, Newcomer};
use crate::conn::handoff::offer::{Fate, MOST};
use crate::conn::handoff::ringing::Ringing;
use crate::conn::pace::Pace;
use crate::conn::shared::Bell;
use crate::conn::socket::ListeningSocket;
use crate::id::PeerId;
use crate::scheduling::Scheduling;
use crate::scoreboard::{Page, Stance};
use crate::sys::page::Mapped;

/// Connections accepted in a row, before workers are heard again.
const MOUTHFUL: usize = 64;
/// How long it waits between two turns while connections come fast.
const BREATH: Duration = Duration::from_micros(100);
/// Events taken at once.
const EVENTS: usize = 64;
/// When it tries again to send what the kernel would not take.
const RETRY: Duration = Duration::from_millis(5);

/// The event of the bell by which commands come; those of workers have this bit, those of listeners are their numbers.
const COMMANDS: u64 = u64::MAX;
const WORKER: u64 = 1 << 32;

/// A listener whose connections are handed out.
pub(super) struct Host {
    listener: u16,
    socket: ListeningSocket,
    /// It is waited for.
    inside: bool,
    /// The newest offer when one was accepted here last.
    taken_at: u64,
}

impl Host {
    /// `listener` is its number in the primary's list.
    pub(super) fn new(listener: u16, socket: ListeningSocket) -> Self {
        Self { listener, socket, inside: false, taken_at: 0 }
    }
}

/// A connection that the primary has accepted, and that counts as open in the cluster for as long as it has it.
struct Held {
    fd: OwnedFd,
    /// Where the cluster's connections are limited, until a worker has claimed it.
    counted: Option<Counted>,
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A worker as connections go to it.
struct Guest {
    number: u64,
    page: Arc<Mapped<Page>>,
    socket: OwnedFd,
    ringing: Ringing,
    /// Its part in the cluster's connections, where these are limited.
    entry: Option<Arc<Entry>>,
    /// Claimed, and not sent yet.
    claimed: Vec<(Held, u16)>,
    /// It was told that nothing more comes.
    dismissed: bool,
    /// Its socket has ended.
    deaf: bool,
}

/// All that the thread has.
pub(super) struct Desk {
    set: Epoll,
    bell: Arc<Bell>,
    commands: Receiver<Command>,
    hosts: Vec<Host>,
    guests: BTreeMap<PeerId, Guest>,
    dispatch: Dispatch<Held>,
    policy: AdmissionPolicy,
    numbers: u64,
    pace: Pace,
    /// Nothing more is accepted.
    closed: Arc<AtomicBool>,
    /// Out of descriptors until then.
    pause: Option<Instant>,
    /// The kernel would not take what was to be sent.
    retry: Option<Instant>,
}

/// Whether more commands may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Orders {
    ToCome,
    /// Whoever gave them is gone.
    Over,
}

impl Loads for BTreeMap<PeerId, Guest> {
    fn open(&self, peer: PeerId) -> u64 {
        self.get(&peer).map_or(0, |guest| guest.page.connections_open())
    }

    fn is_full(&self, peer: PeerId) -> bool {
        self.get(&peer).is_none_or(|guest| {
            // One that claims and does not read takes no more either: what it has is kept here.
            guest.deaf || guest.page.stance() == Stance::Full || guest.claimed.len() >= MOST
        })
    }
}

impl Desk {
    /// For these listeners; `schedulings` are those of all that the primary has. It hears commands when the bell rings.
    pub(super) fn new(
        hosts: Vec<Host>,
        schedulings: Vec<Option<Scheduling>>,
        policy: AdmissionPolicy,
        (bell, commands): (Arc<Bell>, Receiver<Command>),
        closed: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        set.add(bell.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, COMMANDS))?;
        Ok(Self {
            set,
            bell,
            commands,
            hosts,
            guests: BTreeMap::new(),
            dispatch: Dispatch::new(schedulings),
            policy,
            numbers: 0,
            pace: Pace::of_primary(),
            closed,
            pause: None,
            retry: None,
        })
    }

    /// Until the rest of the primary is done with it.
    pub(super) fn run(mut self) {
        let _ = SigSet::all().thread_block();
        // Or a breath takes as long again (prctl(2), PR_SET_TIMERSLACK).
        let _ = nix::sys::prctl::set_timerslack(1);
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            self.mind_listeners();
            if self.pace.look(Instant::now()) {
                // What comes meanwhile is dealt with together: each turn wakes other processes, which costs more than
                // all that is done for a connection.
                thread::sleep(BREATH);
            }
            let count = match self.set.wait(&mut events, self.timeout()) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(err) => return crate::event::warn(&format!("connections are not handed out: {err}")),
            };
            if self.hear_all(&mut events[..count]) == Orders::Over {
                return;
            }
            let now = Instant::now();
            self.pause.take_if(|until| *until <= now);
            self.retry.take_if(|at| *at <= now);
            self.take_back(now);
            self.offer(now);
            self.refuse_homeless();
            self.send(now);
            self.ring();
            self.dismiss(now);
        }
    }

    fn timeout(&self) -> EpollTimeout {
        let until = [self.dispatch.look_at(), self.pause, self.retry].into_iter().flatten().min();
        until.map_or(EpollTimeout::NONE, |until| {
            let left = until.saturating_duration_since(Instant::now());
            // Rounded up: 0 would spin through the last millisecond.
            EpollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(EpollTimeout::MAX)
        })
    }

    fn hear_all(&mut self, events: &mut [EpollEvent]) -> Orders {
        events.sort_unstable_by_key(|event| self.precedence(event.data()));
        for event in events {
            match event.data() {
                COMMANDS if self.obey_all() == Orders::Over => return Orders::Over,
                COMMANDS => {}
                worker if worker & WORKER != 0 => self.hear(worker),
                listener => self.accept(listener as u16),
            }
        }
        Orders::ToCome
    }

    /// Workers first, who make room. Of listeners the one that has had none accepted for the longest: one that is flooded
    /// takes all the room there is.
    fn precedence(&self, event: u64) -> u64 {
        match self.hosts.iter().find(|host| u64::from(host.listener) == event) {
            Some(host) => host.taken_at + 1,
            None => 0,
        }
    }

    fn hear(&mut self, worker: u64) {
        let peer = self.guests.iter().find(|(_, guest)| guest.number == worker).map(|(peer, _)| *peer);
        peer.into_iter().for_each(|peer| self.hear_worker(peer));
    }

    fn obey_all(&mut self) -> Orders {
        self.bell.answer();
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty) => return Orders::ToCome,
                Err(TryRecvError::Disconnected) => return Orders::Over,
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Join(peer, newcomer) => self.join(peer, newcomer),
            Command::Retire(peer) => {
                let made = self.dispatch.retire(peer);
                self.revoke(made);
            }
            Command::Leave(peer) => {
                let Some(guest) = self.guests.remove(&peer) else { return };
                let _ = self.set.delete(guest.socket.as_fd());
                self.dispatch.leave(peer);
                // BEFORE its part in the cluster's connections is free, with the last of `guest`.
                self.give_back(guest.claimed);
            }
        }
    }

    fn join(&mut self, peer: PeerId, Newcomer { page, socket, entry }: Newcomer) {
        self.numbers += 1;
        let number = WORKER | self.numbers;
        let waited_for = self.set.add(socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, number));
        if let Err(err) = waited_for {
            crate::event::warn(&format!("{peer} gets no connections: cannot listen to it: {err}"));
        }
        let deaf = waited_for.is_err();
        let guest = Guest {
            number,
            page,
            socket,
            ringing: Ringing::default(),
            entry,
            claimed: Vec::new(),
            dismissed: false,
            deaf,
        };
        self.guests.insert(peer, guest);
        self.dispatch.join(peer);
    }

    /// Writes offers into the pages of those who are to have them.
    fn offer(&mut self, now: Instant) {
        while let Some(Placed { peer, at, offer }) = self.dispatch.place(now, &self.guests) {
            if let Some(guest) = self.guests.get_mut(&peer) {
                guest.page.offers.put(at, offer);
                guest.page.connection_offered();
                guest.ringing.offered();
            }
        }
    }

    /// Takes back what nobody claims while others have nothing to do.
    fn take_back(&mut self, now: Instant) {
        let overdue = self.dispatch.overdue(now, &self.guests);
        for placed in &overdue {
            if let Some(guest) = self.guests.get_mut(&placed.peer) {
                guest.ringing.taken_back();
            }
        }
        self.revoke(overdue);
    }

    fn revoke(&mut self, offers: Vec<Placed>) {
        for placed in offers {
            let Some(guest) = self.guests.get_mut(&placed.peer) else { continue };
            match guest.page.offers.revoke(placed.at, placed.offer) {
                Fate::Open => {
                    guest.page.connection_revoked();
                    self.dispatch.revoked(placed);
                }
                fate @ (Fate::Claimed | Fate::Garbled) => self.settle(placed, fate),
            }
        }
    }
}
