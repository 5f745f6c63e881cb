//! The director: a process of its own, supervised, and nobody's single point of failure.
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use cluster_tests::{METHODS, Process, begin, eventually, listen, signal, status_field, subject, who};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

/// Starts a cluster whose standard error goes to a file of this test's own.
fn start(method: &str, test: &str, knobs: &[&str]) -> (Process, std::path::PathBuf) {
    let log = std::env::temp_dir().join(format!("cluster-director-{test}-{}-{method}", std::process::id()));
    let mut command = subject(SUBJECT, method, &[&["director"], knobs].concat());
    command.stderr(std::fs::File::create(&log).unwrap());
    (Process::start(command).unwrap(), log)
}

fn take(log: std::path::PathBuf) -> String {
    let said = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(log).unwrap();
    said
}

#[test]
fn a_director_is_a_process_like_a_worker_and_is_none() {
    for method in METHODS {
        let (app, log) = start(method, "process", &["workers=2"]);
        let director = app.wait_for_director(None).unwrap();
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{director}/{file}")).unwrap();
        assert_eq!(read("comm").trim(), "director", "{method}");
        let own = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", app.pid())).unwrap();
        let raised = (own.trim().parse::<i32>().unwrap() + 200).min(1000);
        assert_eq!(read("oom_score_adj").trim(), raised.to_string(), "{method}");
        let group = nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(director as i32))).unwrap();
        assert_eq!(group.as_raw() as u32, director, "{method}");
        assert_eq!(status_field(director, "PPid"), Some(u64::from(app.pid())), "{method}");
        assert_eq!(app.workers().len(), 2, "{method}");
        assert!(app.stop().unwrap().success(), "{method}");
        let said = take(log);
        assert!(said.contains("director: Director, primary false, worker false\n"), "{method}: {said}");
        assert!(said.contains("director: told to stop\n"), "{method}: {said}");
    }
}

#[test]
fn a_director_that_dies_comes_back_and_workers_serve_on() {
    for method in METHODS {
        let (app, log) = start(method, "dies", &["workers=2"]);
        let mut director = app.wait_for_director(None).unwrap();
        for _ in 0..3 {
            let workers = app.workers();
            signal(director, Signal::SIGKILL).unwrap();
            let answered = who(app.addr()).unwrap().id;
            assert!(workers.iter().any(|worker| worker.id == answered), "{method}");
            director = app.wait_for_director(Some(director)).unwrap();
            assert_eq!(app.workers(), workers, "{method}");
        }
        assert!(app.stop().unwrap().success(), "{method}");
        let said = take(log);
        assert!(said.contains(") crashed (SIGKILL) after "), "{method}: {said}");
        assert!(said.contains("the director (pid "), "{method}: {said}");
    }
}

#[test]
fn a_director_that_never_lasts_ends_no_cluster() {
    for method in METHODS {
        let (app, log) = start(method, "fails", &["workers=1", "director-exits"]);
        let mut seen = 0;
        for _ in 0..4 {
            seen = app.wait_for_line("director-exited ", seen).unwrap();
        }
        assert_eq!(who(app.addr()).unwrap().id, 1, "{method}");
        assert!(app.stop().unwrap().success(), "{method}");
        assert!(take(log).contains("(exit code 17)"), "{method}");
    }
}

/// A cluster of which all processes are told to leave, the director first. False where the machine kept this test waiting
/// in the midst of that: then they were not told at once.
fn leaves_last(method: &str) -> bool {
    let (app, log) = start(method, "last", &["workers=2"]);
    let director = app.wait_for_director(None).unwrap();
    let slow = begin(&app, "slow 1500");
    let all = app.processes();
    let begun = Instant::now();
    signal(director, Signal::SIGTERM).unwrap();
    for pid in all {
        let _ = signal(pid, Signal::SIGTERM);
    }
    // Less than the primary waits for its own signal before it answers the director.
    if begun.elapsed() > Duration::from_millis(10) {
        std::fs::remove_file(log).unwrap();
        return false;
    }
    assert!(listen(slow).unwrap().starts_with("late "), "{method}");
    let exited = app.wait_for_line("exited ", 0).unwrap();
    let exited = app.wait_for_line("exited ", exited).unwrap();
    let gone = app.wait_for_line(&format!("director-exited {director}"), 0).unwrap();
    assert!(gone > exited, "{method}: {gone} {exited}");
    assert!(app.wait().unwrap().success(), "{method}");
    let said = take(log);
    assert!(!said.contains("a successor starts"), "{method}: {said}");
    true
}

#[test]
fn a_director_leaves_after_the_last_worker() {
    for method in METHODS {
        eventually("they are told at once", || leaves_last(method));
    }
}

#[test]
fn a_director_told_to_leave_alone_is_replaced() {
    for method in METHODS {
        let (app, log) = start(method, "alone", &["workers=1"]);
        let director = app.wait_for_director(None).unwrap();
        signal(director, Signal::SIGTERM).unwrap();
        let successor = app.wait_for_director(Some(director)).unwrap();
        assert_ne!(successor, director, "{method}");
        app.wait_for_line(&format!("director-exited {director}"), 0).unwrap();
        assert_eq!(app.director(), Some(successor), "{method}");
        assert!(app.stop().unwrap().success(), "{method}");
        take(log);
    }
}

#[test]
fn a_director_that_blocks_is_ended_and_stop_now_takes_it_at_once() {
    for method in METHODS {
        let (app, log) = start(method, "blocks", &["workers=1", "drain=300", "director-blocks"]);
        app.wait_for_director(None).unwrap();
        let asked = Instant::now();
        assert!(app.stop().unwrap().success(), "{method}");
        let took = asked.elapsed();
        assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(10), "{method}: {took:?}");
        take(log);
        let (app, log) = start(method, "quits", &["workers=1", "director-blocks"]);
        app.wait_for_director(None).unwrap();
        app.signal(Signal::SIGQUIT as i32).unwrap();
        assert!(app.wait().unwrap().success(), "{method}");
        take(log);
    }
}

#[test]
fn a_director_outlives_no_primary() {
    for method in METHODS {
        let (mut app, log) = start(method, "orphan", &["workers=1"]);
        app.wait_for_director(None).unwrap();
        app.signal(Signal::SIGKILL as i32).unwrap();
        app.wait_for_primary().unwrap();
        app.wait_for_no_process().unwrap();
        take(log);
    }
}
