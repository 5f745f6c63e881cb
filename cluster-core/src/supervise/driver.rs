//! The driver: hears workers, signals and time, asks the pool what to do, and does it.
use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::unistd::Pid;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::birth::executable::{Executable, Execution};
use crate::birth::forkserver::Started;
use crate::config::{Settings, Workers};
use crate::conn::listen::ClusterSocket;
use crate::error::{Error, StartError};
use crate::event::Event;
use crate::id::{Slot, WorkerId};
use crate::role::Role;
use crate::supervise::announce::Announcer;
use crate::supervise::breeder::Breeder;
use crate::supervise::input::{Action, Input, Policy, Verdict};
use crate::supervise::note::Note;
use crate::supervise::orphans::Orphans;
use crate::supervise::peer::{Newcomer, Peer, Place};
use crate::supervise::pool::Pool;
use crate::sys::process;

/// All that a primary needs to begin.
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) workers: Workers,
    pub(crate) sockets: Vec<ClusterSocket>,
    /// How each socket is announced: `http://127.0.0.1:3000`.
    pub(crate) places: Vec<String>,
    pub(crate) method: Method,
}

/// How workers are made.
pub(crate) enum Method {
    /// Forked, by this fork server first.
    Fork(Started),
    /// Executed.
    Exec,
}

/// One generation, for now.
const GENERATION: u64 = 1;
/// Notes of tasks that wait for the driver; a task whose note does not fit waits.
const NOTES: usize = 256;

struct Driver {
    pool: Pool,
    peers: HashMap<WorkerId, Peer>,
    /// Workers are forked; else executed.
    forks: bool,
    /// The fork server, while there is one.
    breeder: Option<Breeder>,
    executable: Executable,
    sockets: Vec<ClusterSocket>,
    places: Vec<String>,
    slots: u16,
    orphans: Orphans,
    announcer: Announcer,
    notes: mpsc::Sender<Note>,
    quiet: bool,
    listening: bool,
    all_ready: bool,
}

/// The signals that mean something to a primary.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    child: Signal,
}

/// Supervises until all is over. `cancelled` resolves when nobody waits for the end any more.
pub(crate) async fn supervise(plan: Plan, cancelled: impl Future<Output = ()>) -> Result<(), Error> {
    let mut signals = Signals::catch().map_err(Error::Primary)?;
    let (notes, mut inbox) = mpsc::channel(NOTES);
    let mut driver = Driver::new(plan, notes).map_err(Error::Start)?;
    let mut cancelled = std::pin::pin!(cancelled);
    let mut stops = 0;
    let mut is_cancelled = false;
    let mut orphans_due = None;
    let mut verdict = driver.decide(Input::Time);
    while verdict.is_none() {
        let input = tokio::select! {
            // In this order: what has happened is known before what is asked.
            biased;
            note = inbox.recv() => match note {
                Some(note) => driver.note(note),
                None => return Err(Error::Primary(io::ErrorKind::BrokenPipe.into())),
            },
            _ = signals.terminate.recv() => Some(stop(&mut stops)),
            _ = signals.interrupt.recv() => Some(stop(&mut stops)),
            _ = signals.quit.recv() => Some(Input::StopNow),
            _ = signals.child.recv() => {
                orphans_due = driver.reap_orphans();
                None
            }
            () = &mut cancelled, if !is_cancelled => {
                is_cancelled = true;
                Some(Input::Stop)
            }
            () = until(driver.pool.next_deadline()) => Some(Input::Time),
            () = until(orphans_due) => {
                orphans_due = driver.reap_orphans();
                None
            }
        };
        verdict = input.and_then(|input| driver.decide(input));
    }
    driver.leave(&mut inbox).await;
    match verdict {
        Some(Verdict::GaveUp(why)) => Err(Error::GaveUp(why)),
        Some(Verdict::Stopped) | None => Ok(()),
    }
}

/// Whether running out of memory ends all processes of our control group at once (cgroup v2,
/// `memory.oom.group`), the primary among them.
fn dies_as_a_group() -> bool {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(own) = groups.lines().find_map(|line| line.strip_prefix("0::")) else { return false };
    let setting = std::fs::read_to_string(format!("/sys/fs/cgroup{own}/memory.oom.group"));
    setting.is_ok_and(|setting| setting.trim() == "1")
}

