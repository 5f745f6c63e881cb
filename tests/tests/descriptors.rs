//! The limit of descriptors: as high as it may be in our processes, as it was for what they start; and what becomes of
//! connections that there is no descriptor for.
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::Signal;

use cluster_tests::counters::Counted;
use cluster_tests::{
    METHODS, Process, ask, eventually, is_stopped, listen, processor_time, say, signal, subject,
};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

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

#[test]
fn clients_that_a_worker_has_no_descriptor_for_wait_in_the_queue_and_nobody_spins() {
    const CLIENTS: usize = 120;
    for (method, scheduling) in METHODS.into_iter().zip(["shared", "round-robin"]) {
        let scheduling = format!("scheduling={scheduling}");
        let command = limited("-n 80", &subject(SUBJECT, method, &["workers=1", &scheduling]));
        let cluster = Counted::launch(command);
        let open: Vec<TcpStream> =
            (0..CLIENTS).map(|_| say(cluster.app.addr(), "until-end").unwrap()).collect();
        // It has as many as it can, and leaves the others alone.
        let mut most = 0;
        eventually("its descriptors are used up", || {
            let before = std::mem::replace(&mut most, cluster.sum(|counts| counts.open));
            std::thread::sleep(Duration::from_millis(200));
            most > 10 && before == most
        });
        let worker = cluster.app.workers()[0].pid;
        let before = processor_time(worker) + processor_time(cluster.app.pid());
        std::thread::sleep(Duration::from_millis(500));
        let used = processor_time(worker) + processor_time(cluster.app.pid()) - before;
        assert!(used <= 10, "{scheduling}: {used} ticks in half a second");
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
        let command = limited(
            &format!("-n {MOST}"),
            &subject(SUBJECT, method, &["workers=2", "scheduling=round-robin"]),
        );
        let app = Process::start(command).unwrap();
        let workers: Vec<u32> = app.workers().iter().map(|worker| worker.pid).collect();
        for &worker in &workers {
            signal(worker, Signal::SIGSTOP).unwrap();
            eventually("it stands still", || is_stopped(worker));
        }
        let waiting: Vec<_> = (0..60).map(|_| say(app.addr(), "who").unwrap()).collect();
        eventually("its descriptors are used up", || (0..MOST).all(|number| has(app.pid(), number)));
        let before = processor_time(app.pid());
        std::thread::sleep(Duration::from_millis(500));
        // With offers that nobody claims it looks again every 2 ms.
        let used = processor_time(app.pid()) - before;
        assert!(used <= 10, "{method}: {used} ticks in half a second");
        for &worker in &workers {
            signal(worker, Signal::SIGCONT).unwrap();
        }
        for stream in waiting {
            assert!(listen(stream).is_ok(), "{method}: none is lost");
        }
        assert!(app.stop().unwrap().success(), "{method}");
    }
}
