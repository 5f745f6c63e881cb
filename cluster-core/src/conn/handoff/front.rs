//! The hand-off as the rest of the primary sees it: it tells a thread who comes and goes, and never waits for it.
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use crate::conn::admission::Entry;
use crate::conn::admission::limits::AdmissionPolicy;
use crate::conn::handoff::desk::{Desk, Host};
use crate::conn::handoff::passing;
use crate::conn::listen;
use crate::conn::shared::Bell;
use crate::id::PeerId;
use crate::scheduling::Scheduling;
use crate::scoreboard::Page;
use crate::sys::page::Mapped;

/// The thread, as the rest of the primary sees it. It ends when this is dropped, soon after.
pub(crate) struct Handoff {
    /// `None` at the very end.
    commands: Option<Sender<Command>>,
    bell: Arc<Bell>,
    closed: Arc<AtomicBool>,
}

/// What the thread is told.
pub(super) enum Command {
    Join(PeerId, Newcomer),
    Retire(PeerId),
    Leave(PeerId),
}

/// A worker that is about to be born.
pub(super) struct Newcomer {
    pub(super) page: Arc<Mapped<Page>>,
    pub(super) socket: OwnedFd,
    pub(super) entry: Option<Arc<Entry>>,
}

impl Handoff {
    /// For those of the sockets whose connections are handed out; none of them, no thread.
    pub(crate) fn begin(
        sockets: &[listen::ClusterSocket],
        policy: AdmissionPolicy,
    ) -> io::Result<Option<Self>> {
        let handed_out = |scheduling: Scheduling| (scheduling != Scheduling::Shared).then_some(scheduling);
        let schedulings: Vec<_> = sockets.iter().map(|socket| handed_out(socket.name.scheduling)).collect();
        let mut hosts = Vec::new();
        for (number, socket) in sockets.iter().enumerate().filter(|(at, _)| schedulings[*at].is_some()) {
            let listener = u16::try_from(number).map_err(io::Error::other)?;
            hosts.push(Host::new(listener, socket.listener.try_clone()?));
        }
        if hosts.is_empty() {
            return Ok(None);
        }
        let (handoff, desk) = Self::with_desk(hosts, schedulings, policy)?;
        thread::Builder::new().name("handoff".into()).spawn(move || desk.run())?;
        Ok(Some(handoff))
    }

    /// Both sides of it, before the thread begins.
    pub(super) fn with_desk(
        hosts: Vec<Host>,
        schedulings: Vec<Option<Scheduling>>,
        policy: AdmissionPolicy,
    ) -> io::Result<(Self, Desk)> {
        let (bell, closed) = (Arc::new(Bell::new()?), Arc::new(AtomicBool::new(false)));
        let (commands, received) = channel();
        let desk = Desk::new(hosts, schedulings, policy, (bell.clone(), received), closed.clone())?;
        Ok((Self { commands: Some(commands), bell, closed }, desk))
    }

    /// A worker is about to be born; answers with its end of the socket.
    pub(crate) fn join(
        &self,
        peer: PeerId,
        page: Arc<Mapped<Page>>,
        entry: Option<Arc<Entry>>,
    ) -> io::Result<OwnedFd> {
        let (ours, theirs) = passing::pair()?;
        self.tell(Command::Join(peer, Newcomer { page, socket: ours, entry }));
        Ok(theirs)
    }

    /// A worker drains: it is offered nothing more.
    pub(crate) fn retire(&self, peer: PeerId) {
        self.tell(Command::Retire(peer));
    }

    /// A worker has ended: what it was not sent is offered to others.
    pub(crate) fn leave(&self, peer: PeerId) {
        self.tell(Command::Leave(peer));
    }

    /// Nothing more is accepted: workers help themselves to what is queued, and close it. One that the thread is just
    /// accepting is offered still, and nobody leaves until that is claimed.
    pub(crate) fn close(&self) {
        // By a flag and not by a command: supervision does not wait until the thread has come to it, and a queue that a
        // worker closes in this moment is no surprise to it.
        self.closed.store(true, Ordering::Release);
        self.bell.ring();
    }

    fn tell(&self, command: Command) {
        // A thread that has ended has said why.
        let _ = self.commands.as_ref().map(|commands| commands.send(command));
        self.bell.ring();
    }
}

impl Drop for Handoff {
    fn drop(&mut self) {
        // BEFORE it is rung: it looks once.
        self.commands = None;
        self.bell.ring();
    }
}
