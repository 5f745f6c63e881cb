//! The fork server as the primary sees it: requests go in, pidfds come out.
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::unistd::Pid;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::birth::executable::{Executable, Execution};
use crate::birth::forkserver::Started;
use crate::birth::identity::Identity;
use crate::conn::listen::ClusterSocket;
use crate::error::StartError;
use crate::event::{Ending, last_lines};
use crate::id::PeerId;
use crate::ipc::control::{self, FromForkServer, PROTOCOL, ToForkServer, Welcome};
use crate::role::Role;
use crate::supervise::force;
use crate::supervise::input::Input;
use crate::supervise::note::{Loss, Note};
use crate::supervise::relay::relay;
use crate::sys::{channel, descriptors, process, readiness};

/// The driver's side: dropping it dismisses the fork server.
pub(crate) struct Breeder {
    pid: Pid,
    pidfd: Arc<OwnedFd>,
    requests: mpsc::UnboundedSender<Request>,
}

/// What a program is executed for.
pub(crate) struct Errand<'d> {
    pub(crate) executable: &'d Executable,
    pub(crate) sockets: &'d [ClusterSocket],
    pub(crate) generation: u64,
    /// The generation has still to be prepared for.
    pub(crate) prepare: bool,
    /// That is all that it does, as this: there is no fork server.
    pub(crate) alone: Option<&'d Identity>,
}

/// A worker or director to fork; the socket is its end of the control line. At most one per seat waits.
struct Request {
    peer: PeerId,
    control: OwnedFd,
}

impl Breeder {
    /// Attends the first fork server, which lives, and writes where the primary does.
    pub(crate) fn attend(started: Started, generation: u64, notes: mpsc::Sender<Note>) -> io::Result<Self> {
        Self::follow(started, generation, None, None, notes)
    }

    /// `stderr`: what it writes there, where that is ours to pass on. `leads`: a group that ends with it.
    fn follow(
        started: Started,
        generation: u64,
        stderr: Option<OwnedFd>,
        leads: Option<Pid>,
        notes: mpsc::Sender<Note>,
    ) -> io::Result<Self> {
        let Started { control, pid } = started;
        let pidfd = Arc::new(process::pidfd_open(pid)?);
        let (requests, inbox) = mpsc::unbounded_channel();
        let watch = Watch {
            pid,
            generation,
            stderr: stderr.map(readiness::watch).transpose()?,
            words: Vec::new(),
            control: readiness::watch(control)?,
            pidfd: readiness::watch(pidfd.clone())?,
            asked: HashSet::new(),
            preparing: None,
            leads,
            unprepared: None,
            notes,
        };
        tokio::spawn(watch.run(inbox));
        Ok(Self { pid, pidfd, requests })
    }

    /// Executes the program as a fork server, or to prepare a generation and nothing else, and attends it.
    pub(crate) fn execute(errand: Errand<'_>, notes: mpsc::Sender<Note>) -> io::Result<Self> {
        let Errand { executable, sockets, generation, prepare, alone } = errand;
        let failed = StartError::system::<nix::Error>;
        let (control, theirs) = channel::pair().map_err(failed("cannot execute the program: socketpair"))?;
        let welcome = Welcome {
            protocol: PROTOCOL,
            id: 0,
            slot: 0,
            slots: 0,
            generation,
            director: false,
            passes: false,
            place: None,
            prepare,
            alone: alone.is_some(),
            sockets: sockets.iter().map(|socket| socket.name.clone()).collect(),
        };
        let fds: Vec<_> = sockets.iter().map(|socket| socket.listener.as_fd()).collect();
        control::try_send_with(control.as_fd(), &welcome, &fds)?;
        // Its last words are the reason where it does not come up.
        let pipe = nix::unistd::pipe2(OFlag::O_CLOEXEC);
        let (read, write) = pipe.map_err(failed("cannot execute the program: pipe"))?;
        descriptors::set_nonblocking(read.as_fd())?;
        let execution = Execution {
            role: Role::ForkServer,
            control: theirs,
            stderr: Some(write),
            defaults: Vec::new(),
            // A fork server stays what the primary is: what it forks becomes somebody else.
            variables: alone.map_or(Vec::new(), |identity| identity.environment().to_vec()),
            steps: alone.map_or(Vec::new(), |identity| identity.steps(None)),
            own_group: alone.is_some(),
        };
        let pid = executable.execute(execution)?;
        let leads = alone.is_some().then_some(pid);
        Self::follow(Started { control, pid }, generation, Some(read), leads, notes)
            .inspect_err(|_| process::discard(pid))
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Asks for a worker or director; it is told as `Born` or `Stillborn`, or the fork server as gone.
    pub(crate) fn ask(&self, peer: PeerId, control: OwnedFd) {
        // If nobody takes it the fork server is gone, which will be told, and the newcomer with it.
        let _ = self.requests.send(Request { peer, control });
    }

    pub(crate) fn kill(&self) {
        // One that prepares alone may be another user's.
        force::end(self.pid, self.pidfd.as_fd());
    }

    /// Ends it: it leaves when its line closes, or is killed where it cannot.
    pub(crate) fn dismiss(&self) {
        // It holds nothing that a kill could harm; stopped, it would not see its line close.
        self.kill();
    }
}

/// The task that follows one fork server.
struct Watch {
    pid: Pid,
    generation: u64,
    /// None from its end on.
    stderr: Option<AsyncFd<OwnedFd>>,
    /// The last that it has written there.
    words: Vec<u8>,
    control: AsyncFd<OwnedFd>,
    pidfd: AsyncFd<Arc<OwnedFd>>,
    /// Requests without an answer yet.
    asked: HashSet<PeerId>,
    /// The process that prepares its generation, until that is known to be done.
    preparing: Option<(Pid, Option<OwnedFd>)>,
    /// Its own group, where it has one, which ends with it.
    leads: Option<Pid>,
    /// Why it could not be prepared.
    unprepared: Option<String>,
    notes: mpsc::Sender<Note>,
}

impl Watch {
    async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        loop {
            tokio::select! {
                _ = self.pidfd.readable() => break,
                ready = self.control.readable() => {
                    let Ok(mut ready) = ready else { break };
                    match control::receive::<FromForkServer>(self.control.get_ref().as_fd(), false) {
                        Ok(Some(received)) => {
                            drop(ready);
                            if !self.take(received).await {
                                break;
                            }
                        }
                        Err(err) if err.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                        Ok(None) | Err(_) => break,
                    }
                }
                passed_on = pass_on(&self.stderr, &mut self.words) => {
                    if !passed_on {
                        self.stderr = None;
                    }
                }
                request = requests.recv() => match request {
                    Some(request) => self.ask(request).await,
                    None => break,
                },
            }
        }
        self.bury().await;
    }

