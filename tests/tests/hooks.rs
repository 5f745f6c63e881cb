//! What is called at a birth and before an end: in which order, and what becomes of a worker when it fails.
use nix::sys::signal::Signal;

use cluster_tests::changeling::Changeling;
use cluster_tests::{METHODS, ask, signal};

const PROGRAM: &str = env!("CARGO_BIN_EXE_changeling");

fn start(method: &str, knobs: &[&str]) -> Changeling {
    Changeling::start(PROGRAM, &[], method, "127.0.0.1:0", knobs)
}

/// What a program says that cannot boot, and its notes of one attempt.
fn failing(method: &str, knobs: &[&str], expected: &str, notes: &[&str]) {
    let (code, said, noted) = Changeling::end_of(PROGRAM, &[], ["core", method], knobs);
    assert_eq!(code, Some(1), "{method} {knobs:?}: {said}");
    assert!(said.contains("gave up: "), "{method} {knobs:?}: {said}");
    assert!(said.contains(&format!("failed to boot: {expected}")), "{method} {knobs:?}: {said}");
    // Three boots, each the same.
    assert_eq!(noted, [notes, notes, notes].concat(), "{method} {knobs:?}");
}

#[test]
fn hooks_of_a_worker_are_called_in_order_around_its_program() {
    let expected = ["start-1 Worker 0", "start-2 Worker 0", "program Worker 0"];
    let stops = ["drained Worker 0", "stop-1 Worker 0", "stop-2 Worker 0"];
    for method in METHODS {
        let changeling = start(method, &["worker-hooks"]);
        assert_eq!(changeling.notes(), expected, "{method}: it is ready after them");
        assert_eq!(changeling.stop(), [expected, stops].concat(), "{method}");
    }
}

#[test]
fn hooks_around_a_fork_are_called_in_order_for_each_process() {
    let changeling = start("fork", &["fork-hooks", "worker-hooks"]);
    let born = ["before_fork ForkServer", "after_fork Worker"];
    let begins = ["start-1 Worker 0", "start-2 Worker 0", "program Worker 0"];
    assert_eq!(changeling.notes(), [&born[..], &begins].concat());
    signal(changeling.app.workers()[0].pid, Signal::SIGKILL).unwrap();
    changeling.app.wait_for_workers(|now| now.iter().any(|worker| worker.id == 2)).unwrap();
    assert_eq!(
        changeling.notes(),
        [&born[..], &begins, &born, &begins].concat(),
        "who is killed is asked nothing"
    );
    changeling.stop();
    let changeling = start("fork", &["fork-hooks", "status"]);
    changeling.app.wait_for_director(None).unwrap();
    let notes = changeling.stop();
    assert_eq!(notes.iter().filter(|line| *line == "before_fork ForkServer").count(), 2, "{notes:?}");
    assert!(notes.contains(&"after_fork Director".to_owned()), "{notes:?}");
}

