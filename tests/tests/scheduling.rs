//! Which worker gets a connection, by each scheduling.
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use cluster_tests::counters::{Counted, Listener};
use cluster_tests::{
    METHODS, Process, WorkerProcess, all_answer, eventually, fails, listen, say, subject, who,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");
const SCHEDULINGS: [&str; 3] = ["shared", "round-robin", "least"];

fn start(method: &str, scheduling: &str, knobs: &[&str]) -> Process {
    let scheduling = format!("scheduling={scheduling}");
    let knobs: Vec<&str> = knobs.iter().copied().chain([scheduling.as_str()]).collect();
    Process::start(subject(SUBJECT, method, &knobs)).unwrap()
}

/// How often each slot answers so many connections, made one after the other.
fn shares(addr: SocketAddr, connections: usize) -> BTreeMap<u16, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..connections {
        *shares.entry(who(addr).unwrap().slot).or_default() += 1;
    }
    shares
}

#[test]
fn idle_workers_take_turns() {
    for method in METHODS {
        for scheduling in SCHEDULINGS {
            let app = start(method, scheduling, &["workers=4"]);
            // Exactly 50 each where nothing else runs; here other tests do, and a worker that has no processor
            // when it is its turn is not idle: then it is looked at again.
            eventually(&format!("{method}, {scheduling}: each has its part"), || {
                let shares = shares(app.addr(), 200);
                shares.len() == 4 && shares.values().all(|share| (40..=60).contains(share))
            });
            app.stop().unwrap();
        }
    }
}

#[test]
fn a_blocked_worker_keeps_nobody_waiting() {
    const BLOCKED: Duration = Duration::from_secs(5);
    for scheduling in SCHEDULINGS {
        let app = start("fork", scheduling, &["workers=3"]);
        let start = Instant::now();
        let blocked = say(app.addr(), &format!("block {}", BLOCKED.as_millis())).unwrap();
        // Far more than would wait for it if it had its share.
        let shares = shares(app.addr(), 300);
        assert!(start.elapsed() < BLOCKED, "{scheduling}: the others have answered {shares:?} meanwhile");
        assert_eq!(listen(blocked).unwrap(), "unblocked");
        // And then it has its turns again.
        eventually("all three answer", || self::shares(app.addr(), 30).len() == 3);
        app.stop().unwrap();
    }
}

#[test]
fn a_stopped_worker_keeps_nobody_waiting() {
    for scheduling in SCHEDULINGS {
        let app = start("fork", scheduling, &["workers=3"]);
        let stopped = app.workers()[0];
        kill(Pid::from_raw(stopped.pid as i32), Signal::SIGSTOP).unwrap();
        eventually("all its threads have stopped", || is_stopped(stopped.pid));
        let shares = shares(app.addr(), 200);
        assert_eq!(shares.len(), 2, "{scheduling}: {shares:?}");
        kill(Pid::from_raw(stopped.pid as i32), Signal::SIGCONT).unwrap();
        eventually("all three answer", || self::shares(app.addr(), 30).len() == 3);
        app.stop().unwrap();
    }
}

#[test]
fn what_comes_behind_a_request_that_blocks_is_not_taken() {
    for scheduling in SCHEDULINGS {
        // Forked: its loop has one thread, and nobody else there could serve them.
        let rule = format!("scheduling={scheduling}");
        let cluster = Counted::start(SUBJECT, "fork", &["workers=1", &rule]);
        let (app, worker) = (&cluster.app, cluster.app.workers()[0].pid);
        kill(Pid::from_raw(worker as i32), Signal::SIGSTOP).unwrap();
        eventually("all its threads have stopped", || is_stopped(worker));
        // All of them wait, and what they ask for, when it goes on. The first blocks its loop while it lives.
        let blocks = say(app.addr(), "block 600000").unwrap();
        let clients: Vec<TcpStream> = (0..3).map(|_| say(app.addr(), "who").unwrap()).collect();
        kill(Pid::from_raw(worker as i32), Signal::SIGCONT).unwrap();
        eventually("the first is taken", || cluster.sum(|counts| counts.total) > 0);
        kill(Pid::from_raw(worker as i32), Signal::SIGKILL).unwrap();
        assert!(listen(blocks).is_err());
        for client in clients {
            // Its successor answers. Of what had been taken a client would see the reset.
            listen(client).unwrap_or_else(|err| panic!("{scheduling}: {err}"));
        }
        cluster.app.stop().unwrap();
    }
}

