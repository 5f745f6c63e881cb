//! A worker or director as the primary sees it: its line, its page, its process.
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::unistd::Pid;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::conn::listen::ClusterSocket;
use crate::conn::{Book, Entry, Handoff, Watch};
use crate::error::StartError;
use crate::event::{last_lines, voice};
use crate::id::{PeerId, Seat};
use crate::ipc::control::{self, PROTOCOL, ToPrimary, ToWorker, Welcome};
use crate::ipc::exchange::Exchange;
use crate::scoreboard::Page;
use crate::secret::Keeper;
use crate::supervise::force;
use crate::supervise::input::{self, End, Input};
use crate::supervise::note::Note;
use crate::supervise::relay::{relay, write_if_room};
use crate::sys::page::Mapped;
use crate::sys::{channel, descriptors, process, readiness};

/// What the primary holds of one worker or director, from before its birth to after its end.
pub(crate) struct Peer {
    control: Arc<OwnedFd>,
    page: Arc<Mapped<Page>>,
    /// A worker's place among those who share the cluster's connections, where these are limited.
    entry: Option<Arc<Entry>>,
    stderr: Option<OwnedFd>,
    process: Option<Process>,
    /// How often its memory had been measured at the last look.
    measurements: u64,
}

/// Its process.
#[derive(Clone)]
struct Process {
    pid: Pid,
    pidfd: Arc<OwnedFd>,
}

/// The other side's part, for whoever makes the process.
pub(crate) struct Newcomer {
    pub(crate) control: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// A process that lives.
pub(crate) struct Born {
    pub(crate) peer: PeerId,
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
}

/// Whom the task that follows a process tells of it.
#[derive(Clone)]
pub(crate) struct Watcher {
    pub(crate) notes: mpsc::Sender<Note>,
    pub(crate) exchange: Exchange,
}

/// Who the newcomer is to be, and among whom.
pub(crate) struct Place<'d> {
    pub(crate) peer: PeerId,
    pub(crate) seat: Seat,
    /// Whether the seat is its at once.
    pub(crate) entry: input::Entry,
    pub(crate) slots: u16,
    pub(crate) generation: u64,
    /// Nothing was prepared for it, because the primary's program does not do that.
    pub(crate) prepare: bool,
    /// Whether the cluster has a director.
    pub(crate) director: bool,
    pub(crate) sockets: &'d [ClusterSocket],
    pub(crate) watch: &'d Watch,
    pub(crate) keeper: &'d Keeper,
    pub(crate) handoff: Option<&'d Handoff>,
    pub(crate) book: Option<&'d Arc<Book>>,
    pub(crate) exchange: &'d Exchange,
}

impl Peer {
    /// Makes both sides of a process that is not born yet; its welcome waits in its socket, and it can be
    /// written to.
    pub(crate) fn prepare(place: &Place<'_>) -> Result<(Self, Newcomer), StartError> {
        let system = StartError::system::<nix::Error>;
        let (ours, theirs) = channel::pair().map_err(system("socketpair"))?;
        let (messages, their_messages) = channel::stream_pair().map_err(system("socketpair"))?;
        let (page, page_fd) = Mapped::<Page>::create(c"cluster-worker").map_err(system("memfd_create"))?;
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(system("pipe"))?;
        descriptors::set_nonblocking(read.as_fd()).map_err(system("fcntl"))?;
        let (real, voice) = (io::stderr(), voice());
        let mut fds = vec![
            page_fd.as_fd(),
            read.as_fd(),
            write.as_fd(),
            // One that does not wait, opened by us: another user could not open it anew.
            voice.map_or(real.as_fd(), AsFd::as_fd),
            their_messages.as_fd(),
            place.watch.bell().as_fd(),
            place.watch.rota(),
            place.keeper.page(),
        ];
        let page = Arc::new(page);
        let book = place.book.filter(|_| place.is_worker());
        let entry = book.map(|book| Arc::new(Book::enter(book)));
        let passing = match place.handoff.filter(|_| place.is_worker()) {
            Some(handoff) => Some(
                handoff
                    .join(place.peer, page.clone(), entry.clone())
                    .map_err(StartError::system("socketpair"))?,
            ),
            None => None,
        };
        fds.extend(passing.as_ref().map(AsFd::as_fd));
        fds.extend(book.map(AsFd::as_fd));
        fds.extend(place.sockets.iter().map(|socket| socket.listener.as_fd()));
        control::try_send_with(ours.as_fd(), &place.welcome(entry.as_deref()), &fds)
            .map_err(StartError::system("cannot send the welcome"))?;
        // LAST: whoever has joined is either followed to its end or given up.
        let joined = match place.entry {
            input::Entry::Vacant => place.exchange.join(place.peer, place.seat, messages),
            input::Entry::Beside => place.exchange.join_beside(place.peer, place.seat, messages),
        };
        joined.map_err(StartError::system("cannot attend the message socket"))?;
        place.watch.join(page.clone());
        let peer =
            Self { control: Arc::new(ours), page, entry, stderr: Some(read), process: None, measurements: 0 };
        Ok((peer, Newcomer { control: theirs, stderr: write }))
    }

