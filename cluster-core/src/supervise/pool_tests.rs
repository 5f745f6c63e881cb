//! The pool on virtual time: by table, and by random schedules.
use std::os::unix::process::ExitStatusExt;

use super::*;
use crate::config::Restart;

const BOOT: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_secs(25);

/// A pool with a clock and a record of what it wanted.
struct Bench {
    pool: Pool,
    now: Instant,
    events: Vec<Event>,
    spawned: Vec<(WorkerId, Slot)>,
    killed: Vec<WorkerId>,
    drained: Vec<WorkerId>,
    fork_servers_started: usize,
    fork_servers_killed: usize,
    verdict: Option<Verdict>,
}

fn policy(workers: u16) -> Policy {
    Policy {
        workers,
        restart: Restart::default(),
        boot_timeout: BOOT,
        drain_timeout: DRAIN,
        fork_server: false,
        seed: 7,
    }
}

impl Bench {
    fn new(policy: Policy) -> Self {
        let now = Instant::now();
        let mut bench = Self {
            pool: Pool::new(now, policy),
            now,
            events: Vec::new(),
            spawned: Vec::new(),
            killed: Vec::new(),
            drained: Vec::new(),
            fork_servers_started: 0,
            fork_servers_killed: 0,
            verdict: None,
        };
        bench.say(Input::Time);
        bench
    }