/// The first asks, the second insists.
fn stop(stops: &mut u32) -> Input {
    *stops += 1;
    if *stops == 1 { Input::Stop } else { Input::StopNow }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

impl Signals {
    fn catch() -> io::Result<Self> {
        use nix::sys::signal::{
            SigSet,
            Signal::{SIGCHLD, SIGINT, SIGQUIT, SIGTERM},
        };
        // Whoever started us may have blocked them, and the mask is inherited (sigprocmask(2)).
        [SIGTERM, SIGINT, SIGQUIT, SIGCHLD].into_iter().collect::<SigSet>().thread_unblock()?;
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            child: signal(SignalKind::child())?,
        })
    }
}

impl Driver {
    fn new(plan: Plan, notes: mpsc::Sender<Note>) -> Result<Self, StartError> {
        // BEFORE the first worker is forked: one that is forked away must become our child.
        nix::sys::prctl::set_child_subreaper(true)
            .map_err(StartError::system("cannot become a subreaper (prctl PR_SET_CHILD_SUBREAPER)"))?;
        let executable = Executable::this().map_err(StartError::system("cannot open our own executable"))?;
        let policy = Policy {
            workers: plan.workers.count,
            restart: plan.settings.restart.clone(),
            boot_timeout: plan.settings.boot_timeout,
            drain_timeout: plan.settings.drain_timeout,
            fork_server: matches!(plan.method, Method::Fork(_)),
            seed: fastrand::u64(..),
        };
        let forks = policy.fork_server;
        let breeder = match plan.method {
            Method::Fork(started) => Some(
                Breeder::attend(started, notes.clone())
                    .map_err(StartError::system("cannot attend the fork server"))?,
            ),
            Method::Exec => None,
        };
        let mut driver = Self {
            pool: Pool::new(Instant::now(), policy),
            peers: HashMap::new(),
            forks,
            breeder,
            executable,
            sockets: plan.sockets,
            places: plan.places,
            slots: plan.workers.count,
            orphans: Orphans::new(),
            announcer: Announcer::from_environment(),
            notes,
            quiet: plan.settings.quiet,
            listening: false,
            all_ready: false,
        };
        driver.tell(Event::Starting { workers: plan.workers.count, source: plan.workers.source });
        if dies_as_a_group() {
            driver.tell(Event::OomGroup);
        }
        Ok(driver)
    }

    /// Turns a task's note into what the pool understands.
    fn note(&mut self, note: Note) -> Option<Input> {
        match note {
            Note::Input(input) => {
                if let Input::Exited { worker, .. } = &input
                    && let Some(pid) = self.peers.remove(worker).and_then(|peer| peer.pid())
                {
                    self.orphans.worker_ended(pid);
                }
                Some(input)
            }
            Note::Born { worker, pid, pidfd } => {
                let relay_boot = !self.forks;
                let peer = self.peers.get_mut(&worker)?;
                match peer.follow(worker, pid, pidfd, relay_boot, self.notes.clone()) {
                    Ok(()) => Some(Input::Born { worker, pid: pid.as_raw() as u32 }),
                    Err(err) => {
                        peer.kill();
                        self.peers.remove(&worker);
                        Some(Input::Stillborn { worker, error: format!("cannot follow the worker: {err}") })
                    }
                }
            }
            Note::ForkServerGone { pid, why } => {
                self.breeder.take_if(|breeder| breeder.pid() == pid)?;
                Some(Input::ForkServerLost { why })
            }
        }
    }

    /// Asks the pool and does what it says, until it wants nothing more.
    fn decide(&mut self, input: Input) -> Option<Verdict> {
        let mut inputs = vec![input];
        let mut verdict = None;
        let mut events = Vec::new();
        while let Some(input) = inputs.pop() {
            for action in self.pool.handle(Instant::now(), input) {
                match action {
                    Action::Spawn { worker, slot } => inputs.extend(self.spawn(worker, slot)),
                    Action::Drain { worker, close_queue } => {
                        self.with_peer(worker, |peer| peer.drain(close_queue))
                    }
                    Action::Kill { worker } => self.with_peer(worker, Peer::kill),
                    Action::StartForkServer => inputs.extend(self.start_fork_server()),
                    Action::KillForkServer => {
                        if let Some(breeder) = &self.breeder {
                            breeder.kill();
                        }
                    }
                    // AFTER all acts: a successor does not wait for a slow terminal.
                    Action::Tell(event) => events.push(event),
                    Action::End(end) => verdict = Some(end),
                }
            }
        }
        events.into_iter().for_each(|event| self.tell(event));
        verdict
    }

