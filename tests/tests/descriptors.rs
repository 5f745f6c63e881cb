//! The limit of descriptors: as high as it may be in our processes, as it was for what they start; and what becomes of
//! connections that there is no descriptor for.
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::Signal;

use cluster_tests::counters::Counted;
use cluster_tests::{METHODS, Process, ask, eventually, is_stopped, listen, say, signal, subject};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");
/// The user without rights, by custom.
const NOBODY: u32 = 65534;

/// A program that is started with other limits: `ulimit` of a shell.
fn limited(ulimit: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit {ulimit}; exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// Whether a process has a descriptor of this number.
fn has(pid: u32, number: usize) -> bool {
    std::fs::symlink_metadata(format!("/proc/{pid}/fd/{number}")).is_ok()
}

/// The soft limit of descriptors of a process.
fn soft_limit(pid: u32) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}

#[test]
fn every_process_of_a_cluster_may_have_as_many_descriptors_as_the_hard_limit_allows() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let expected = hard.min(1 << 20);
    for method in METHODS {
        let command = limited("-Sn 300", &subject(SUBJECT, method, &["workers=2", "fast", "director"]));
        let app = Process::start(command).unwrap();
        let director = app.wait_for_director(None).unwrap();
        if let Some(fork_server) = app.fork_server() {
            // What it was executed from anew has it too.
            signal(fork_server, Signal::SIGKILL).unwrap();
            let lost = app.wait_for_line("fork-server-lost", 0).unwrap();
            app.wait_for_line("fork-server ", lost).unwrap();
        }
        let victim = app.workers()[0];
        signal(victim.pid, Signal::SIGKILL).unwrap();
        app.wait_for_workers(|workers| workers.len() == 2 && workers.iter().all(|w| w.id != victim.id))
            .unwrap();
        let workers: Vec<u32> = app.workers().iter().map(|worker| worker.pid).collect();
        for pid in workers.into_iter().chain([app.pid(), director]).chain(app.fork_server()) {
            assert_eq!(soft_limit(pid), expected, "{method}");
        }
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn what_a_worker_starts_has_the_limit_of_the_start_where_it_is_asked_for() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    for method in METHODS {
        let command = limited("-Sn 300", &subject(SUBJECT, method, &["workers=1"]));
        let app = Process::start(command).unwrap();
        assert_eq!(ask(app.addr(), "child-limit-restored").unwrap(), "300", "{method}");
        assert_eq!(ask(app.addr(), "child-limit").unwrap(), hard.min(1 << 20).to_string(), "{method}");
        assert!(app.stop().unwrap().success(), "{method}");
    }
    // Where nothing was raised nothing is changed.
    let app = Process::start(limited("-n 300", &subject(SUBJECT, "fork", &["workers=1"]))).unwrap();
    assert_eq!(ask(app.addr(), "child-limit-restored").unwrap(), "300");
}

/// What a program says on standard error. Removed when dropped.
struct Log(std::path::PathBuf);

impl Log {
    fn of(command: &mut Command) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("cluster-log-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let log = Self(std::env::temp_dir().join(name));
        command.stderr(std::fs::File::create(&log.0).unwrap());
        log
    }

