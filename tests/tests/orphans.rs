//! If the primary dies by any means, its workers drain and leave, and the port is free at once.
use std::net::TcpListener;
use std::time::Duration;

use nix::sys::signal::Signal;

use cluster_tests::{METHODS, Process, listen, say, signal, subject, subject_at, who};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

#[test]
fn invariant_4_workers_of_a_dead_primary_finish_and_leave() {
    for method in METHODS {
        let mut app = Process::start(subject(SUBJECT, method, &["workers=4"])).unwrap();
        let slow = say(app.addr(), "slow 1000").unwrap();
        for _ in 0..50 {
            who(app.addr()).unwrap();
        }
        app.signal(Signal::SIGKILL as i32).unwrap();
        app.wait_for_primary().unwrap();
        assert!(listen(slow).unwrap().starts_with("late "), "{method}: what was begun is finished");
        let took = app.wait_for_no_process().unwrap();
        assert!(took < Duration::from_secs(25), "{method}: within the drain deadline, not after {took:?}");
    }
}

#[test]
fn invariant_4_the_port_is_free_for_a_successor_at_once() {
    for method in METHODS {
        let mut app = Process::start(subject(SUBJECT, method, &["workers=4", "drain=20000"])).unwrap();
        let (addr, _slow) = (app.addr(), say(app.addr(), "slow 5000").unwrap());
        app.signal(Signal::SIGKILL as i32).unwrap();
        app.wait_for_primary().unwrap();
        cluster_tests::eventually("the port is free", || TcpListener::bind(addr).is_ok());
        assert!(!app.processes().is_empty(), "{method}: while the old workers still drain");
        let successor =
            Process::start(subject_at(SUBJECT, method, &addr.to_string(), &["workers=2"])).unwrap();
        assert!(who(successor.addr()).is_ok(), "{method}");
    }
}

#[test]
fn invariant_4_the_port_is_free_also_where_all_workers_are_stuck() {
    for method in METHODS {
        let mut app = Process::start(subject(SUBJECT, method, &["workers=1", "drain=3000"])).unwrap();
        let _stuck = say(app.addr(), "block 600000").unwrap();
        cluster_tests::eventually("the loop is blocked", || {
            let stream = say(app.addr(), "who").unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            listen(stream).is_err()
        });
        app.signal(Signal::SIGKILL as i32).unwrap();
        app.wait_for_primary().unwrap();
        cluster_tests::eventually("the port is free", || TcpListener::bind(app.addr()).is_ok());
        assert!(!app.processes().is_empty(), "{method}: the stuck worker has its deadline");
        app.wait_for_no_process().unwrap();
    }
}

#[test]
fn invariant_4_a_stopped_worker_of_a_dead_primary_leaves() {
    for method in METHODS {
        let mut app = Process::start(subject(SUBJECT, method, &["workers=2"])).unwrap();
        let worker = app.workers()[1];
        signal(worker.pid, Signal::SIGSTOP).unwrap();
        cluster_tests::eventually("it has stopped", || cluster_tests::is_stopped(worker.pid));
        app.signal(Signal::SIGKILL as i32).unwrap();
        app.wait_for_primary().unwrap();
        app.wait_for_no_process().unwrap();
    }
}
