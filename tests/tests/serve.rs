//! A cluster serves with all its workers, on one port.
use std::collections::HashSet;

use cluster_tests::{METHODS, Process, ask, subject, who};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

#[test]
fn four_workers_share_one_port() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=4"])).unwrap();
        let mut seen = HashSet::new();
        for _ in 0..400 {
            seen.insert(who(app.addr()).unwrap());
        }
        let slots: HashSet<u16> = seen.iter().map(|who| who.slot).collect();
        let ids: HashSet<u64> = seen.iter().map(|who| who.id).collect();
        assert_eq!(slots, HashSet::from([0, 1, 2, 3]), "{method}");
        assert_eq!(ids, HashSet::from([1, 2, 3, 4]), "{method}");
        assert_eq!(ask(app.addr(), "slots").unwrap(), "4", "{method}");
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn a_port_that_bind_tcp_chose_is_the_same_for_all() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=3", "bind-tcp"])).unwrap();
        let seen: HashSet<u16> = (0..300).map(|_| who(app.addr()).unwrap().slot).collect();
        assert_eq!(seen.len(), 3, "{method}");
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn the_environment_overrides_the_number_of_workers() {
    for (variable, expected) in [("CLUSTER_WORKERS", 3), ("WEB_CONCURRENCY", 2)] {
        let mut command = subject(SUBJECT, "fork", &["workers=1"]);
        command.env("WEB_CONCURRENCY", "2").env(variable, expected.to_string());
        let app = Process::start(command).unwrap();
        assert_eq!(app.workers().len(), expected, "{variable}");
    }
}

#[test]
fn a_worker_out_of_descriptors_serves_on_when_it_has_some_again() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=1"])).unwrap();
        let burnt: usize = ask(app.addr(), "burn-descriptors").unwrap().parse().unwrap();
        assert!(burnt > 10, "{method}: {burnt}");
        // These wait in the queue until the worker has descriptors again, and none is lost.
        let waiting: Vec<_> = (0..20).map(|_| cluster_tests::say(app.addr(), "who").unwrap()).collect();
        for stream in waiting {
            assert!(cluster_tests::listen(stream).unwrap().starts_with("1 0 "), "{method}: the same worker");
        }
    }
}

#[test]
fn readiness_is_the_programs_word_where_it_wants_to_give_it() {
    for method in METHODS {
        let flag = std::env::temp_dir().join(format!("cluster-ready-{}-{method}", std::process::id()));
        let knob = format!("ready-when={}", flag.display());
        let app = Process::launch(subject(SUBJECT, method, &["workers=1", "wait-for-ready", &knob])).unwrap();
        cluster_tests::eventually("the worker is there", || app.processes().len() >= 2);
        assert!(app.workers().is_empty(), "{method}: not ready before it says so");
        std::fs::write(&flag, "").unwrap();
        app.wait_for_workers(|workers| workers.len() == 1).unwrap();
        std::fs::remove_file(flag).unwrap();
    }
}

#[test]
fn workers_of_the_await_method_share_the_cores() {
    let cores = std::thread::available_parallelism().unwrap().get();
    for workers in [1, cores, 4 * cores] {
        let knob = format!("workers={workers}");
        let app = Process::start(subject(SUBJECT, "await", &[&knob])).unwrap();
        let expected = (cores / workers).max(1).to_string();
        assert_eq!(ask(app.addr(), "env TOKIO_WORKER_THREADS").unwrap(), expected, "{workers} workers");
    }
    let mut command = subject(SUBJECT, "await", &["workers=1"]);
    command.env("TOKIO_WORKER_THREADS", "7");
    let app = Process::start(command).unwrap();
    assert_eq!(ask(app.addr(), "env TOKIO_WORKER_THREADS").unwrap(), "7", "the user's word counts");
}
