//! A process whose runtime does not turn comes back by itself, and meanwhile nobody else minds.
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use cluster_tests::{METHODS, Speech, eventually, is_stopped, signal};

const SPEAKER: &str = env!("CARGO_BIN_EXE_speaker");
/// Long enough for one warning, and for processes that are only slow.
const HANG: &str = "hang=2000";

fn start(method: &str, knobs: &[&str]) -> Speech {
    Speech::start(SPEAKER, method, &[knobs, &[HANG]].concat())
}

/// Asks these workers, one after the other, again and again until something is so. Each has to answer, all the time.
fn serving(speech: &Speech, whom: &[&str], mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        for asked in whom {
            assert_eq!(speech.tell(asked, "ask slot:0 60000 echo served"), r#"Ok("served")"#, "{asked}");
        }
        assert!(Instant::now() < deadline, "{}", speech.log());
    }
}

fn has_heard(speech: &Speech, whom: &str, start: &str) -> bool {
    speech.heard(whom).iter().any(|line| line.starts_with(start))
}

#[test]
fn a_director_whose_handler_loops_comes_back_by_itself() {
    for method in METHODS {
        let speech = start(method, &["workers=3"]);
        let first = speech.app.wait_for_director(None).unwrap();
        let workers = speech.app.workers();
        assert_eq!(speech.tell("slot-0", "work primary loop"), "done", "{method}");
        speech.wait_for("director", "works");
        serving(&speech, &["slot-0", "slot-1", "slot-2"], || {
            speech.app.director().is_some_and(|director| director != first)
        });
        assert_eq!(speech.tell("slot-1", "send primary 1 1 100"), "done", "{method}");
        speech.wait_until_heard("director", |heard| heard.iter().any(|line| line.starts_with("said 2 1 ")));
        // Its successor is told what became of it.
        let exited =
            format!("event DirectorExited 0 the director (pid {first}) hung and was killed (SIGKILL)");
        speech.wait_until_heard("director", |heard| heard.iter().any(|line| line.starts_with(&exited)));
        let log = speech.log();
        assert!(
            log.contains(&format!("the director (pid {first}) has stood still for 1.")),
            "{method}: {log}"
        );
        assert_eq!(speech.app.workers(), workers, "{method}: no worker was touched");
    }
}

#[test]
fn a_worker_whose_handler_loops_is_replaced_and_one_that_is_only_busy_is_not() {
    for method in METHODS {
        let speech = start(method, &["workers=3"]);
        let before = speech.app.workers();
        let end = speech.path("end");
        // This one works without a pause, but awaits now and then.
        let busy = format!("work slot:2 busy-until {}", end.display());
        assert_eq!(speech.tell("slot-0", &busy), "done", "{method}");
        speech.wait_for("slot-2", "works");
        assert_eq!(speech.tell("slot-0", "work slot:1 loop"), "done", "{method}");
        speech.wait_for("slot-1", "works");
        serving(&speech, &["slot-0"], || has_heard(&speech, "director", "exit "));
        let exits =
            speech.wait_until_heard("director", |heard| heard.iter().any(|line| line.starts_with("exit ")));
        let exit = exits.iter().find(|line| line.starts_with("exit ")).unwrap();
        let expected = "exit 2 Hung code None signal Some(9) usage true next RestartIn(0ns) planned false";
        assert!(exit.starts_with(expected), "{method}: {exit}");
        assert!(has_heard(&speech, "director", "event WorkerStalled 2 "), "{method}");
        speech.app.wait_for_workers(|now| now.iter().any(|worker| worker.id == 4)).unwrap();
        assert_eq!(speech.tell("slot-0", "ask slot:1 60000 echo here"), r#"Ok("here")"#, "{method}");
        std::fs::write(&end, "").unwrap();
        speech.wait_for("slot-2", "worked");
        let left: Vec<_> = speech.app.workers().into_iter().filter(|worker| worker.id < 4).collect();
        assert_eq!(left, [before[0], before[2]], "{method}");
        let log = speech.log();
        assert!(log.contains("worker 2 (slot 1, pid "), "{method}: {log}");
        assert!(log.contains(") hung and was killed (SIGKILL) after "), "{method}: {log}");
    }
}

#[test]
fn a_worker_that_is_stopped_does_not_hang() {
    for method in METHODS {
        let speech = start(method, &["workers=3"]);
        let stopped = speech.app.workers()[2];
        signal(stopped.pid, Signal::SIGSTOP).unwrap();
        eventually("it stands still", || is_stopped(stopped.pid));
        // This one begins later, and its limit is over first.
        assert_eq!(speech.tell("slot-0", "work slot:1 loop"), "done", "{method}");
        speech
            .wait_until_heard("director", |heard| heard.iter().any(|line| line.starts_with("exit 2 Hung ")));
        assert!(is_stopped(stopped.pid), "{method}");
        signal(stopped.pid, Signal::SIGCONT).unwrap();
        assert_eq!(speech.tell("slot-2", "ask slot:0 60000 echo again"), r#"Ok("again")"#, "{method}");
        assert!(!has_heard(&speech, "director", "event WorkerStalled 3 "), "{method}");
        assert!(speech.app.workers().contains(&stopped), "{method}");
    }
}
