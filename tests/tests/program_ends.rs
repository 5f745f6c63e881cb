//! A program that ends by itself: the primary knows at once, what it said is heard first, and its slot does not wait
//! for what it left unfinished.
use std::fs;

use nix::sys::signal::Signal;

use cluster_tests::{METHODS, Process, Speech, eventually, expect, numbers, subject_at};

const SPEAKER: &str = env!("CARGO_BIN_EXE_speaker");
const ACTIX: &str = env!("CARGO_BIN_EXE_actix_subject");
/// No test waits for a deadline as long as this.
const FAR: &str = "drain=600000";

fn exit_of(speech: &Speech, worker: u64) -> (Vec<String>, String) {
    let start = format!("exit {worker} ");
    let mut heard =
        speech.wait_until_heard("director", |heard| heard.iter().any(|line| line.starts_with(&start)));
    let at = heard.iter().position(|line| line.starts_with(&start)).unwrap();
    let exit = heard.split_off(at).swap_remove(0);
    (heard, exit)
}

/// Makes a handler of a slot's worker wait for a file; ends the worker's program then.
fn end_with_a_handler_at_work(speech: &Speech, how: &str) {
    let handler = speech.path("handler");
    assert_eq!(speech.tell("director", &format!("work slot:0 until {}", handler.display())), "done");
    speech.wait_for("slot-0", "works");
    // The program may have ended before it has answered.
    drop(speech.begin("slot-0", &format!("end {how} 100")));
}

#[test]
fn a_program_that_fails_to_boot_says_why_at_once_whatever_it_has_spawned() {
    for method in METHODS {
        for (how, why, code) in
            [("no-database", "no-database", 1), ("panic", "panicked: the program panics, as it should", 101)]
        {
            let mut speech = Speech::launch(SPEAKER, method, &["workers=1", FAR, &format!("boot={how}")]);
            assert_eq!(speech.app.wait_for_primary().unwrap().code(), Some(70), "{method}");
            speech.app.wait_for_no_process().unwrap();
            for life in 1..=3 {
                let (before, exit) = exit_of(&speech, life);
                let start = format!("exit {life} BootFailed({why:?}) code Some({code}) signal None ");
                assert!(exit.starts_with(&start), "{method}: {exit}");
                expect(&before, life, 1..=100);
            }
            assert!(speech.log().contains(why), "{method}: {}", speech.log());
        }
    }
}

#[test]
fn however_a_program_ends_what_it_said_comes_before_its_exit() {
    for method in METHODS {
        let speech = Speech::start(SPEAKER, method, &["workers=1", FAR]);
        let ends = [
            ("well", "Finished code Some(0) signal None "),
            ("disk-full", "Crashed code Some(1) signal None "),
            ("panic", "Crashed code Some(101) signal None "),
        ];
        for (life, (how, expected)) in (1..).zip(ends) {
            drop(speech.begin("slot-0", &format!("end {how} 1000")));
            let (before, exit) = exit_of(&speech, life);
            assert!(exit.starts_with(&format!("exit {life} {expected}")), "{method}: {exit}");
            expect(&before, life, 1..=1000);
            speech.app.wait_for_workers(|now| now.iter().any(|worker| worker.id == life + 1)).unwrap();
        }
    }
}

#[test]
fn a_program_that_ends_while_a_handler_works_has_a_successor_and_the_handler_ends_its_work() {
    for method in METHODS {
        let speech = Speech::start(SPEAKER, method, &["workers=2", FAR]);
        end_with_a_handler_at_work(&speech, "well");
        speech.app.wait_for_workers(|now| now.iter().any(|worker| worker.id == 3)).unwrap();
        // The director hears of both by another way than this test, and may be the last.
        eventually("the first drains, as the primary's side sees it", || {
            let status = speech.tell("director", "status");
            status.contains(" 1/0/") && status.contains("/Draining")
        });
        // What is for the slot is for the successor, also while the other is still there.
        assert_eq!(speech.tell("director", "send slot:0 1 100 10"), "done", "{method}");
        let heard = speech.wait_until_heard("slot-0", |heard| numbers(heard, "primary").len() == 100);
        assert!(!heard.contains(&"worked".to_owned()), "{method}");
        speech.make("handler");
        let (before, exit) = exit_of(&speech, 1);
        let expected = "exit 1 Finished code Some(0) signal None usage true next AlreadyReplaced ";
        assert!(exit.starts_with(expected), "{method}: {exit}");
        expect(&before, 1, 1..=100);
        assert!(speech.heard("slot-0").contains(&"worked".to_owned()), "{method}");
    }
}

#[test]
fn what_a_program_left_unfinished_has_until_the_drain_deadline() {
    for method in METHODS {
        for (how, reason, last) in [("well", "DrainTimeout", ""), ("disk-full", "Crashed", "\"disk-full\"")] {
            let mut speech = Speech::start(SPEAKER, method, &["workers=1", "drain=1000"]);
            end_with_a_handler_at_work(&speech, how);
            let (before, exit) = exit_of(&speech, 1);
            let expected =
                format!("exit 1 {reason} code None signal Some(9) usage true next AlreadyReplaced ");
            assert!(exit.starts_with(&expected), "{method}: {exit}");
            assert!(exit.ends_with(&format!("last [{last}]")), "{method}: {exit}");
            expect(&before, 1, 1..=100);
            speech.app.signal(Signal::SIGTERM as i32).unwrap();
            assert!(speech.app.wait_for_primary().unwrap().success(), "{method}");
            speech.app.wait_for_no_process().unwrap();
        }
    }
}

/// What an `actix_subject` has noted of its first workers.
fn first_ends(method: &str, how: &str, count: usize) -> Vec<String> {
    let file = std::env::temp_dir().join(format!("cluster-ends-{}-{method}-{how}", std::process::id()));
    let command = subject_at(ACTIX, method, &file.display().to_string(), &[how]);
    let mut app = Process::launch(command).unwrap();
    let read = || -> Vec<String> {
        fs::read_to_string(&file).unwrap_or_default().lines().map(str::to_owned).collect()
    };
    eventually("the workers end", || read().len() >= count);
    // It may have given up already.
    let _ = app.signal(Signal::SIGTERM as i32);
    app.wait_for_primary().unwrap();
    app.wait_for_no_process().unwrap();
    let mut ends = read();
    fs::remove_file(file).unwrap();
    ends.truncate(count);
    ends
}

#[test]
fn an_actix_application_that_cannot_be_made_is_heard_to_its_end() {
    for method in METHODS {
        for (how, why) in [("fails", "could not be made"), ("panics", "the factory panics, as it should")] {
            for (worker, end) in (1..).zip(first_ends(method, how, 3)) {
                assert!(end.starts_with(&format!("100 of {worker}: BootFailed(")), "{method}: {end}");
                assert!(end.contains(why), "{method}: {end}");
            }
        }
    }
}

#[test]
fn an_actix_server_that_is_stopped_at_once_is_heard_to_its_end() {
    for method in METHODS {
        assert_eq!(first_ends(method, "stops", 1), ["100 of 1: Stopped"], "{method}");
    }
}