fn is_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap()).all(|stat| {
        // The state comes behind the name, which may have anything in it.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    })
}

#[test]
fn the_worker_with_the_fewest_connections_gets_the_next() {
    let cluster = Counted::start(SUBJECT, "fork", &["workers=2", "scheduling=least"]);
    let app = &cluster.app;
    let first = who(app.addr()).unwrap();
    // Each is held by a request that has begun. A worker that has no processor when it is offered one leaves it to
    // the other.
    let mut held = Vec::new();
    eventually("both hold some", || {
        held.push(say(app.addr(), "until-end").unwrap());
        eventually("all are held", || cluster.sum(|counts| counts.open) == held.len() as u64);
        cluster.counters().0.iter().filter(|counts| counts.open > 0).count() == 2
    });
    // The successor of one has none, and gets all that comes.
    kill(Pid::from_raw(first.pid as i32), Signal::SIGKILL).unwrap();
    let replaced =
        |workers: &[WorkerProcess]| workers.len() == 2 && workers.iter().all(|worker| worker.id != first.id);
    app.wait_for_workers(replaced).unwrap();
    // All of them, unless it has no processor when one is offered to it.
    eventually("the successor gets what comes", || {
        shares(app.addr(), 50).get(&first.slot).is_some_and(|share| *share >= 45)
    });
    drop(held);
    eventually("both answer", || self::shares(app.addr(), 20).len() == 2);
    cluster.app.stop().unwrap();
}

#[test]
fn a_stop_loses_nothing_that_was_offered() {
    for scheduling in SCHEDULINGS {
        let app = start("fork", scheduling, &["workers=2"]);
        // All workers are busy: what comes now is offered or queued, and not taken.
        let blocked: Vec<TcpStream> = (0..2).map(|_| say(app.addr(), "block 50").unwrap()).collect();
        let clients: Vec<TcpStream> = (0..100).map(|_| say(app.addr(), "who").unwrap()).collect();
        kill(Pid::from_raw(app.pid() as i32), Signal::SIGTERM).unwrap();
        for client in blocked.into_iter().chain(clients) {
            listen(client).unwrap_or_else(|err| panic!("{scheduling}: {err}"));
        }
        assert!(app.wait().unwrap().success());
    }
}

#[test]
fn what_was_offered_to_a_worker_that_retires_goes_to_others() {
    for scheduling in ["round-robin", "least"] {
        let app = start("fork", scheduling, &["workers=3"]);
        for _ in 0..20 {
            let clients: Vec<TcpStream> = (0..20).map(|_| say(app.addr(), "who").unwrap()).collect();
            let leaving = say(app.addr(), "retire").unwrap();
            for client in clients.into_iter().chain([leaving]) {
                listen(client).unwrap_or_else(|err| panic!("{scheduling}: {err}"));
            }
        }
        app.stop().unwrap();
    }
}

#[test]
fn each_listener_has_a_rule_of_its_own() {
    for method in METHODS {
        let cluster = Counted::start(SUBJECT, method, &["workers=2", "second-by=round-robin"]);
        let asked = ["Shared", "RoundRobin"].map(|scheduling| {
            let (addr, mut asked) = (cluster.address_by(scheduling), 0);
            all_answer(&cluster.app.workers(), || {
                asked += 1;
                who(addr).unwrap()
            });
            asked
        });
        eventually("all are counted", || cluster.sum(|counts| counts.total) == asked[0] + asked[1]);
        let handed = cluster.sum(|counts| counts.claimed);
        assert_eq!(handed, asked[1], "{method}: those of the second were handed out, and no others");
        cluster.app.stop().unwrap();
    }
}

#[test]
fn a_listener_whose_clients_are_many_and_slow_keeps_those_of_another_not_waiting() {
    for (rule, known) in [("shared", "Shared"), ("round-robin", "RoundRobin")] {
        let knob = format!("scheduling={rule}");
        let knobs = ["workers=2", "second-by=least", "second-one-at-a-time", &knob];
        let cluster = Counted::start(SUBJECT, "fork", &knobs);
        let (first, second) = (cluster.address_by(known), cluster.address_by("LeastConnections"));
        // Two are served, which say nothing, and then all the places of both workers are not enough.
        let silent: Vec<_> = (0..150).map(|_| TcpStream::connect(second).unwrap()).collect();
        eventually("they are offered as far as that goes", || {
            let waits = |listener: &Listener| listener.queued.is_some_and(|queued| queued > 0);
            cluster.sum(|counts| counts.offered) >= 62 && cluster.counters().1.iter().any(waits)
        });
        all_answer(&cluster.app.workers(), || who(first).unwrap());
        drop(silent);
        cluster.app.stop().unwrap();
    }
}

#[test]
fn invariant_8_a_rule_for_a_listener_that_there_is_not_is_named() {
    for method in METHODS {
        fails(subject(SUBJECT, method, &["rule-for=nobody"]), 1, &["no listener is named `nobody`"]);
    }
}