    /// It lives: follows it to its end. What it says and its exit are told to `notes`.
    pub(crate) fn follow(&mut self, born: Born, relay_boot: bool, watcher: Watcher) -> io::Result<()> {
        let Born { peer, pid, pidfd } = born;
        let process = Process { pid, pidfd: Arc::new(pidfd) };
        self.process = Some(process.clone());
        let stderr = self.stderr.take().ok_or(io::ErrorKind::AlreadyExists)?;
        let follower = Follower {
            peer,
            control: readiness::watch(self.control.clone())?,
            pidfd: readiness::watch(process.pidfd.clone())?,
            stderr: readiness::watch(stderr)?,
            page: self.page.clone(),
            process,
            watcher,
            hears: true,
            relays: relay_boot,
            relayed: Vec::new(),
        };
        tokio::spawn(follower.run());
        Ok(())
    }

    pub(crate) fn pid(&self) -> Option<Pid> {
        self.process.as_ref().map(|process| process.pid)
    }

    pub(crate) fn connections_open(&self) -> u64 {
        self.page.connections_open()
    }

    /// What it has counted of its connections.
    pub(crate) fn page(&self) -> &Arc<Mapped<Page>> {
        &self.page
    }

    /// Its private memory in bytes, if that was measured since the last look.
    pub(crate) fn new_measurement(&mut self) -> Option<u64> {
        let before = std::mem::replace(&mut self.measurements, self.page.measurements());
        self.page.private_memory().filter(|_| before != self.measurements)
    }

    /// Its process has ended: its part in the cluster's connections is free.
    pub(crate) fn give_up_share(&mut self) {
        self.entry = None;
    }

    pub(crate) fn drain(&self, close_queue: bool) {
        // Full only where it has not read for long; its drain deadline holds all the same.
        let _ = control::try_send(self.control.as_fd(), &ToWorker::Drain { close_queue });
    }

    pub(crate) fn stay(&self) {
        let _ = control::try_send(self.control.as_fd(), &ToWorker::Stay);
    }

    pub(crate) fn dump(&self) {
        // Where it is not heard it is killed all the same, a moment later.
        let _ = control::try_send(self.control.as_fd(), &ToWorker::Dump);
    }

    pub(crate) fn reopen_logs(&self) {
        let _ = control::try_send(self.control.as_fd(), &ToWorker::ReopenLogs);
    }

    pub(crate) fn kill(&self) {
        // First, because one that cannot be killed from here does it itself.
        let _ = control::try_send(self.control.as_fd(), &ToWorker::Kill);
        if let Some(process) = &self.process {
            let _ = force::end_group(process.pid);
            force::end(process.pid, process.pidfd.as_fd());
        }
    }
}

impl Place<'_> {
    fn is_worker(&self) -> bool {
        matches!(self.seat, Seat::Slot(_))
    }

    fn welcome(&self, entry: Option<&Entry>) -> Welcome {
        Welcome {
            protocol: PROTOCOL,
            id: match self.peer {
                PeerId::Worker(worker) => worker.0,
                PeerId::Director(number) => number,
            },
            slot: match self.seat {
                Seat::Slot(slot) => slot.0,
                Seat::Director => 0,
            },
            slots: self.slots,
            generation: self.generation,
            director: self.director,
            passes: self.handoff.is_some() && self.is_worker(),
            place: entry.and_then(|entry| u32::try_from(entry.place()).ok()),
            prepare: self.prepare,
            alone: false,
            sockets: self.sockets.iter().map(|socket| socket.name.clone()).collect(),
        }
    }
}