    async fn ask(&mut self, Request { peer, control }: Request) {
        let message = ToForkServer::Fork { peer };
        match control::try_send_with(self.control.get_ref().as_fd(), &message, &[control.as_fd()]) {
            Ok(()) => {
                self.asked.insert(peer);
            }
            Err(err) => {
                self.tell(Input::Stillborn { peer, error: format!("cannot ask the fork server: {err}") })
                    .await
            }
        }
    }

    /// Answers whether the fork server can be trusted any further.
    async fn take(&mut self, received: control::Received<FromForkServer>) -> bool {
        match received.message {
            FromForkServer::Hello { protocol } => {
                self.preparing = None;
                let known = protocol == PROTOCOL && received.pid == Some(self.pid.as_raw());
                if known {
                    let (generation, pid) = (self.generation, self.pid.as_raw() as u32);
                    self.tell(match self.leads {
                        Some(_) => Input::Opened { generation },
                        None => Input::ForkServerUp { generation, pid },
                    })
                    .await;
                }
                known
            }
            FromForkServer::Preparing { pid } => {
                // None where this process has no descriptor left for it.
                let pidfd = received.fds.into_iter().next();
                self.preparing = (pid > 1).then(|| (Pid::from_raw(pid), pidfd));
                self.preparing.is_some()
            }
            FromForkServer::Unprepared { error } => {
                (self.preparing, self.unprepared) = (None, Some(error));
                true
            }
            FromForkServer::Born { peer, pid } => {
                let (known, pidfd) = (self.asked.remove(&peer), received.fds.into_iter().next());
                let Some(pidfd) = pidfd.filter(|_| known) else { return false };
                let born = Note::Born { peer, pid: Pid::from_raw(pid), pidfd };
                let _ = self.notes.send(born).await;
                true
            }
            FromForkServer::Stillborn { peer, error } => {
                if self.asked.remove(&peer) {
                    self.tell(Input::Stillborn { peer, error }).await;
                }
                true
            }
        }
    }

    async fn tell(&self, input: Input) {
        let _ = self.notes.send(Note::Input(input)).await;
    }

    /// It is gone, or beyond trust: what it had answered counts.
    async fn bury(mut self) {
        force::end(self.pid, self.pidfd.get_ref().as_fd());
        let _ = self.pidfd.readable().await.map(drop);
        while let Ok(Some(received)) =
            control::receive::<FromForkServer>(self.control.get_ref().as_fd(), false)
        {
            if !self.take(received).await {
                break;
            }
        }
        if let Some(stderr) = &self.stderr {
            let mut left: usize = 1 << 20;
            while left > 0
                && let Ok(read @ 1..) = relay(stderr, &mut self.words)
            {
                left = left.saturating_sub(read);
            }
        }
        // With its parent gone it is ours, and nobody else reaps it. One that its parent has reaped took its group with it, and
        // its number may be another's by now.
        let interrupted = self.preparing.is_some() || self.leads.is_some();
        let is_there = |pidfd: &OwnedFd| !process::is_reaped(pidfd.as_fd());
        let preparing = self.preparing.filter(|(_, pidfd)| pidfd.as_ref().is_none_or(is_there));
        let left = preparing.map(|(pid, _)| pid).or(self.leads);
        if let Some(group) = left {
            let _ = force::end_group(group);
        }
        let last_stderr = last_lines(&self.words);
        let reaped = process::reap(self.pidfd.get_ref().as_fd()).ok().flatten();
        let why = reaped.map_or_else(|| "it is gone".to_owned(), |(status, _)| Ending(status).to_string());
        let loss = Loss { why, last_stderr, unprepared: self.unprepared, interrupted, left };
        let _ = self.notes.send(Note::ForkServerGone { pid: self.pid, loss }).await;
    }
}

/// Passes on what there is of a fork server's standard error. Answers whether there may be more.
async fn pass_on(from: &Option<AsyncFd<OwnedFd>>, words: &mut Vec<u8>) -> bool {
    let Some(from) = from else { return std::future::pending().await };
    let Ok(mut ready) = from.readable().await else { return false };
    match relay(from, words) {
        Ok(0) => false,
        Ok(_) => true,
        Err(_) => {
            ready.clear_ready();
            true
        }
    }
}
