//! Chaos: random signals to everything, under load. What nobody killed or stopped loses nothing, and in the end all is as
//! it was.
use std::collections::HashMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::Rng;
use rand::seq::IndexedRandom;

use cluster_tests::load::{End, Load, Visit, Visits};
use cluster_tests::{Folder, Process, descriptors, eventually, signal, status_field, subject};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

const WORKERS: usize = 4;
/// No process is stopped for longer.
const STOPPED: Duration = Duration::from_secs(1);
/// A worker takes no more at a time before it greets them.
const MOUTHFUL: usize = 4;

/// The cluster, and what was done to it.
struct Victim {
    folder: Folder,
    app: Process,
    killed: HashMap<u32, Instant>,
    workers_killed: usize,
    stopped: HashMap<u32, Instant>,
    blows: HashMap<&'static str, usize>,
}

impl Victim {
    fn start(scheduling: &str) -> Self {
        let folder = Folder::new("chaos");
        let knob = format!("scheduling={scheduling}");
        let mut command = subject(SUBJECT, "fork", &["workers=4", "greets", "fast", "director", &knob]);
        command.stderr(fs::File::create(folder.path("log")).unwrap());
        let app = Process::start(command).unwrap();
        app.wait_for_director(None).unwrap();
        let (killed, stopped) = (HashMap::new(), HashMap::new());
        Self { folder, app, killed, workers_killed: 0, stopped, blows: HashMap::new() }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path("log")).unwrap()
    }

    fn send(&mut self, pid: u32, blow: Signal) {
        // It may have ended meanwhile.
        if signal(pid, blow).is_ok() {
            *self.blows.entry(blow.as_str()).or_default() += 1;
        }
    }

    fn kill(&mut self, pid: u32) {
        self.killed.insert(pid, Instant::now());
        self.stopped.remove(&pid);
        self.send(pid, Signal::SIGKILL);
    }

    fn stop(&mut self, pid: u32) {
        self.stopped.insert(pid, Instant::now());
        self.send(pid, Signal::SIGSTOP);
    }

    fn go_on(&mut self, which: impl Fn(&Instant) -> bool) {
        let due: Vec<u32> =
            self.stopped.iter().filter(|(_, since)| which(since)).map(|(pid, _)| *pid).collect();
        for pid in due {
            self.stopped.remove(&pid);
            self.send(pid, Signal::SIGCONT);
        }
    }

    /// Workers that are ready and go.
    fn up(&self) -> Vec<u32> {
        let goes = |pid: &u32| !self.killed.contains_key(pid) && !self.stopped.contains_key(pid);
        self.app.workers().into_iter().map(|worker| worker.pid).filter(goes).collect()
    }

    fn strike(&mut self) {
        let rng = &mut rand::rng();
        let primary = self.app.pid();
        let up = self.up();
        let worker = up.choose(rng).copied().filter(|_| up.len() > 2);
        let fork_server = self.app.fork_server().filter(|pid| !self.killed.contains_key(pid));
        let director = self.app.director().filter(|pid| !self.killed.contains_key(pid));
        match (rng.random_range(0..16), worker) {
            (0..=3, Some(worker)) => {
                self.workers_killed += 1;
                self.kill(worker);
            }
            (4..=6, Some(worker)) => self.stop(worker),
            (7, _) => self.go_on(|_| true),
            // What a terminal sends to a whole group is none of a worker's business.
            (8, Some(worker)) => {
                for blow in [Signal::SIGHUP, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGUSR1] {
                    self.send(worker, blow);
                }
            }
            (9, _) => fork_server.into_iter().for_each(|pid| self.kill(pid)),
            (10, _) => fork_server.into_iter().for_each(|pid| self.stop(pid)),
            (11, _) => director.into_iter().for_each(|pid| self.kill(pid)),
            (12, _) => director.into_iter().for_each(|pid| self.stop(pid)),
            (13, _) => self.send(primary, Signal::SIGHUP),
            (14, _) if up.len() < 6 => self.send(primary, Signal::SIGTTIN),
            (15, Some(_)) if up.len() > 3 => self.send(primary, Signal::SIGTTOU),
            _ => {}
        }
    }

    /// Strikes again and again.
    fn storm(&mut self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            // The rhythm is what is asked for.
            thread::sleep(Duration::from_millis(rand::rng().random_range(20..200)));
            self.go_on(|since| since.elapsed() >= STOPPED);
            self.strike();
        }
        self.go_on(|_| true);
    }

    /// How many workers there shall be, by what was asked for last.
    fn wanted(&self) -> usize {
        let log = self.log();
        let last = log.lines().rev().find_map(|line| {
            line.split_once("scaling from ")?.1.split_once(" to ")?.1.split(' ').next()?.parse().ok()
        });
        last.unwrap_or(WORKERS)
    }

    /// Waits until everybody is there who shall be, and nobody else.
    fn settle(&self) {
        eventually("the wanted number is ready", || self.app.workers().len() == self.wanted());
        eventually("predecessors leave", || {
            // Beside the workers the primary, the fork server and the director.
            self.app.processes().len() == self.wanted() + 3
        });
    }

    /// Brings it into the state in which it is measured: one reload, and the number of the start.
    fn prepare(&self) -> (usize, u64) {
        while self.wanted() != WORKERS {
            let (before, blow) =
                (self.wanted(), if self.wanted() < WORKERS { Signal::SIGTTIN } else { Signal::SIGTTOU });
            signal(self.app.pid(), blow).unwrap();
            eventually("it is scaled", || self.wanted() != before);
        }
        self.settle();
        let reloads = |log: &str| log.matches("reloaded: ").count() + log.matches("reload failed").count();
        let before = reloads(&self.log());
        signal(self.app.pid(), Signal::SIGHUP).unwrap();
        eventually("it has reloaded", || reloads(&self.log()) > before);
        self.settle();
        (descriptors(self.app.pid()).unwrap().len(), status_field(self.app.pid(), "RssAnon").unwrap())
    }
}