/// The task that follows one worker or director.
struct Follower {
    peer: PeerId,
    control: AsyncFd<Arc<OwnedFd>>,
    pidfd: AsyncFd<Arc<OwnedFd>>,
    stderr: AsyncFd<OwnedFd>,
    page: Arc<Mapped<Page>>,
    process: Process,
    watcher: Watcher,
    /// Its line is open and carries messages.
    hears: bool,
    /// Its sentinel does not run yet, so that its standard error is relayed here.
    relays: bool,
    /// What was relayed here: before its sentinel ran, and after its end.
    relayed: Vec<u8>,
}

impl Follower {
    async fn run(mut self) {
        loop {
            tokio::select! {
                _ = self.pidfd.readable() => break,
                ready = self.control.readable(), if self.hears => match ready {
                    Ok(mut ready) => {
                        let input = hear(self.peer, &self.control, self.process.pid);
                        if let Heard::Nothing = input {
                            ready.clear_ready();
                        }
                        self.take(input).await;
                    }
                    Err(_) => self.hears = false,
                },
                ready = self.stderr.readable(), if self.relays => match ready {
                    Ok(mut ready) => match relay(&self.stderr, &mut self.relayed) {
                        Ok(0) => self.relays = false,
                        Ok(_) => {}
                        Err(_) => ready.clear_ready(),
                    },
                    Err(_) => self.relays = false,
                },
            }
        }
        self.bury().await;
    }

    async fn take(&mut self, heard: Heard) {
        match heard {
            Heard::Nothing => {}
            Heard::Online => {
                self.relays = false;
                self.tell(Input::Online { peer: self.peer }).await;
            }
            Heard::Input(input) => self.tell(input).await,
            Heard::End => self.hears = false,
            Heard::Garbage => {
                self.hears = false;
                let why = "broke the control protocol".to_owned();
                self.tell(Input::Garbled { peer: self.peer, why }).await;
            }
        }
    }

    async fn tell(&self, input: Input) {
        // The driver outlives all that it follows; if it is gone nobody cares.
        let _ = self.watcher.notes.send(Note::Input(input)).await;
    }

    /// The process has ended: its group goes with it, all that it said is told, then its exit. A process
    /// that has left the group may hold the sockets: they are read until they are empty, not until they
    /// are closed.
    async fn bury(mut self) {
        let _ = force::end_group(self.process.pid);
        while self.hears {
            match hear(self.peer, &self.control, self.process.pid) {
                Heard::Nothing => break,
                heard => self.take(heard).await,
            }
        }
        write_if_room(&self.page.tail.in_hand());
        let mut words = std::mem::take(&mut self.relayed);
        words.extend(self.page.tail.last());
        let mut left: usize = 1 << 20;
        while left > 0 {
            match relay(&self.stderr, &mut words) {
                Ok(read @ 1..) => left = left.saturating_sub(read),
                _ => break,
            }
        }
        // None where somebody else has reaped it: user code that waits for any child.
        let reaped = process::reap(self.process.pidfd.as_fd()).unwrap_or_default();
        let (status, usage) = reaped.map(|(status, usage)| (Some(status), usage)).unwrap_or_default();
        let (connections, trace) = (self.page.connections_open(), self.page.trace.lines());
        let end = End { status, usage, connections, last_stderr: last_lines(&words), trace };
        // BEFORE its exit is told: what it wrote comes first.
        self.watcher.exchange.leave(self.peer);
        self.tell(Input::Exited { peer: self.peer, end }).await;
    }
}

/// One packet of a worker.
enum Heard {
    Nothing,
    Online,
    Input(Input),
    End,
    Garbage,
}

fn hear(peer: PeerId, control: &AsyncFd<Arc<OwnedFd>>, pid: Pid) -> Heard {
    let received = match control::receive::<ToPrimary>(control.get_ref().as_fd(), false) {
        Ok(Some(received)) => received,
        Ok(None) => return Heard::End,
        Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Heard::Nothing,
        Err(err) if err.kind() == io::ErrorKind::InvalidData => return Heard::Garbage,
        Err(_) => return Heard::End,
    };
    // Only the process that we made speaks for it, not one that got hold of its socket.
    if received.pid != Some(pid.as_raw()) {
        return Heard::Garbage;
    }
    Heard::Input(match received.message {
        ToPrimary::Hello { protocol } if protocol == PROTOCOL => Input::Time,
        ToPrimary::Hello { .. } => return Heard::Garbage,
        ToPrimary::Online => return Heard::Online,
        ToPrimary::Ready => Input::Ready { peer },
        ToPrimary::Draining => Input::Draining { peer },
        ToPrimary::Finished { error } => Input::Finished { peer, error },
        ToPrimary::BootFailed { error } => Input::BootFailed { peer, error },
    })
}