    fn count(&self, text: &str) -> usize {
        std::fs::read_to_string(&self.0).unwrap().matches(text).count()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What the log says while there are no descriptors: once per second.
const WAITING: &str = "cannot accept connections for now: Too many open files";
/// How long whoever has none leaves the queue alone.
const PAUSE: Duration = Duration::from_millis(50);
/// The most offers that a worker has; each may be taken back at each try.
const OFFERS: u64 = 32;

#[test]
fn clients_that_a_worker_has_no_descriptor_for_wait_in_the_queue_and_nobody_spins() {
    const CLIENTS: usize = 120;
    let began = Instant::now();
    for (method, scheduling) in METHODS.into_iter().zip(["shared", "round-robin"]) {
        let scheduling = format!("scheduling={scheduling}");
        let mut command = limited("-n 80", &subject(SUBJECT, method, &["workers=1", &scheduling]));
        let log = Log::of(&mut command);
        let cluster = Counted::launch(command);
        let open: Vec<TcpStream> =
            (0..CLIENTS).map(|_| say(cluster.app.addr(), "until-end").unwrap()).collect();
        eventually("its descriptors are used up", || log.count(WAITING) > 0);
        // It tries again, and not more often than it may: pauses are no shorter on a machine that is busy.
        let stirs = || cluster.sum(|counts| counts.rings + counts.offered + counts.revoked);
        let (begun, before, said) = (Instant::now(), stirs(), log.count(WAITING));
        eventually("it goes on trying", || log.count(WAITING) >= said + 2);
        let (stirred, took) = (stirs() - before, begun.elapsed());
        // What is counted is told 100 ms later at most.
        let tries = took.div_duration_f64(PAUSE) as u64 + 4;
        assert!(stirred <= tries * 2 * OFFERS, "{scheduling}: {stirred} in {took:?}");
        let warned = log.count(WAITING) as u64;
        assert!(warned <= began.elapsed().as_secs() + 2, "{scheduling}: {warned} warnings");
        for stream in open {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(listen(stream).is_ok(), "{scheduling}: none is lost");
        }
        assert!(ask(cluster.app.addr(), "who").is_ok(), "{scheduling}");
        assert!(cluster.app.stop().unwrap().success(), "{scheduling}");
    }
}

#[test]
fn clients_that_the_primary_has_no_descriptor_for_wait_in_the_queue_and_nobody_spins() {
    // It has some 30 of its own, and could offer 64.
    const MOST: usize = 60;
    for method in METHODS {
        let mut command = limited(
            &format!("-n {MOST}"),
            &subject(SUBJECT, method, &["workers=2", "scheduling=round-robin"]),
        );
        let log = Log::of(&mut command);
        let began = Instant::now();
        let app = Process::start(command).unwrap();
        let workers: Vec<u32> = app.workers().iter().map(|worker| worker.pid).collect();
        for &worker in &workers {
            signal(worker, Signal::SIGSTOP).unwrap();
            eventually("it stands still", || is_stopped(worker));
        }
        let waiting: Vec<_> = (0..60).map(|_| say(app.addr(), "who").unwrap()).collect();
        eventually("its descriptors are used up", || (0..MOST).all(|number| has(app.pid(), number)));
        // It tries again, and says so once per second. How it leaves the queue alone in between is a test of the desk.
        eventually("it goes on trying", || log.count(WAITING) >= 3);
        let warned = log.count(WAITING) as u64;
        assert!(warned <= began.elapsed().as_secs() + 2, "{method}: {warned} warnings");
        for &worker in &workers {
            signal(worker, Signal::SIGCONT).unwrap();
        }
        for stream in waiting {
            assert!(listen(stream).is_ok(), "{method}: none is lost");
        }
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn descriptors_that_are_on_their_way_elsewhere_delay_a_hand_over_and_lose_nothing() {
    // As root nobody is limited: then it is done as somebody else.
    let is_root = nix::unistd::geteuid().is_root();
    for (method, scheduling) in METHODS.into_iter().zip(["round-robin", "least"]) {
        let knob = format!("scheduling={scheduling}");
        let mut command = limited("-n 120", &subject(SUBJECT, method, &["workers=2", &knob]));
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        // Who is not root has to reach the sockets of this test.
        let umask = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
        let cluster = Counted::launch(command);
        nix::sys::stat::umask(umask);
        let mut sender = say(cluster.app.addr(), "send-descriptors").unwrap();
        let mut refused = String::new();
        BufReader::new(&sender).read_line(&mut refused).unwrap();
        assert!(refused.contains("ETOOMANYREFS"), "{method}: {refused}");
        let clients: Vec<TcpStream> = (0..20).map(|_| say(cluster.app.addr(), "who").unwrap()).collect();
        eventually("some are claimed", || cluster.sum(|counts| counts.claimed) > 1);
        // What is on its way elsewhere is taken there.
        sender.shutdown(std::net::Shutdown::Write).unwrap();
        sender.read_to_string(&mut refused).unwrap();
        for client in clients {
            assert!(listen(client).is_ok(), "{method}, {scheduling}: none is lost");
        }
        assert!(cluster.app.stop().unwrap().success(), "{method}, {scheduling}");
    }
}