    fn say(&mut self, input: Input) {
        for action in self.pool.handle(self.now, input) {
            match action {
                Action::Spawn { worker, slot } => self.spawned.push((worker, slot)),
                Action::Drain { worker, .. } => self.drained.push(worker),
                Action::Kill { worker } => self.killed.push(worker),
                Action::StartForkServer => self.fork_servers_started += 1,
                Action::KillForkServer => self.fork_servers_killed += 1,
                Action::Tell(event) => self.events.push(event),
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

    fn last_spawned(&self) -> WorkerId {
        self.spawned.last().expect("something was spawned").0
    }

    fn boot(&mut self, worker: WorkerId) {
        self.say(Input::Born { worker, pid: 1000 + worker.0 as u32 });
        self.say(Input::Ready { worker });
    }

    fn boot_all(&mut self) {
        for (worker, _) in self.spawned.clone() {
            self.boot(worker);
        }
    }

    fn exit(&mut self, worker: WorkerId, raw: i32) {
        self.say(Input::Exited { worker, status: Some(ExitStatus::from_raw(raw)), last_stderr: Vec::new() });
    }

    fn last_exit(&self) -> &Exit {
        let mut exits = self.events.iter().rev().filter_map(|event| match event {
            Event::WorkerExited(exit) => Some(exit),
            _ => None,
        });
        exits.next().expect("a worker has exited")
    }
}

const KILLED: i32 = 9;
const CODE_1: i32 = 1 << 8;

#[test]
fn every_slot_gets_a_worker_and_ids_grow_from_1() {
    let bench = Bench::new(policy(3));
    let expected: Vec<_> = (0..3).map(|n| (WorkerId(n + 1), Slot(n as u16))).collect();
    assert_eq!(bench.spawned, expected);
}

#[test]
fn a_crashed_worker_is_replaced_at_once_in_its_slot() {
    let mut bench = Bench::new(policy(4));
    bench.boot_all();
    bench.exit(WorkerId(2), KILLED);
    assert_eq!(bench.spawned.last(), Some(&(WorkerId(5), Slot(1))));
    assert_eq!(bench.last_exit().reason, ExitReason::Crashed);
    assert_eq!(bench.last_exit().next, Next::RestartIn(Duration::ZERO));
}

#[test]
fn a_worker_that_crashes_again_waits() {
    let mut bench = Bench::new(policy(1));
    bench.boot_all();
    bench.exit(WorkerId(1), KILLED);
    bench.boot(WorkerId(2));
    bench.exit(WorkerId(2), KILLED);
    assert_eq!(bench.spawned.len(), 2, "not at once the second time");
    let Next::RestartIn(delay) = bench.last_exit().next else { panic!("it is restarted") };
    bench.pass(delay);
    assert_eq!(bench.last_spawned(), WorkerId(3));
}

#[test]
fn three_failed_boots_before_anybody_was_online_end_the_cluster() {
    let mut bench = Bench::new(policy(1));
    for worker in 1..=3 {
        let worker = WorkerId(worker);
        bench.say(Input::Born { worker, pid: 1 });
        bench.say(Input::BootFailed { worker, error: "no database".into() });
        bench.exit(worker, CODE_1);
        bench.pass(Duration::from_secs(1));
    }
    let Some(Verdict::GaveUp(why)) = &bench.verdict else { panic!("it gave up: {:?}", bench.verdict) };
    assert!(why.contains("3 boots failed") && why.contains("no database"), "{why}");
}

#[test]
fn a_cluster_that_was_once_online_goes_on_after_failed_boots() {
    let mut bench = Bench::new(policy(2));
    bench.boot_all();
    for _ in 0..10 {
        let worker = *bench.pool.living().iter().map(|(worker, _)| worker).max().unwrap();
        bench.exit(worker, CODE_1);
        bench.pass(Duration::from_secs(20));
    }
    assert_eq!(bench.verdict, None);
    assert_eq!(bench.pool.living().len(), 2);
}

#[test]
fn sixteen_crashes_in_a_minute_with_none_online_end_the_cluster() {
    let mut restart = Restart::default().delay(Duration::ZERO, Duration::ZERO);
    restart = restart.limit(16, Duration::from_secs(60));
    let mut bench = Bench::new(Policy { restart, ..policy(1) });
    for crash in 1..=16 {
        assert_eq!(bench.verdict, None, "before crash {crash}");
        let worker = bench.last_spawned();
        bench.boot(worker);
        bench.exit(worker, KILLED);
    }
    assert!(matches!(bench.verdict, Some(Verdict::GaveUp(_))));
}

#[test]
fn a_boot_that_takes_too_long_is_killed_and_tried_again() {
    let mut bench = Bench::new(policy(1));
    bench.say(Input::Born { worker: WorkerId(1), pid: 1 });
    bench.pass(BOOT - Duration::from_millis(1));
    assert!(bench.killed.is_empty());
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.killed, [WorkerId(1)]);
    bench.exit(WorkerId(1), KILLED);
    assert_eq!(bench.last_exit().reason, ExitReason::BootTimeout);
    assert_eq!(bench.last_spawned(), WorkerId(2));
}

#[test]
fn a_stop_drains_everybody_and_ends_when_all_have_left() {
    let mut bench = Bench::new(policy(3));
    bench.boot_all();
    bench.say(Input::Stop);
    assert_eq!(bench.drained.len(), 3);
    for worker in 1..=3 {
        assert_eq!(bench.verdict, None);
        bench.exit(WorkerId(worker), 0);
        assert_eq!(bench.last_exit().reason, ExitReason::Stopped);
    }
    assert_eq!(bench.verdict, Some(Verdict::Stopped));
    assert_eq!(bench.spawned.len(), 3, "nobody is replaced");
}

#[test]
fn who_does_not_drain_in_time_is_killed() {
    let mut bench = Bench::new(policy(1));
    bench.boot_all();
    bench.say(Input::Stop);
    bench.pass(DRAIN);
    assert!(bench.killed.is_empty(), "its own sentinel comes first");
    bench.pass(DRAIN_GRACE);
    assert_eq!(bench.killed, [WorkerId(1)]);
    bench.exit(WorkerId(1), KILLED);
    assert_eq!(bench.last_exit().reason, ExitReason::DrainTimeout);
    assert_eq!(bench.verdict, Some(Verdict::Stopped));
}

#[test]
fn a_stop_does_not_wait_long_for_who_is_not_ready() {
    let mut bench = Bench::new(policy(1));
    bench.say(Input::Born { worker: WorkerId(1), pid: 1 });
    bench.say(Input::Stop);
    bench.pass(UNREADY_DRAIN);
    assert_eq!(bench.killed, [WorkerId(1)]);
}

#[test]
fn stop_now_kills_everybody_once_asked_or_twice() {
    for graceful_first in [false, true] {
        let mut bench = Bench::new(policy(2));
        bench.boot_all();
        if graceful_first {
            bench.say(Input::Stop);
        }
        bench.say(Input::StopNow);
        assert_eq!(bench.killed.len(), 2);
        bench.exit(WorkerId(1), KILLED);
        bench.exit(WorkerId(2), KILLED);
        assert_eq!(bench.verdict, Some(Verdict::Stopped));
    }
}

#[test]
fn a_worker_that_drains_itself_has_a_successor() {
    let mut bench = Bench::new(policy(2));
    bench.boot_all();
    bench.pass(Duration::from_secs(1));
    bench.say(Input::Draining { worker: WorkerId(1) });
    assert!(bench.drained.is_empty(), "whether the cluster stops will be known in a moment");
    bench.pass(ASKING);
    assert_eq!(bench.drained, [WorkerId(1)]);
    assert_eq!(bench.spawned.last(), Some(&(WorkerId(3), Slot(0))));
    bench.boot(WorkerId(3));
    bench.exit(WorkerId(1), 0);
    assert_eq!(bench.last_exit().next, Next::AlreadyReplaced);
    assert_eq!(bench.last_exit().reason, ExitReason::Stopped);
    assert_eq!(bench.pool.living().len(), 2);
}

#[test]
fn a_term_to_all_processes_at_once_makes_no_successor_whoever_hears_it_first() {
    let mut bench = Bench::new(policy(2));
    bench.boot_all();
    bench.say(Input::Draining { worker: WorkerId(1) });
    bench.say(Input::Stop);
    bench.say(Input::Draining { worker: WorkerId(2) });
    assert_eq!(bench.drained, [WorkerId(1), WorkerId(2)], "both are told to close the queue");
    for worker in 1..=2 {
        bench.exit(WorkerId(worker), 0);
    }
    assert_eq!(bench.verdict, Some(Verdict::Stopped));
    assert_eq!(bench.spawned.len(), 2);
}

#[test]
fn a_program_that_leaves_as_soon_as_it_comes_does_not_pile_up() {
    let mut bench = Bench::new(policy(1));
    for _ in 0..10 {
        let worker = bench.last_spawned();
        bench.boot(worker);
        bench.say(Input::Draining { worker });
        bench.pass(ASKING);
    }
    assert!(bench.spawned.len() <= 4, "{} were made in 200 ms", bench.spawned.len());
}

#[test]
fn programs_that_leave_before_they_are_ready_are_given_up() {
    let mut bench = Bench::new(policy(1));
    for _ in 0..3 {
        let worker = bench.last_spawned();
        bench.say(Input::Born { worker, pid: 1 });
        bench.say(Input::Draining { worker });
        bench.pass(ASKING);
        bench.exit(worker, 0);
        bench.pass(Duration::from_secs(1));
    }
    assert!(matches!(bench.verdict, Some(Verdict::GaveUp(_))));
}

#[test]
fn programs_that_have_all_done_their_work_are_no_failure() {
    let mut bench = Bench::new(Policy { restart: Restart::never(), ..policy(2) });
    bench.boot_all();
    bench.exit(WorkerId(1), 0);
    bench.exit(WorkerId(2), 0);
    assert_eq!(bench.verdict, Some(Verdict::Stopped));
}

#[test]
fn times_as_long_as_they_can_be_said_overflow_nothing() {
    let longest = crate::config::bounded(Duration::MAX);
    let restart = Restart::default().delay(Duration::MAX, Duration::MAX).limit(3, Duration::MAX);
    let policy =
        Policy { restart, boot_timeout: longest, drain_timeout: longest, fork_server: true, ..policy(2) };
    let mut bench = Bench::new(policy);
    bench.say(Input::ForkServerUp { pid: 1 });
    bench.boot(WorkerId(1));
    bench.boot(WorkerId(2));
    bench.exit(WorkerId(1), KILLED);
    bench.exit(bench.last_spawned(), KILLED);
    bench.say(Input::Stop);
    assert!(bench.pool.next_deadline().is_some());
}

#[test]
fn a_status_that_somebody_else_took_is_no_success() {
    let mut bench = Bench::new(policy(1));
    bench.boot_all();
    bench.say(Input::Exited { worker: WorkerId(1), status: None, last_stderr: Vec::new() });
    assert_eq!(bench.last_exit().reason, ExitReason::Crashed);
}

#[test]
fn a_worker_is_not_replaced_where_the_policy_says_so() {
    let never = Policy { restart: Restart::never(), ..policy(2) };
    let codes = Policy { restart: Restart::default().unless_code([1]), ..policy(2) };
    for policy in [never, codes] {
        let mut bench = Bench::new(policy);
        bench.boot_all();
        bench.exit(WorkerId(1), CODE_1);
        assert_eq!(bench.last_exit().next, Next::NotReplaced);
        assert_eq!(bench.verdict, None, "the other serves on");
        bench.exit(WorkerId(2), CODE_1);
        assert!(matches!(bench.verdict, Some(Verdict::GaveUp(_))), "nobody is left");
    }
}

#[test]
fn a_program_that_says_why_it_ended_is_quoted() {
    let mut bench = Bench::new(policy(1));
    bench.boot_all();
    bench.say(Input::Finished { worker: WorkerId(1), error: Some("disk full".into()) });
    bench.exit(WorkerId(1), CODE_1);
    assert_eq!(bench.last_exit().reason, ExitReason::Crashed);
    assert_eq!(bench.last_exit().last_stderr.last().map(String::as_str), Some("disk full"));
}

#[test]
fn a_worker_that_finished_but_does_not_leave_is_killed() {
    let mut bench = Bench::new(policy(1));
    bench.boot_all();
    bench.say(Input::Finished { worker: WorkerId(1), error: None });
    bench.pass(DRAIN + DRAIN_GRACE);
    assert_eq!(bench.killed, [WorkerId(1)]);
}

#[test]
fn nonsense_of_a_worker_costs_that_worker() {
    let mut bench = Bench::new(policy(2));
    bench.boot_all();
    bench.say(Input::Garbled { worker: WorkerId(1) });
    assert_eq!(bench.killed, [WorkerId(1)]);
    bench.exit(WorkerId(1), KILLED);
    assert_eq!(bench.last_exit().reason, ExitReason::Garbled);
    assert_eq!(bench.last_spawned(), WorkerId(3));
}

#[test]
fn words_of_workers_that_are_none_do_nothing() {
    let mut bench = Bench::new(policy(1));
    let worker = WorkerId(99);
    let status = ExitStatus::from_raw(0);
    for input in [
        Input::Born { worker, pid: 1 },
        Input::Stillborn { worker, error: String::new() },
        Input::Ready { worker },
        Input::Draining { worker },
        Input::BootFailed { worker, error: String::new() },
        Input::Finished { worker, error: None },
        Input::Garbled { worker },
        Input::Exited { worker, status: Some(status), last_stderr: Vec::new() },
    ] {
        bench.say(input);
    }
    assert_eq!((bench.events.len(), bench.spawned.len(), bench.killed.len()), (0, 1, 0));
}

fn forking(workers: u16) -> Bench {
    let mut bench = Bench::new(Policy { fork_server: true, ..policy(workers) });
    assert!(bench.spawned.is_empty(), "nobody is forked before the fork server is there");
    bench.say(Input::ForkServerUp { pid: 1 });
    bench
}

#[test]
fn a_lost_fork_server_is_executed_again_and_workers_serve_on() {
    let mut bench = forking(2);
    bench.boot_all();
    bench.say(Input::ForkServerLost { why: "SIGKILL".into() });
    assert_eq!(bench.fork_servers_started, 1);
    assert!(bench.killed.is_empty() && bench.drained.is_empty());
    bench.exit(WorkerId(1), KILLED);
    assert_eq!(bench.spawned.len(), 2, "not before the fork server is there");
    bench.say(Input::ForkServerUp { pid: 2 });
    assert_eq!(bench.last_spawned(), WorkerId(3));
}

#[test]
fn a_fork_server_that_does_not_answer_is_killed_and_replaced() {
    let mut bench = forking(1);
    bench.pass(FORK_TIMEOUT);
    assert_eq!(bench.fork_servers_killed, 1);
    bench.say(Input::ForkServerLost { why: "SIGKILL".into() });
    bench.say(Input::Stillborn { worker: WorkerId(1), error: "the fork server was lost".into() });
    assert_eq!(bench.fork_servers_started, 1);
    bench.say(Input::ForkServerUp { pid: 2 });
    bench.pass(STILLBORN_DELAY);
    assert_eq!(bench.last_spawned(), WorkerId(2));
}

#[test]
fn a_fork_server_that_never_comes_up_ends_a_cluster_that_never_served() {
    let mut bench = Bench::new(Policy { fork_server: true, ..policy(1) });
    for _ in 0..3 {
        bench.pass(BOOT);
        bench.say(Input::ForkServerLost { why: "SIGKILL".into() });
        bench.pass(Duration::from_secs(1));
    }
    assert!(matches!(bench.verdict, Some(Verdict::GaveUp(_))));
}

#[test]
fn a_stop_ends_also_while_the_fork_server_is_stuck() {
    let mut bench = forking(1);
    bench.say(Input::Stop);
    bench.pass(UNREADY_DRAIN);
    assert_eq!(bench.fork_servers_killed, 1, "its end turns the request into a stillbirth");
    bench.say(Input::Stillborn { worker: WorkerId(1), error: "the fork server was lost".into() });
    assert_eq!(bench.verdict, Some(Verdict::Stopped));
}

#[derive(Clone, Copy, PartialEq)]
enum ForkServer {
    Gone,
    Asked,
    Up,
}

/// What the world does to a pool, as it likes.
struct World {
    bench: Bench,
    rng: fastrand::Rng,
    /// None in the exec method.
    fork_server: Option<ForkServer>,
    unborn: Vec<WorkerId>,
    alive: Vec<WorkerId>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let fork_server = rng.bool();
        let restart = Restart::default().limit(u32::MAX, Duration::from_secs(1));
        let policy = Policy { fork_server, seed, restart, ..policy(rng.u16(1..6)) };
        let mut bench = Bench::new(policy);
        // Somebody was online once, so that no failed boot ends it all.
        bench.pool.budget.online();
        Self {
            bench,
            rng,
            fork_server: fork_server.then_some(ForkServer::Asked),
            unborn: Vec::new(),
            alive: Vec::new(),
        }
    }

    /// Does what the pool has asked for since the last call.
    fn obey(&mut self) {
        loop {
            let (killed, spawned) =
                (std::mem::take(&mut self.bench.killed), std::mem::take(&mut self.bench.spawned));
            let lost = std::mem::take(&mut self.bench.fork_servers_killed) > 0;
            if std::mem::take(&mut self.bench.fork_servers_started) > 0 {
                self.fork_server = Some(ForkServer::Asked);
            }
            self.unborn.extend(spawned.iter().map(|(worker, _)| *worker));
            for worker in &killed {
                self.end(*worker, KILLED);
            }
            if lost {
                self.lose_fork_server();
            }
            if killed.is_empty() && spawned.is_empty() && !lost {
                return;
            }
        }
    }

    fn end(&mut self, worker: WorkerId, raw: i32) {
        if let Some(at) = self.alive.iter().position(|alive| *alive == worker) {
            self.alive.swap_remove(at);
            self.bench.exit(worker, raw);
        }
    }

    fn lose_fork_server(&mut self) {
        if self.fork_server.is_some() {
            let unborn = std::mem::take(&mut self.unborn);
            self.fork_server = Some(ForkServer::Gone);
            self.bench.say(Input::ForkServerLost { why: "lost".into() });
            // Of a fork server that is gone nothing is asked.
            assert!(self.bench.spawned.is_empty());
            for worker in unborn {
                self.bench.say(Input::Stillborn { worker, error: "lost".into() });
            }
        }
    }

    fn step(&mut self) {
        let someone = (!self.alive.is_empty()).then(|| self.alive[self.rng.usize(..self.alive.len())]);
        let unborn = (!self.unborn.is_empty()).then(|| self.rng.usize(..self.unborn.len()));
        match (self.rng.u32(..12), someone, unborn) {
            (0 | 1, _, Some(at)) => self.give_birth(at),
            (2, _, Some(at)) => {
                let worker = self.unborn.swap_remove(at);
                self.bench.say(Input::Stillborn { worker, error: "no memory".into() });
            }
            (3 | 4, Some(worker), _) => self.bench.say(Input::Ready { worker }),
            (5, Some(worker), _) => self.end(worker, KILLED),
            (6, Some(worker), _) => self.bench.say(Input::Draining { worker }),
            (7, Some(worker), _) => self.bench.say(Input::Finished { worker, error: None }),
            (8, _, _) if self.fork_server != Some(ForkServer::Gone) && self.rng.u32(..8) == 0 => {
                self.lose_fork_server()
            }
            (9, _, _) if self.fork_server == Some(ForkServer::Asked) => self.raise_fork_server(),
            _ => {
                let time = Duration::from_millis(self.rng.u64(..20_000));
                self.bench.pass(time);
            }
        }
        self.obey();
    }

    fn give_birth(&mut self, at: usize) {
        let worker = self.unborn.swap_remove(at);
        self.alive.push(worker);
        self.bench.say(Input::Born { worker, pid: 1 });
    }

    fn raise_fork_server(&mut self) {
        self.fork_server = Some(ForkServer::Up);
        self.bench.say(Input::ForkServerUp { pid: 1 });
    }

    /// Every worker in the pool is one that the world knows of, and the reverse; none too many hold a slot.
    fn check(&self) {
        let mut living: Vec<_> = self.bench.pool.living().iter().map(|(worker, _)| *worker).collect();
        let mut known: Vec<_> = self.unborn.iter().chain(&self.alive).copied().collect();
        living.sort();
        known.sort();
        assert_eq!(living, known);
    }

    /// From here on the world is kind: whoever is asked for is born and ready, whoever drains leaves.
    fn be_kind(&mut self) {
        for _ in 0..300 {
            if self.fork_server == Some(ForkServer::Asked) {
                self.raise_fork_server();
            }
            while let Some(worker) = self.unborn.first().copied() {
                self.give_birth(0);
                self.bench.say(Input::Ready { worker });
            }
            for worker in self.alive.clone() {
                self.bench.say(Input::Ready { worker });
            }
            self.bench.pass(Duration::from_secs(1));
            self.obey();
        }
    }

    fn serving(&self) -> usize {
        self.bench.pool.online()
    }
}

#[test]
fn whatever_happens_the_wanted_number_serves_in_the_end() {
    for seed in 0..2_000 {
        let mut world = World::new(seed);
        world.obey();
        for _ in 0..60 {
            world.step();
            world.check();
        }
        let wanted = usize::from(world.bench.pool.policy.workers);
        world.be_kind();
        world.check();
        assert_eq!(world.serving(), wanted, "seed {seed}");
        assert_eq!(world.alive.len(), wanted, "seed {seed}: nobody beyond those");
    }
}

#[test]
fn whatever_happens_a_stop_ends_everybody() {
    for seed in 0..2_000 {
        let mut world = World::new(seed);
        world.obey();
        for _ in 0..40 {
            world.step();
        }
        world.bench.say(if seed % 2 == 0 { Input::Stop } else { Input::StopNow });
        world.obey();
        for _ in 0..20 {
            // Nobody drains of its own will: the deadlines see to it. What is asked of a fork server is born.
            while !world.unborn.is_empty() && matches!(world.fork_server, None | Some(ForkServer::Up)) {
                world.give_birth(0);
                world.obey();
            }
            world.bench.pass(Duration::from_secs(5));
            world.obey();
        }
        assert!(world.bench.verdict.is_some(), "seed {seed}: {:?}", world.bench.pool.members);
        assert!(world.alive.is_empty() && world.unborn.is_empty(), "seed {seed}");
    }
}
