//! The driver: hears workers, signals and time, asks the pool what to do, and does it.
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

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
    /// What it was asked for and has not answered.
    unborn: BTreeSet<WorkerId>,
    /// What the pool has still to be told, one per turn: in between everybody else is heard.
    untold: VecDeque<Input>,
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
    let mut stops = Stops::default();
    let mut is_cancelled = false;
    let mut orphans_due = None;
    let mut verdict = driver.decide(Input::Time);
    while verdict.is_none() {
        let input = tokio::select! {
            // In this order: what has happened is known before what is asked.
            biased;
            note = inbox.recv() => match note {
                Some(note) => {
                    driver.note(note);
                    driver.untold.pop_front()
                }
                None => return Err(Error::Primary(io::ErrorKind::BrokenPipe.into())),
            },
            _ = signals.terminate.recv() => stops.asked(Instant::now()),
            _ = signals.interrupt.recv() => stops.asked(Instant::now()),
            _ = signals.quit.recv() => Some(Input::StopNow),
            _ = signals.child.recv() => {
                orphans_due = driver.reap_orphans();
                None
            }
            () = &mut cancelled, if !is_cancelled => {
                is_cancelled = true;
                Some(Input::Stop)
            }
            () = std::future::ready(()), if !driver.untold.is_empty() => driver.untold.pop_front(),
            () = until(driver.pool.next_deadline()) => {
                let news = hear_first(&mut inbox).await;
                let time = news.is_none();
                news.into_iter().for_each(|note| driver.note(note));
                if time { Some(Input::Time) } else { driver.untold.pop_front() }
            }
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

/// What has happened before a deadline is judged. After this process was stopped, or had no processor for
/// long, the clock is ahead of the tasks that hear the workers: they run first.
async fn hear_first(inbox: &mut mpsc::Receiver<Note>) -> Option<Note> {
    for _ in 0..3 {
        tokio::task::yield_now().await;
        if let Ok(note) = inbox.try_recv() {
            return Some(note);
        }
    }
    None
}

/// Signals that ask for an end: the first asks, the second insists.
#[derive(Default)]
struct Stops {
    first: Option<Instant>,
}

impl Stops {
    /// What comes with the first is the first once more: a terminal and a supervisor may both pass it on.
    const ONE: Duration = Duration::from_millis(100);

    fn asked(&mut self, now: Instant) -> Option<Input> {
        match self.first {
            None => {
                self.first = Some(now);
                Some(Input::Stop)
            }
            Some(first) if now - first < Self::ONE => None,
            Some(_) => Some(Input::StopNow),
        }
    }
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
            unborn: BTreeSet::new(),
            untold: VecDeque::new(),
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

    /// Takes in a task's note: what the pool is to know of it is left in `untold`.
    fn note(&mut self, note: Note) {
        match note {
            Note::Input(input) => {
                match &input {
                    Input::Exited { worker, .. } => {
                        if let Some(pid) = self.peers.remove(worker).and_then(|peer| peer.pid()) {
                            self.orphans.worker_ended(pid);
                        }
                    }
                    Input::Stillborn { worker, .. } => {
                        self.unborn.remove(worker);
                        self.give_up_peer(*worker);
                    }
                    _ => {}
                }
                self.untold.push_back(input);
            }
            Note::Born { worker, pid, pidfd } => self.follow(worker, pid, pidfd),
            Note::ForkServerGone { pid, why } => {
                if self.breeder.take_if(|breeder| breeder.pid() == pid).is_none() {
                    return;
                }
                self.orphans.fork_server_lost();
                // BEFORE the stillbirths: the pool must not ask this fork server again.
                self.untold.push_back(Input::ForkServerLost { why: why.clone() });
                for worker in std::mem::take(&mut self.unborn) {
                    self.give_up_peer(worker);
                    let error = format!("the fork server was lost ({why})");
                    self.untold.push_back(Input::Stillborn { worker, error });
                }
            }
        }
    }

    /// Nobody will follow this worker. If it lives all the same it must end by itself, and not take the end
    /// of its line for the primary's: it would close the queue of the living.
    fn give_up_peer(&mut self, worker: WorkerId) {
        if let Some(peer) = self.peers.remove(&worker) {
            peer.kill();
        }
    }

    fn follow(&mut self, worker: WorkerId, pid: Pid, pidfd: OwnedFd) {
        self.unborn.remove(&worker);
        let (relay_boot, notes) = (!self.forks, self.notes.clone());
        let Some(peer) = self.peers.get_mut(&worker) else { return };
        let told = match peer.follow(worker, pid, pidfd, relay_boot, notes) {
            Ok(()) => Input::Born { worker, pid: pid.as_raw() as u32 },
            Err(err) => {
                self.give_up_peer(worker);
                process::discard(pid);
                Input::Stillborn { worker, error: format!("cannot follow the worker: {err}") }
            }
        };
        self.untold.push_back(told);
    }

    /// Asks the pool and does what it says.
    fn decide(&mut self, input: Input) -> Option<Verdict> {
        let mut verdict = None;
        let mut events = Vec::new();
        for action in self.pool.handle(Instant::now(), input) {
            match action {
                Action::Spawn { worker, slot } => self.spawn(worker, slot),
                Action::Drain { worker, close_queue } => {
                    self.with_peer(worker, |peer| peer.drain(close_queue))
                }
                Action::Kill { worker } => self.with_peer(worker, Peer::kill),
                Action::StartForkServer => self.start_fork_server(),
                Action::KillForkServer => {
                    if let Some(breeder) = &self.breeder {
                        breeder.kill();
                    }
                }
                // AFTER all acts: a successor does not wait for its predecessor's obituary.
                Action::Tell(event) => events.push(event),
                Action::End(end) => verdict = Some(end),
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

    /// Makes a worker, or tells why not.
    fn spawn(&mut self, worker: WorkerId, slot: Slot) {
        let place = Place { worker, slot, slots: self.slots, generation: GENERATION };
        let made = Peer::prepare(&place, &self.sockets).map_err(|err| err.to_string()).and_then(
            |(peer, newcomer)| {
                self.peers.insert(worker, peer);
                self.make(worker, newcomer)
            },
        );
        if let Err(error) = made {
            self.unborn.remove(&worker);
            self.give_up_peer(worker);
            self.untold.push_back(Input::Stillborn { worker, error });
        }
    }

    fn make(&mut self, worker: WorkerId, newcomer: Newcomer) -> Result<(), String> {
        if self.forks {
            let breeder = self.breeder.as_ref().ok_or("there is no fork server")?;
            self.unborn.insert(worker);
            breeder.ask(worker, newcomer.control);
            return Ok(());
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
        let pidfd = process::pidfd_open(pid).map_err(|err| {
            process::discard(pid);
            format!("pidfd_open: {err}")
        })?;
        self.follow(worker, pid, pidfd);
        Ok(())
    }

    fn start_fork_server(&mut self) {
        match Breeder::execute(&self.executable, &self.sockets, GENERATION, self.notes.clone()) {
            Ok(breeder) => self.breeder = Some(breeder),
            Err(err) => self.untold.push_back(Input::ForkServerLost { why: err.to_string() }),
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
            Event::Stopping { asked, .. } => {
                // The pages are the workers': what they say is shown, and not trusted to add up.
                let open = self.peers.values().map(Peer::connections_open);
                Event::Stopping { connections: open.fold(0, u64::saturating_add), asked }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubled_signal_is_one_and_a_later_one_insists() {
        let (mut stops, start) = (Stops::default(), Instant::now());
        assert!(matches!(stops.asked(start), Some(Input::Stop)));
        assert!(stops.asked(start + Duration::from_millis(99)).is_none());
        assert!(matches!(stops.asked(start + Duration::from_millis(100)), Some(Input::StopNow)));
    }
}
