//! The driver: hears processes, signals and time, asks the pool what to do, and does it.
mod begin;
mod births;
mod connections;
mod counters;
mod end;
mod generations;
mod looks;
mod plan;
mod signalled;
mod survey;
mod telling;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use nix::unistd::Pid;
use tokio::sync::mpsc;

use crate::birth::identity::Identity;
use crate::config::HangLimit;
use crate::conn::listen::ClusterSocket;
use crate::conn::{Book, Handoff, Watch};
use crate::counter::Counting;
use crate::error::Error;
use crate::event::Event;
use crate::id::{PeerId, Seat};
use crate::ipc::control::ToDirector;
use crate::ipc::counters::Told;
use crate::ipc::exchange::{Exchange, Word};
use crate::ipc::notice::Undelivered;
use crate::secret::Keeper;
use crate::supervise::announce::Announcer;
use crate::supervise::breeder::Breeder;
use crate::supervise::driver::generations::Generations;
pub(crate) use crate::supervise::driver::plan::{Method, Plan};
use crate::supervise::input::{Action, Input, Verdict};
use crate::supervise::note::Note;
use crate::supervise::notifier::Notifier;
use crate::supervise::orphans::Orphans;
use crate::supervise::past::Past;
use crate::supervise::peer::{Born, Peer};
use crate::supervise::pool::Pool;
use crate::supervise::signals::{HangUps, Signals, Stops};

/// Notes of tasks that wait for the driver; a task whose note does not fit waits.
const NOTES: usize = 256;
/// So many notes and words are taken before all else is looked at.
const MOST_IN_A_ROW: u32 = 32;
/// Words of the exchange that wait for the driver.
const WORDS: usize = 64;

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
    /// What the application counts.
    counting: Counting,
    /// What has been counted until now.
    past: Past,
    /// What was last told to who asked how the cluster stands.
    seen: Option<survey::Seen>,
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
    let mut signals = Signals::catch(plan.settings.ends).map_err(Error::Primary)?;
    let (notes, mut inbox) = mpsc::channel(NOTES);
    let (words, mut speaking) = mpsc::channel(WORDS);
    let mut driver = Driver::new(plan, notes, words).map_err(Error::Start)?;
    let mut cancelled = std::pin::pin!(cancelled);
    let mut is_cancelled = false;
    let mut verdict = driver.decide(Input::Time);
    let mut in_a_row = 0;
    while verdict.is_none() {
        // However much processes say: whoever supervises them is heard, too.
        let (before, listens) = (in_a_row, in_a_row < MOST_IN_A_ROW);
        let input = tokio::select! {
            biased;
            // BEFORE all else: while this loop turns, the service manager's watchdog is told so.
            () = until(driver.notifier.due()) => {
                driver.notifier.take_turn(Instant::now());
                None
            }
            // In this order: what has happened is known before what is asked.
            note = inbox.recv(), if listens => match note {
                Some(note) => {
                    in_a_row += 1;
                    driver.note(note);
                    driver.untold.pop_front()
                }
                None => return Err(Error::Primary(io::ErrorKind::BrokenPipe.into())),
            },
            Some(word) = speaking.recv(), if listens => {
                in_a_row += 1;
                driver.heard(word)
            }
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
            () = std::future::ready(()), if !listens => None,
        };
        if in_a_row == before {
            in_a_row = 0;
        }
        verdict = input.and_then(|input| driver.decide(input));
    }
    driver.leave(&mut inbox, &mut signals).await;
    match verdict {
        Some(Verdict::GaveUp(why)) => Err(Error::GaveUp(why)),
        Some(Verdict::Stopped) | None => Ok(()),
    }
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
    /// Takes in a task's note: what the pool is to know of it is left in `untold`.
    fn note(&mut self, note: Note) {
        match note {
            Note::Input(input) => {
                match &input {
                    Input::Exited { peer, .. } => {
                        if let Some(mut held) = self.peers.remove(peer) {
                            self.keep_counts(*peer, held.page());
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
            Word::Survey { peer, id } => {
                self.answer_survey(peer, id);
                None
            }
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
            Action::ForgetForkServer { generation } => self.forget_fork_server(generation),
            Action::Forget { peer } => {
                self.no_longer_unborn(peer);
                self.give_up_peer(peer);
            }
            Action::Direct { director } => {
                self.has_director = director;
                if !director {
                    // Where it has ended already. Else that is done at its end.
                    self.exchange.vacate(Seat::Director);
                }
            }
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
}
