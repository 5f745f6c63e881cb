//! The driver: hears processes, signals and time, asks the pool what to do, and does it.
mod births;
mod connections;
mod counters;
mod generations;
mod looks;
mod signalled;
mod telling;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use tokio::sync::mpsc;

use crate::birth::executable::Executable;
use crate::birth::forkserver::Started;
use crate::birth::identity::Identity;
use crate::config::{HangLimit, Settings, Workers};
use crate::conn::listen::ClusterSocket;
use crate::conn::{AdmissionPolicy, Book, Cut, Handoff, Watch};
use crate::error::{Error, StartError};
use crate::event::Event;
use crate::id::PeerId;
use crate::ipc::control::ToDirector;
use crate::ipc::counters::Told;
use crate::ipc::exchange::{Exchange, Word};
use crate::ipc::notice::Undelivered;
use crate::secret::Keeper;
use crate::supervise::announce::Announcer;
use crate::supervise::breeder::Breeder;
use crate::supervise::driver::generations::{Generation, Generations};
use crate::supervise::input::{Action, Input, Policy, Verdict};
use crate::supervise::note::Note;
use crate::supervise::notifier::Notifier;
use crate::supervise::orphans::Orphans;
use crate::supervise::peer::{Born, Peer};
use crate::supervise::pool::{FIRST_GENERATION, Pool};
use crate::supervise::signals::{HangUps, Signals, Stops, has_terminal};

/// All that a primary needs to begin.
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    /// What workers and the director are.
    pub(crate) identity: Identity,
    pub(crate) workers: Workers,
    /// The most workers that there can be.
    pub(crate) most_workers: u16,
    /// Whether there is code for the primary's side.
    pub(crate) director: bool,
    pub(crate) sockets: Vec<ClusterSocket>,
    /// What the kernel has cut off their queues.
    pub(crate) cut: Option<Cut>,
    /// How each socket is announced: `http://127.0.0.1:3000`.
    pub(crate) places: Vec<String>,
    pub(crate) method: Method,
}

impl Plan {
    /// What the pool goes by.
    fn policy(&self) -> Policy {
        Policy {
            workers: self.workers.count,
            director: self.director,
            most_workers: self.most_workers,
            restart: self.settings.restart.clone(),
            boot_timeout: self.settings.boot_timeout,
            drain_timeout: self.settings.drain_timeout,
            hang: self.settings.hang,
            rollout: self.settings.rollout,
            recycling: self.settings.recycling,
            fork_server: matches!(self.method, Method::Fork(_)),
            prepares: matches!(self.method, Method::Exec { prepares: true }),
            seed: fastrand::u64(..),
        }
    }
}

/// How workers are made.
pub(crate) enum Method {
    /// Forked, by this fork server first.
    Fork(Started),
    /// Executed; once before that, where there is something to prepare.
    Exec { prepares: bool },
}

/// Notes of tasks that wait for the driver; a task whose note does not fit waits.
const NOTES: usize = 256;
/// Words of the exchange that wait for the driver.
const WORDS: usize = 64;
/// How long what workers have left may take to die at the end. What the kernel does not let go is not waited for.
const DIES_WITHIN: Duration = Duration::from_secs(1);

struct Driver {
    pool: Pool,
    peers: HashMap<PeerId, Peer>,
    exchange: Exchange,
    /// Whether the cluster has a director.
    has_director: bool,
    /// The newest director: the one that is told.
    director: Option<PeerId>,
    /// Workers are forked; else executed.
    forks: bool,
    /// Executed, after a process that prepares their generation.
    prepares: bool,
    /// What workers are made of, or were until a moment ago.
    generations: Generations,
    /// What the pool has still to be told, one per turn: in between everybody else is heard.
    untold: VecDeque<Input>,
    identity: Identity,
    sockets: Vec<ClusterSocket>,
    watch: Watch,
    /// Makes what all workers know.
    keeper: Keeper,
    /// None where the cluster's connections are not limited.
    book: Option<Arc<Book>>,
    /// None where workers help themselves to all connections.
    handoff: Option<Handoff>,
    places: Vec<String>,
    slots: u16,
    orphans: Orphans,
    /// When to look for orphans next, also without a signal.
    orphans_due: Option<Instant>,
    stops: Stops,
    hang_ups: HangUps,
    /// None: nobody looks whether runtimes turn.
    hang: Option<HangLimit>,
    /// When to look next.
    look_at: Option<Instant>,
    /// When to look next at what they use and do. None: nobody wants to know.
    weigh_at: Option<Instant>,
    announcer: Announcer,
    notifier: Notifier,
    /// Events that the director had no room for.
    untold_events: u64,
    /// What the director knows of what is counted.
    told: Told,
    /// When to tell it what has changed.
    counters_due: Instant,
    notes: mpsc::Sender<Note>,
    quiet: bool,
    listening: bool,
    all_ready: bool,
    /// The primary accepts no more.
    closing: bool,
}