fn check(victim: &Victim, visits: &Visits) {
    let refused = visits.ended(|end| matches!(end, End::Refused(_)));
    assert!(refused.is_empty(), "{refused:?}");
    let timed_out = visits.ended(|end| *end == End::TimedOut);
    assert!(timed_out.is_empty(), "{timed_out:?}");
    // Lost are those that a killed worker had in hand: it had greeted them, or was about to.
    let (greeted, silent): (Vec<&Visit>, Vec<&Visit>) =
        visits.ended(|end| *end == End::Lost).into_iter().partition(|visit| visit.greeted.is_some());
    let by_killed = |visit: &&&Visit| visit.pid().is_some_and(|pid| victim.killed.contains_key(&pid));
    let strange: Vec<_> = greeted.iter().filter(|visit| !by_killed(visit)).collect();
    assert!(strange.is_empty(), "lost by workers that nobody killed: {strange:?}");
    let workers = victim.workers_killed;
    assert!(silent.len() <= workers * MOUTHFUL, "{} of {workers}", silent.len());
    let answered = visits.ended(|end| *end == End::Answered).len();
    println!(
        "{answered} answered, {} lost with {} killed; {:?}",
        greeted.len() + silent.len(),
        victim.killed.len(),
        victim.blows
    );
    assert!(answered > 100, "under load: {answered}");
}

fn chaos(scheduling: &str, time: Duration) {
    let mut victim = Victim::start(scheduling);
    let (held, memory) = victim.prepare();
    let load = Load::begin(victim.app.addr(), 8);
    victim.storm(time);
    let visits = load.end();
    victim.settle();
    check(&victim, &visits);
    let (_, now_memory) = victim.prepare();
    // What has ended is let go of a moment after it is gone.
    let now_held = || descriptors(victim.app.pid()).unwrap();
    let start = Instant::now();
    while now_held().len() > held {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{held} descriptors before, and now {:#?}",
            now_held()
        );
        thread::sleep(Duration::from_millis(10));
    }
    assert!(now_memory < memory + 4096, "the primary has grown from {memory} to {now_memory} KiB");
    assert!(victim.app.stop().unwrap().success());
}

/// `CHAOS_SECONDS=120 cargo test -p cluster-tests --test chaos` takes its time.
#[test]
fn invariant_3_chaos_costs_what_was_killed_and_nothing_is_left() {
    let seconds = std::env::var("CHAOS_SECONDS").map_or(10, |seconds| seconds.parse().expect("a number"));
    let first = if seconds > 10 { cluster_tests::SCHEDULINGS.len() } else { 1 };
    for scheduling in cluster_tests::SCHEDULINGS.iter().rev().take(first) {
        chaos(scheduling, Duration::from_secs(seconds));
    }
}