    fn with_peer(&self, worker: WorkerId, act: impl FnOnce(&Peer)) {
        if let Some(peer) = self.peers.get(&worker) {
            act(peer);
        }
    }

    /// Makes a worker, or says why not.
    fn spawn(&mut self, worker: WorkerId, slot: Slot) -> Option<Input> {
        let place = Place { worker, slot, slots: self.slots, generation: GENERATION };
        let made = Peer::prepare(&place, &self.sockets).map_err(|err| err.to_string()).and_then(
            |(peer, newcomer)| {
                self.peers.insert(worker, peer);
                self.make(worker, newcomer)
            },
        );
        match made {
            Ok(input) => input,
            Err(error) => {
                self.peers.remove(&worker);
                Some(Input::Stillborn { worker, error })
            }
        }
    }

    fn make(&mut self, worker: WorkerId, newcomer: Newcomer) -> Result<Option<Input>, String> {
        if self.forks {
            let breeder = self.breeder.as_ref().ok_or("there is no fork server")?;
            breeder.ask(worker, newcomer.control);
            return Ok(None);
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from) / usize::from(self.slots);
        let execution = Execution {
            role: Role::Worker,
            control: newcomer.control,
            stderr: Some(newcomer.stderr),
            defaults: vec![("TOKIO_WORKER_THREADS", threads.max(1).to_string())],
        };
        let pid =
            self.executable.execute(execution).map_err(|err| format!("cannot execute the program: {err}"))?;
        // Nobody but us reaps it, so the pid is its own until then.
        let pidfd = process::pidfd_open(pid).map_err(|err| format!("pidfd_open: {err}"))?;
        Ok(self.note(Note::Born { worker, pid, pidfd }))
    }

    fn start_fork_server(&mut self) -> Option<Input> {
        match Breeder::execute(&self.executable, &self.sockets, GENERATION, self.notes.clone()) {
            Ok(breeder) => {
                self.breeder = Some(breeder);
                None
            }
            Err(err) => Some(Input::ForkServerLost { why: err.to_string() }),
        }
    }

    fn reap_orphans(&mut self) -> Option<Instant> {
        let (peers, breeder) = (&self.peers, &self.breeder);
        let ours = |pid: Pid| {
            peers.values().any(|peer| peer.pid() == Some(pid))
                || breeder.as_ref().is_some_and(|breeder| breeder.pid() == pid)
        };
        self.orphans.reap(Instant::now(), &ours)
    }

    fn tell(&mut self, event: Event) {
        let event = match event {
            Event::Stopping { .. } => {
                Event::Stopping { connections: self.peers.values().map(Peer::connections_open).sum() }
            }
            event => event,
        };
        if let Event::WorkerReady { .. } = event
            && !std::mem::replace(&mut self.listening, true)
            && !self.places.is_empty()
        {
            self.tell(Event::Listening { at: self.places.clone() });
        }
        self.announcer.tell(&event);
        let start_up = match event {
            // The first workers have one line together.
            Event::WorkerReady { .. } | Event::ForkServerReady { .. } => !self.all_ready,
            Event::AllReady { .. } => {
                self.all_ready = true;
                false
            }
            _ => false,
        };
        if !self.quiet && !start_up {
            event.log();
        }
    }

    /// All workers have ended: the fork server goes too, and nothing of ours is left.
    async fn leave(&mut self, inbox: &mut mpsc::Receiver<Note>) {
        if let Some(breeder) = self.breeder.take() {
            let pid = breeder.pid();
            breeder.dismiss();
            while let Some(note) = inbox.recv().await {
                if matches!(note, Note::ForkServerGone { pid: gone, .. } if gone == pid) {
                    break;
                }
            }
        }
        self.reap_orphans();
        for socket in &self.sockets {
            // What the user's main has kept of the socket must not keep the port.
            let _ = socket2::SockRef::from(&socket.listener.as_fd()).shutdown(std::net::Shutdown::Read);
        }
    }
}