/// Supervises until all is over. `cancelled` resolves when nobody waits for the end any more.
pub(crate) async fn supervise(plan: Plan, cancelled: impl Future<Output = ()>) -> Result<(), Error> {
    let mut signals = Signals::catch().map_err(Error::Primary)?;
    let (notes, mut inbox) = mpsc::channel(NOTES);
    let (words, mut speaking) = mpsc::channel(WORDS);
    let mut driver = Driver::new(plan, notes, words).map_err(Error::Start)?;
    let mut cancelled = std::pin::pin!(cancelled);
    let mut is_cancelled = false;
    let mut verdict = driver.decide(Input::Time);
    while verdict.is_none() {
        let input = tokio::select! {
            biased;
            // BEFORE all else: while this loop turns, the service manager's watchdog is told so.
            () = until(driver.notifier.due()) => {
                driver.notifier.take_turn(Instant::now());
                None
            }
            // In this order: what has happened is known before what is asked.
            note = inbox.recv() => match note {
                Some(note) => {
                    driver.note(note);
                    driver.untold.pop_front()
                }
                None => return Err(Error::Primary(io::ErrorKind::BrokenPipe.into())),
            },
            Some(word) = speaking.recv() => driver.heard(word),
            heard = signals.next() => driver.signalled(heard),
            () = until(driver.hang_ups.look_at()) => driver.look_for_terminal(),
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
            () = until(driver.look_at) => Some(driver.look()),
            () = until(driver.weigh_at) => Some(driver.weigh()),
            () = until(Some(driver.keeper.due())) => {
                driver.keeper.turn(Instant::now());
                None
            }
            () = until(driver.orphans_due) => {
                driver.reap_orphans();
                None
            }
            () = until(driver.counters_due()) => {
                driver.tell_counters();
                None
            }
        };
        verdict = input.and_then(|input| driver.decide(input));
    }
    driver.leave(&mut inbox, &mut signals).await;
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

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

impl Driver {
    fn new(plan: Plan, notes: mpsc::Sender<Note>, words: mpsc::Sender<Word>) -> Result<Self, StartError> {
        // BEFORE the first worker is forked: one that is forked away must become our child.
        nix::sys::prctl::set_child_subreaper(true)
            .map_err(StartError::system("cannot become a subreaper (prctl PR_SET_CHILD_SUBREAPER)"))?;
        let binary = plan.settings.binary.as_deref();
        let executable =
            Executable::this(binary).map_err(StartError::system("cannot open our own executable"))?;
        let policy = plan.policy();
        let (forks, prepares) = (policy.fork_server, policy.prepares);
        let breeder = match plan.method {
            Method::Fork(started) => Some(
                Breeder::attend(started, FIRST_GENERATION, notes.clone())
                    .map_err(StartError::system("cannot attend the fork server"))?,
            ),
            Method::Exec { .. } => None,
        };
        let limits = &plan.settings.limits;
        let (watch, book) = connections::watch_over(&plan.sockets, limits)
            .map_err(StartError::system("cannot watch the listening sockets"))?;
        watch.begin().map_err(StartError::system("cannot watch the listening sockets"))?;
        let keeper = Keeper::begin(Instant::now(), plan.settings.secret_rotation)
            .map_err(StartError::system("cannot make the workers' shared secret"))?;
        let policy_of_handoff = AdmissionPolicy { book: book.clone(), refuses: limits.refuse() };
        let handoff = Handoff::begin(&plan.sockets, policy_of_handoff)
            .map_err(StartError::system("cannot start to hand out connections"))?;
        let mut driver = Self {
            pool: Pool::new(Instant::now(), policy),
            peers: HashMap::new(),
            exchange: Exchange::new(plan.director, plan.workers.count, words),
            has_director: plan.director,
            director: None,
            forks,
            prepares,
            generations: Generations::from([(FIRST_GENERATION, Generation::new(executable, breeder))]),
            untold: VecDeque::new(),
            identity: plan.identity,
            sockets: plan.sockets,
            watch,
            keeper,
            book,
            handoff,
            places: plan.places,
            slots: plan.workers.count,
            orphans: Orphans::new(),
            orphans_due: None,
            stops: Stops::default(),
            hang_ups: HangUps::new(has_terminal()),
            hang: plan.settings.hang,
            weigh_at: plan.settings.recycling.weighs().then(Instant::now),
            look_at: plan.settings.hang.map(|_| Instant::now()),
            announcer: Announcer::from_environment(),
            notifier: Notifier::from_environment(plan.workers.count, FIRST_GENERATION),
            untold_events: 0,
            told: Told::default(),
            counters_due: Instant::now(),
            notes,
            quiet: plan.settings.quiet,
            listening: false,
            all_ready: false,
            closing: false,
        };
        driver.prepare_first().map_err(StartError::system("cannot execute the program to prepare"))?;
        driver.tell(Event::Starting { workers: plan.workers.count, source: plan.workers.source.to_owned() });
        if dies_as_a_group() {
            driver.tell(Event::OomGroup);
        }
        if let Some(Cut { asked, limit }) = plan.cut {
            driver.tell(Event::BacklogCut { asked, limit });
        }
        Ok(driver)
    }

    /// Takes in a task's note: what the pool is to know of it is left in `untold`.
    fn note(&mut self, note: Note) {
        match note {
            Note::Input(input) => {
                match &input {
                    Input::Exited { peer, .. } => {
                        if let Some(mut held) = self.peers.remove(peer) {
                            self.let_go(*peer, &mut held);
                            held.pid().into_iter().for_each(|pid| self.orphans.worker_ended(pid));
                        }
                    }
                    Input::Stillborn { peer, .. } => {
                        self.no_longer_unborn(*peer);
                        self.give_up_peer(*peer);
                    }
                    Input::ForkServerUp { generation, .. } | Input::Opened { generation } => {
                        self.prepared(*generation);
                    }
                    _ => {}
                }
                self.untold.push_back(input);
            }
            Note::Born { peer, pid, pidfd } => self.follow(Born { peer, pid, pidfd }),
            Note::ForkServerGone { pid, loss } => self.fork_server_gone(pid, loss),
        }
    }

    /// What the exchange says: some of it is for the pool.
    fn heard(&mut self, word: Word) -> Option<Input> {
        match word {
            Word::Garbled { peer, why } => {
                Some(Input::Garbled { peer, why: format!("broke the message protocol ({why})") })
            }
            Word::Command { director, id, command } => Some(Input::Command { from: director, id, command }),
            Word::Undelivered(Undelivered { from, type_name, size, count, reason }) => {
                self.tell(Event::Undelivered { from, type_name, size, count, reason });
                None
            }
        }
    }

    /// Asks the pool and does what it says.
    fn decide(&mut self, input: Input) -> Option<Verdict> {
        let actions = self.pool.handle(Instant::now(), input);
        let (last, first): (Vec<_>, Vec<_>) = actions.into_iter().partition(Action::comes_last);
        first.into_iter().chain(last).filter_map(|action| self.act(action)).last()
    }

    fn act(&mut self, action: Action) -> Option<Verdict> {
        match action {
            Action::Spawn { peer, seat, generation, entry } => self.spawn(peer, seat, generation, entry),
            Action::Seat { peer, seat } => self.give_seat(peer, seat),
            Action::Open { generation } => self.open(generation),
            Action::Close { generation } => self.close(generation),
            Action::Drain { peer, close_queue } => {
                // BEFORE it hears of it: what it is offered after that nobody would claim.
                self.hand_out_no_more(peer, close_queue);
                self.with_peer(peer, |held| held.drain(close_queue));
            }
            Action::Dismiss { peer } => self.with_peer(peer, |held| held.drain(false)),
            Action::Stay { peer } => self.with_peer(peer, Peer::stay),
            Action::Kill { peer } => self.with_peer(peer, Peer::kill),
            Action::Dump { peer } => self.with_peer(peer, Peer::dump),
            Action::Examine { peer } => self.examine(peer),
            Action::StartForkServer { generation } => self.start_fork_server(generation),
            Action::KillForkServer { generation } => self.kill_fork_server(generation),
            Action::Resize { slots } => {
                self.slots = slots;
                self.exchange.set_slots(slots);
            }
            Action::Tell(event) => self.tell(event),
            Action::Reply { to, id, result } => self.answer(to, &ToDirector::Reply { id, result }),
            Action::ReplyReload { to, id, result } => {
                self.answer(to, &ToDirector::Reloaded { id, result });
            }
            Action::End(verdict) => return Some(verdict),
        }
        None
    }

    fn with_peer(&self, peer: PeerId, act: impl FnOnce(&Peer)) {
        if let Some(held) = self.peers.get(&peer) {
            act(held);
        }
    }

    fn reap_orphans(&mut self) {
        let breeders: Vec<Pid> = self.breeders().map(Breeder::pid).collect();
        let peers = &self.peers;
        let ours = |pid: Pid| peers.values().any(|peer| peer.pid() == Some(pid)) || breeders.contains(&pid);
        self.orphans_due = self.orphans.reap(Instant::now(), &ours);
    }

    /// All have ended: the fork servers go too, and nothing of ours is left.
    async fn leave(&mut self, inbox: &mut mpsc::Receiver<Note>, signals: &mut Signals) {
        let generations = std::mem::take(&mut self.generations);
        let mut breeders: Vec<Breeder> = generations.into_values().filter_map(|held| held.breeder).collect();
        breeders.iter().for_each(Breeder::dismiss);
        while !breeders.is_empty()
            && let Some(note) = inbox.recv().await
        {
            if let Note::ForkServerGone { pid, loss } = note {
                loss.left.into_iter().for_each(|group| self.orphans.worker_ended(group));
                breeders.retain(|breeder| breeder.pid() != pid);
            }
        }
        self.reap_orphans();
        let die = async {
            while self.orphans.are_left() {
                let _ = signals.child.recv().await;
                self.reap_orphans();
            }
        };
        let _ = tokio::time::timeout(DIES_WITHIN, die).await;
        for socket in &self.sockets {
            // What the user's main has kept of the socket must not keep the port.
            socket.listener.shut_down();
        }
    }
}
