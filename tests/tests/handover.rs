//! What a worker that has died or stands still had not taken, others serve.
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use cluster_tests::counters::Counted;
use cluster_tests::load::{End, Load};
use cluster_tests::{
    METHODS, Process, SCHEDULINGS, ask, eventually, is_stopped, listen, say, signal, subject,
};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

/// How many connections can wait in a queue here, of those that a test wants; says what is left out and why.
fn that_can_wait(wanted: u64) -> u64 {
    let limit = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse::<u64>().unwrap();
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // Other tests of this process need some, too.
    let possible = wanted.min(limit).min(most.saturating_sub(500));
    if possible < wanted {
        let left_out = wanted - possible;
        println!("skipped: {left_out} of {wanted} connections: somaxconn is {limit}, ulimit -Hn is {most}");
    }
    println!("{possible} connections wait");
    possible
}

fn stop(pid: u32) {
    signal(pid, Signal::SIGSTOP).unwrap();
    eventually("it stands still", || is_stopped(pid));
}

#[test]
fn two_workers_that_are_killed_cost_ten_thousand_that_wait_nothing() {
    const WANTED: u64 = 10_000;
    let all = that_can_wait(WANTED);
    for scheduling in SCHEDULINGS {
        let (knob, backlog) = (format!("scheduling={scheduling}"), format!("backlog={WANTED}"));
        // BEFORE this process may have more descriptors: what it starts would, too.
        let app = Process::start(subject(SUBJECT, "fork", &["workers=4", "fast", &knob, &backlog])).unwrap();
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
        // They have nothing in hand, and take nothing.
        let workers = app.workers();
        workers.iter().for_each(|worker| stop(worker.pid));
        let waiting: Vec<_> = (0..all).map(|_| say(app.addr(), "who").unwrap()).collect();
        let (victims, others) = workers.split_at(2);
        victims.iter().for_each(|victim| signal(victim.pid, Signal::SIGKILL).unwrap());
        others.iter().for_each(|other| signal(other.pid, Signal::SIGCONT).unwrap());
        for (number, stream) in waiting.into_iter().enumerate() {
            let answer = listen(stream).unwrap_or_else(|err| panic!("{scheduling}: {number}: {err}"));
            let by = |victim: &&cluster_tests::WorkerProcess| answer.ends_with(&format!(" {}", victim.pid));
            assert!(!victims.iter().any(|victim| by(&victim)), "{scheduling}: {number}: {answer}");
        }
        assert!(app.stop().unwrap().success(), "{scheduling}");
    }
}

#[test]
fn a_client_whose_offer_was_taken_back_sees_the_end_while_the_first_still_stands() {
    for method in METHODS {
        for scheduling in ["round-robin", "least"] {
            let knob = format!("scheduling={scheduling}");
            // A worker only closes: the client sees the end when nobody else has the connection.
            let cluster = Counted::start(SUBJECT, method, &["workers=2", "only-closes", &knob]);
            let stopped = cluster.app.workers()[0];
            stop(stopped.pid);
            let revoked = || {
                let (workers, _) = cluster.counters();
                workers.iter().find(|counts| counts.worker == stopped.id).map_or(0, |counts| counts.revoked)
            };
            eventually("what it was offered is taken back", || {
                let asked = Instant::now();
                // The answer, and the end: this reads until then.
                let answer = ask(cluster.app.addr(), "who").unwrap();
                assert!(!answer.ends_with(&format!(" {}", stopped.pid)), "{method}, {scheduling}: {answer}");
                assert!(
                    asked.elapsed() < Duration::from_secs(5),
                    "{method}, {scheduling}: {:?}",
                    asked.elapsed()
                );
                let is_revoked = revoked() > 0;
                if !is_revoked {
                    // It may have been stopped while it asked for nothing: then it is offered nothing either.
                    signal(stopped.pid, Signal::SIGCONT).unwrap();
                    stop(stopped.pid);
                }
                is_revoked
            });
            assert!(is_stopped(stopped.pid), "{method}, {scheduling}: it had no part in that");
            signal(stopped.pid, Signal::SIGCONT).unwrap();
            assert!(cluster.app.stop().unwrap().success(), "{method}, {scheduling}");
        }
    }
}

#[test]
fn a_worker_without_descriptors_takes_nothing_that_it_would_lose() {
    for scheduling in SCHEDULINGS {
        let knob = format!("scheduling={scheduling}");
        let app = Process::start(subject(SUBJECT, "fork", &["workers=2", "greets", &knob])).unwrap();
        let load = Load::begin(app.addr(), 24);
        // Each time one of them has none for half a second.
        for _ in 0..6 {
            ask(app.addr(), "burn-descriptors").unwrap();
        }
        let visits = load.end();
        let unanswered = visits.ended(|end| *end != End::Answered);
        assert!(unanswered.is_empty(), "{scheduling}: of {}: {unanswered:?}", visits.all.len());
        assert!(app.stop().unwrap().success(), "{scheduling}");
    }
}