#[test]
fn a_hook_before_a_fork_that_fails_means_that_there_is_no_fork() {
    let failing = |how: &str, expected: &str| {
        failing("fork", &["fork-hooks", how], expected, &["before_fork ForkServer"]);
    };
    failing("before_fork=fails", "before_fork: no luck");
    failing("before_fork=panics", "before_fork: panicked: no luck");
    let (code, said, _) =
        Changeling::end_of(PROGRAM, &[], ["core", "fork"], &["fork-hooks", "before_fork=threads"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot fork with other threads running: `left-running`"), "{said}");
}

#[test]
fn a_hook_after_a_fork_that_fails_fails_the_boot() {
    let notes = ["before_fork ForkServer", "after_fork Worker"];
    failing("fork", &["fork-hooks", "after_fork=fails"], "after_fork: no luck", &notes);
    failing("fork", &["fork-hooks", "after_fork=panics"], "after_fork: panicked: no luck", &notes);
    // It would keep the identity that the process gives up.
    let knobs = ["fork-hooks", "after_fork=threads", "nice=1"];
    failing("fork", &knobs, "after_fork has left threads running", &notes);
}

#[test]
fn a_hook_after_a_fork_may_start_threads_and_write_as_much_as_it_likes() {
    for how in ["after_fork=threads", "after_fork=speaks", "before_fork=speaks"] {
        let changeling = start("fork", &["fork-hooks", how]);
        assert!(ask(changeling.app.addr(), "who").is_ok(), "{how}");
        changeling.stop();
    }
}

#[test]
fn hooks_around_a_fork_are_refused_where_nothing_is_forked() {
    let (code, said, _) = Changeling::end_of(PROGRAM, &[], ["core", "await"], &["fork-hooks"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("error: before_fork(..) is called around a fork, and with `.await` there is none"),
        "{said}"
    );
}

#[test]
fn a_hook_at_the_start_that_fails_fails_the_boot_and_the_program_never_begins() {
    for method in METHODS {
        let knobs = |how| ["worker-hooks", how];
        let notes = ["start-1 Worker 0"];
        failing(method, &knobs("start-1=fails"), "on_worker_start: no luck", &notes);
        failing(method, &knobs("start-1=panics"), "on_worker_start: panicked: no luck", &notes);
        let notes = ["start-1 Worker 0", "start-2 Worker 0"];
        failing(method, &knobs("start-2=fails"), "on_worker_start: no luck", &notes);
        // One that takes too long is a boot that does.
        let (_, said, noted) = Changeling::end_of(
            PROGRAM,
            &[],
            ["core", method],
            &["worker-hooks", "start-1=hangs", "boot=200"],
        );
        assert!(said.contains("gave up: "), "{said}");
        assert_eq!(noted, ["start-1 Worker 0"; 3], "{said}");
    }
}

#[test]
fn a_hook_at_the_end_that_fails_is_told_and_changes_nothing() {
    for method in METHODS {
        for (how, says) in [
            ("stop-1=fails", "worker 1: on_worker_stop failed: no luck"),
            ("stop-1=panics", "worker 1: on_worker_stop panicked: no luck"),
        ] {
            let changeling = start(method, &["worker-hooks", how]);
            let (notes, said) = changeling.stop_and_tell();
            assert!(said.contains(says), "{method} {how}: {said}");
            assert_eq!(notes[4..], ["stop-1 Worker 0", "stop-2 Worker 0"], "{method} {how}");
        }
    }
}

#[test]
fn a_hook_at_the_end_has_no_longer_than_the_drain_deadline() {
    for method in METHODS {
        let changeling = start(method, &["worker-hooks", "stop-1=hangs", "drain=300"]);
        let notes = changeling.stop();
        assert_eq!(notes.last().map(String::as_str), Some("stop-1 Worker 0"), "{method}: {notes:?}");
    }
}

#[test]
fn hooks_at_the_end_are_called_after_a_program_that_fails_too() {
    for method in METHODS {
        let (_, said, notes) =
            Changeling::end_of(PROGRAM, &[], ["core", method], &["worker-hooks", "program-fails"]);
        assert!(said.contains("the program fails, as it should"), "{said}");
        let each = [
            "start-1 Worker 0",
            "start-2 Worker 0",
            "program Worker 0",
            "stop-1 Worker 0",
            "stop-2 Worker 0",
        ];
        assert_eq!(notes[..5], each, "{method}: {notes:?}");
    }
}

#[test]
fn both_adapters_call_the_hooks() {
    for framework in ["axum", "actix"] {
        for method in METHODS {
            let changeling = Changeling::with(PROGRAM, framework, method, &["worker-hooks"]);
            let answer = ask(changeling.app.addr(), "GET / HTTP/1.0\r\n\r\n").unwrap();
            assert!(answer.ends_with(&nix::unistd::getuid().to_string()), "{answer}");
            let first = (framework == "actix").then_some("start-0 Worker 0");
            let expected: Vec<_> = first
                .into_iter()
                .chain(["start-1 Worker 0", "start-2 Worker 0", "program Worker 0"])
                .chain(["stop-1 Worker 0", "stop-2 Worker 0"])
                .collect();
            assert_eq!(changeling.stop(), expected, "{framework} {method}");
        }
    }
}
