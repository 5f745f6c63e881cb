//! Events as lines, and on their way.
use std::os::unix::process::ExitStatusExt;

use super::*;

fn exit() -> Exit {
    Exit {
        worker: WorkerId(7),
        slot: Slot(2),
        pid: 4711,
        generation: 1,
        reason: ExitReason::Crashed,
        status: Some(ExitStatus::from_raw(11)),
        uptime: Duration::from_millis(2100),
        last_stderr: vec!["oh no".into()],
        trace: Vec::new(),
        next: Next::RestartIn(Duration::ZERO),
        connections: 0,
        usage: Usage { user: Duration::from_millis(7), system: Duration::ZERO, max_rss: 4096 },
    }
}

#[test]
fn an_exit_says_who_why_and_what_next() {
    assert_eq!(
        Event::WorkerExited(exit()).to_string(),
        "worker 7 (slot 2, pid 4711) crashed (SIGSEGV) after 2.1s; restarting at once; last words: oh no"
    );
    assert_eq!((exit().code(), exit().signal()), (None, Some(11)));
}

#[test]
fn a_planned_end_needs_no_words_unless_nobody_saw_it() {
    let stopped = Exit { reason: ExitReason::Stopped, next: Next::NotReplaced, ..exit() };
    let seen = Exit { status: Some(ExitStatus::from_raw(0)), ..stopped.clone() };
    assert_eq!(seen.to_string(), "worker 7 (slot 2, pid 4711) stopped (exit code 0) after 2.1s");
    let unseen = Exit { status: None, ..stopped };
    assert_eq!(unseen.to_string(), "worker 7 (slot 2, pid 4711) stopped after 2.1s; last words: oh no");
}

#[test]
fn an_end_says_how_many_connections_it_has_cut() {
    let cut = |connections| Event::WorkerExited(Exit { connections, ..exit() }).to_string();
    assert!(cut(1).ends_with("; restarting at once; 1 connection was cut; last words: oh no"), "{}", cut(1));
    assert!(cut(2).contains("; 2 connections were cut;"), "{}", cut(2));
}

#[test]
fn a_reload_that_fails_says_last_words_once() {
    let failed = |why: &str| {
        let (why, last_stderr) = (why.to_owned(), vec!["oh no".to_owned()]);
        Event::ReloadFailed { generation: 2, why, last_stderr }.to_string()
    };
    assert_eq!(failed("too late"), "reload failed: generation 2 is given up: too late; last words: oh no");
    let exit = exit().to_string();
    assert_eq!(failed(&exit), format!("reload failed: generation 2 is given up: {exit}"));
}

#[test]
fn a_drain_says_how_many_connections_are_open() {
    let drains = |connections| {
        let (worker, slot) = (WorkerId(7), Slot(2));
        Event::WorkerDraining { worker, slot, pid: 4711, why: Leave::Restart, connections }.to_string()
    };
    assert_eq!(drains(0), "worker 7 (slot 2, pid 4711) drains to be restarted; a successor starts");
    assert!(drains(1).ends_with("; a successor starts; 1 connection is open"), "{}", drains(1));
    assert!(drains(3).ends_with("; 3 connections are open"), "{}", drains(3));
}

#[test]
fn events_travel_whole() {
    let director = Event::DirectorExited {
        pid: 5,
        reason: ExitReason::Garbled("broke the message protocol (a frame of 5 GB)".into()),
        status: None,
        uptime: Duration::ZERO,
        last_stderr: Vec::new(),
        trace: Vec::new(),
        next: Next::NotReplaced,
    };
    for event in [Event::WorkerExited(exit()), director, Event::Scaled { from: 1, to: 2 }] {
        let mut buf = [0; 512];
        let bytes = crate::ipc::codec::encode(&event, &mut buf).unwrap();
        assert_eq!(crate::ipc::codec::decode::<Event>(bytes).unwrap(), event);
    }
}
