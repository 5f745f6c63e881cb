//! The pool on virtual time: by table, and by random schedules.
mod commands;
mod crashes;
mod directed;
mod director;
mod fork_server;
mod hanging;
mod meanwhile;
mod parting;
mod recycling;
mod roll_backs;
mod rollouts;
mod schedules;
mod stops;
mod undying;
mod world;

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use super::ending::STILLBORN_DELAY;
use super::leaving::ASKING;
use super::stopping::UNREADY_DRAIN;
use super::*;
use crate::command::Command;
use crate::config::{HangLimit, Recycling, Restart, Rollout};
use crate::error::{CommandError, ReloadError};
use crate::event::{Exit, ExitReason, Leave, Next};
use crate::id::Slot;
use crate::supervise::input::End;
use crate::supervise::member::{DRAIN_GRACE, DYING};

const BOOT: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_secs(25);

/// A pool with a clock and a record of what it wanted.
struct Bench {
    pool: Pool,
    now: Instant,
    /// What was told, answered and dismissed, in this order.
    words: Vec<Action>,
    spawned: Vec<(PeerId, Seat)>,
    killed: Vec<PeerId>,
    dumped: Vec<PeerId>,
    examined: Vec<PeerId>,
    drained: Vec<PeerId>,
    stayed: Vec<PeerId>,
    resized: Vec<u16>,
    /// That there is a director from then on, or none.
    directed: Vec<bool>,
    fork_servers_started: usize,
    /// Of which generations.
    starting: Vec<u64>,
    /// Of which generations.
    fork_servers_killed: Vec<u64>,
    fork_servers_forgotten: Vec<u64>,
    forgotten: Vec<PeerId>,
    /// Generations that are opened, and closed.
    opened: Vec<u64>,
    closed: Vec<u64>,
    /// Who has taken the seat of another.
    seated: Vec<PeerId>,
    verdict: Option<Verdict>,
}

fn policy(workers: u16) -> Policy {
    Policy {
        workers,
        director: false,
        most_workers: 60,
        restart: Restart::default(),
        boot_timeout: BOOT,
        drain_timeout: DRAIN,
        hang: Some(HangLimit::default()),
        rollout: Rollout::default(),
        recycling: Recycling::default(),
        fork_server: false,
        prepares: false,
        seed: 7,
    }
}

fn worker(id: u64) -> PeerId {
    PeerId::Worker(WorkerId(id))
}

fn seat(slot: u16) -> Seat {
    Seat::Slot(Slot(slot))
}

impl Bench {
    fn new(policy: Policy) -> Self {
        let now = Instant::now();
        let mut bench = Self {
            pool: Pool::new(now, policy),
            now,
            words: Vec::new(),
            spawned: Vec::new(),
            killed: Vec::new(),
            dumped: Vec::new(),
            examined: Vec::new(),
            drained: Vec::new(),
            stayed: Vec::new(),
            resized: Vec::new(),
            directed: Vec::new(),
            fork_servers_started: 0,
            starting: Vec::new(),
            fork_servers_killed: Vec::new(),
            fork_servers_forgotten: Vec::new(),
            forgotten: Vec::new(),
            opened: Vec::new(),
            closed: Vec::new(),
            seated: Vec::new(),
            verdict: None,
        };
        bench.say(Input::Time);
        bench
    }

    fn say(&mut self, input: Input) {
        for action in self.pool.handle(self.now, input) {
            match action {
                Action::Spawn { peer, seat, .. } => self.spawned.push((peer, seat)),
                Action::Seat { peer, .. } => self.seated.push(peer),
                Action::Open { generation } => self.opened.push(generation),
                Action::Close { generation } => self.closed.push(generation),
                Action::Drain { peer, .. } => self.drained.push(peer),
                Action::Stay { peer } => self.stayed.push(peer),
                Action::Kill { peer } => self.killed.push(peer),
                Action::Dump { peer } => self.dumped.push(peer),
                Action::Examine { peer } => self.examined.push(peer),
                Action::StartForkServer { generation } => {
                    self.fork_servers_started += 1;
                    self.starting.push(generation);
                }
                Action::KillForkServer { generation } => self.fork_servers_killed.push(generation),
                Action::ForgetForkServer { generation } => self.fork_servers_forgotten.push(generation),
                Action::Forget { peer } => self.forgotten.push(peer),
                Action::Direct { director } => self.directed.push(director),
                Action::Resize { slots } => self.resized.push(slots),
                word @ (Action::Tell(_)
                | Action::Reply { .. }
                | Action::ReplyReload { .. }
                | Action::Dismiss { .. }) => self.words.push(word),
                Action::End(verdict) => {
                    assert!(self.verdict.is_none(), "it ends once");
                    self.verdict = Some(verdict);
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.say(Input::Time);
    }

    fn last_spawned(&self) -> PeerId {
        self.spawned.last().expect("something was spawned").0
    }

    fn boot(&mut self, peer: PeerId) {
        let pid = match peer {
            PeerId::Worker(id) => 1000 + id.0 as u32,
            PeerId::Director(number) => 500 + number as u32,
        };
        self.say(Input::Born { peer, pid });
        self.say(Input::Online { peer });
        self.say(Input::Ready { peer });
    }

    fn boot_all(&mut self) {
        for (peer, _) in self.spawned.clone() {
            self.boot(peer);
        }
    }

    fn exit(&mut self, peer: PeerId, raw: i32) {
        self.say(Input::Exited {
            peer,
            end: End { status: Some(ExitStatus::from_raw(raw)), ..End::default() },
        });
    }

    fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.words.iter().filter_map(|word| match word {
            Action::Tell(event) => Some(event),
            _ => None,
        })
    }

    fn last_exit(&self) -> &Exit {
        let mut exits = self.events().rev().filter_map(|event| match event {
            Event::WorkerExited(exit) => Some(exit),
            _ => None,
        });
        exits.next().expect("a worker has exited")
    }

    /// The processes that have not ended.
    fn living(&self) -> Vec<PeerId> {
        self.pool.members.keys().copied().collect()
    }

    /// The director asks for something.
    fn command(&mut self, id: u64, command: Command) {
        self.say(Input::Command { from: PeerId::Director(1), id, command });
    }

    /// The answers so far, by id.
    fn replies(&self) -> Vec<(u64, Result<(), CommandError>)> {
        let replies = self.words.iter().filter_map(|word| match word {
            Action::Reply { id, result, .. } => Some((*id, result.clone())),
            _ => None,
        });
        replies.collect()
    }

    /// The answers to wishes to reload, by id.
    fn reloads(&self) -> Vec<(u64, Result<(), ReloadError>)> {
        let replies = self.words.iter().filter_map(|word| match word {
            Action::ReplyReload { id, result, .. } => Some((*id, result.clone())),
            _ => None,
        });
        replies.collect()
    }

    fn dismissed(&self) -> bool {
        self.words.iter().any(|word| matches!(word, Action::Dismiss { .. }))
    }
}

/// The first generation's fork server is lost.
fn lost(why: &str) -> Input {
    Input::ForkServerLost { generation: 1, why: why.to_owned(), last_stderr: Vec::new() }
}

const KILLED: i32 = 9;
const CODE_1: i32 = 1 << 8;

/// A pool with a director; all are ready.
fn directed(workers: u16) -> Bench {
    let mut bench = Bench::new(Policy { director: true, ..policy(workers) });
    bench.boot_all();
    bench
}
