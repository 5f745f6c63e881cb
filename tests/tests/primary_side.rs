//! The user's code on the primary's side: it learns everything, commands what is done, and can break nothing.
use nix::sys::signal::Signal;

use cluster_tests::{METHODS, Speech, eventually, expect, is_stopped, numbers, signal};

const SPEAKER: &str = env!("CARGO_BIN_EXE_speaker");

fn start(method: &str, knobs: &[&str]) -> Speech {
    Speech::start(SPEAKER, method, knobs)
}

/// Of a `SLOTS: ID/SLOT/PID/STATE ..`: id, slot, pid, state of each.
fn workers(status: &str) -> Vec<(u64, u16, u32, String)> {
    let known = status.split_whitespace().filter(|word| word.contains('/'));
    known
        .map(|word| match word.split('/').collect::<Vec<_>>()[..] {
            [id, slot, pid, state] => {
                (id.parse().unwrap(), slot.parse().unwrap(), pid.parse().unwrap(), state.to_owned())
            }
            _ => panic!("{status}"),
        })
        .collect()
}

/// A process is there, and not only as a zombie.
fn runs(speech: &Speech, pid: u32) -> bool {
    speech.app.processes().contains(&pid)
}

#[test]
fn a_killed_director_misses_no_message() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        let first = speech.app.wait_for_director(None).unwrap();
        signal(first, Signal::SIGKILL).unwrap();
        speech.app.wait_for_line("director-exited", 0).unwrap();
        for whom in ["slot-0", "slot-1"] {
            assert_eq!(speech.tell(whom, "send primary 1 5000 100"), "done", "{method}: workers serve on");
        }
        let second = speech.app.wait_for_director(Some(first)).unwrap();
        assert_eq!(speech.tell("director", "pid"), second.to_string(), "{method}");
        let is_last = |line: &String| line.ends_with(" 5000 100 whole");
        let heard = speech
            .wait_until_heard("director", |heard| heard.iter().filter(|line| is_last(line)).count() == 2);
        (1..=2).for_each(|worker| expect(&heard, worker, 1..=5000));
        assert_eq!(
            workers(&speech.tell("director", "status")).len(),
            2,
            "{method}: it knows how things stand"
        );
    }
}

#[test]
fn what_waits_for_a_director_is_heard_by_the_next_however_much_it_is() {
    for method in METHODS {
        let speech = start(method, &["workers=1"]);
        let first = speech.app.wait_for_director(None).unwrap();
        signal(first, Signal::SIGSTOP).unwrap();
        eventually("it stands still", || is_stopped(first));
        // More than its socket takes, and than may wait for a first handler.
        assert_eq!(speech.tell("slot-0", "send primary 1 6000 100"), "done", "{method}");
        assert_eq!(speech.tell("slot-0", "ask slot:0 600000 echo routed"), r#"Ok("routed")"#, "{method}");
        signal(first, Signal::SIGKILL).unwrap();
        let heard = speech.wait_until_heard("director", |heard| numbers(heard, 1).last() == Some(&6000));
        let first = numbers(&heard, 1)[0];
        assert!(first < 4000, "{method}: what its socket had is lost with it: {first}");
        expect(&heard, 1, first..=6000);
    }
}

#[test]
fn an_endless_loop_on_the_primary_side_stops_nobody() {
    for method in METHODS {
        // Nobody looks whether it turns: it is there until it is killed.
        let speech = start(method, &["workers=3", "hang=off"]);
        let first = speech.app.wait_for_director(None).unwrap();
        assert_eq!(speech.tell("slot-0", "work primary loop"), "done", "{method}");
        speech.wait_for("director", "works");
        assert_eq!(speech.tell("slot-0", "send slot:1 1 1000 100"), "done", "{method}");
        assert_eq!(speech.tell("slot-1", "broadcast 1 10 100"), "reached 2, missed 0", "{method}");
        // Supervision goes on without it.
        signal(speech.app.workers()[2].pid, Signal::SIGKILL).unwrap();
        speech.app.wait_for_workers(|now| now.iter().any(|worker| worker.id == 4)).unwrap();
        speech.wait_until_heard("slot-1", |heard| heard.iter().any(|line| line.starts_with("said 1 1000 ")));
        assert_eq!(speech.tell("slot-0", "send primary 1 100 100"), "done", "{method}");
        signal(first, Signal::SIGKILL).unwrap();
        let second = speech.app.wait_for_director(Some(first)).unwrap();
        assert_eq!(speech.tell("slot-0", "send primary 101 1 100"), "done", "{method}");
        speech.wait_until_heard("director", |heard| heard.iter().any(|line| line.starts_with("said 1 101 ")));
        assert_eq!(speech.app.director(), Some(second), "{method}");
    }
}

#[test]
fn an_exit_says_how_and_what_is_next() {
    for method in METHODS {
        let speech = start(method, &["workers=1"]);
        signal(speech.app.workers()[0].pid, Signal::SIGKILL).unwrap();
        speech.app.wait_for_workers(|now| now.iter().any(|worker| worker.id == 2)).unwrap();
        assert!(speech.begin("slot-0", "abort").answer().is_err());
        speech.app.wait_for_workers(|now| now.iter().any(|worker| worker.id == 3)).unwrap();
        assert!(speech.begin("slot-0", "exit 7 last words of worker 3").answer().is_err());
        speech.app.wait_for_workers(|now| now.iter().any(|worker| worker.id == 4)).unwrap();
        signal(speech.app.workers()[0].pid, Signal::SIGTERM).unwrap();
        let exits = |heard: &[String]| -> Vec<String> {
            heard.iter().filter(|line| line.starts_with("exit ")).cloned().collect()
        };
        let exits = exits(&speech.wait_until_heard("director", |heard| exits(heard).len() == 4));
        let crashed = "usage true next RestartIn(0ns) planned false";
        let expected = [
            format!("exit 1 Crashed code None signal Some(9) {crashed} last []"),
            format!("exit 2 Crashed code None signal Some(6) {crashed} last []"),
            format!("exit 3 Crashed code Some(7) signal None {crashed} last [\"last words of worker 3\"]"),
            "exit 4 Stopped code Some(0) signal None usage true next AlreadyReplaced planned true last []"
                .to_owned(),
        ];
        assert_eq!(exits, expected, "{method}");
    }
}

#[test]
fn events_of_each_worker_come_in_the_order_of_its_life() {
    for method in METHODS {
        let speech = start(method, &["workers=4"]);
        for life in 0..3 {
            for worker in speech.app.workers() {
                let how = if worker.slot % 2 == 0 { Signal::SIGKILL } else { Signal::SIGTERM };
                signal(worker.pid, how).unwrap();
            }
            let oldest = 4 * (life + 1);
            speech
                .app
                .wait_for_workers(|now| now.len() == 4 && now.iter().all(|worker| worker.id > oldest))
                .unwrap();
        }
        let heard = speech.wait_until_heard("director", |heard| {
            heard.iter().filter(|line| line.starts_with("event WorkerExited ")).count() == 12
        });
        for worker in 1..=12 {
            let names: Vec<_> = heard
                .iter()
                .filter_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
                    // On a machine that is busy with other things a runtime may stand still for a second.
                    ["event", "WorkerStalled", ..] => None,
                    ["event", name, of, ..] if of == worker.to_string() => Some(name),
                    _ => None,
                })
                .collect();
            // The first director may have missed the start of the first workers.
            let expected = ["WorkerStarted", "WorkerOnline", "WorkerReady", "WorkerDraining", "WorkerExited"];
            let mut rest = expected.iter();
            assert!(
                names.iter().all(|name| rest.any(|expected| expected == name)),
                "{method}: {worker}: {names:?}"
            );
            let is_asked = names.contains(&"WorkerDraining");
            assert_eq!(names.len(), if is_asked { 5 } else { 4 }, "{method}: {worker}: {names:?}");
        }
    }
}

#[test]
fn a_stream_of_events_tells_what_on_event_is_told_in_the_same_order() {
    for method in METHODS {
        let speech = start(method, &["workers=2", "streams-events"]);
        speech.tell("director", "status");
        for life in 0..3 {
            signal(speech.app.workers()[0].pid, Signal::SIGKILL).unwrap();
            speech.app.wait_for_workers(|now| now.iter().any(|worker| worker.id == 3 + life)).unwrap();
        }
        let of = |heard: &[String], start: &str| -> Vec<String> {
            heard.iter().filter_map(|line| line.strip_prefix(start)).map(str::to_owned).collect()
        };
        let last = |events: &[String]| events.iter().position(|event| event.starts_with("WorkerReady 5 "));
        let heard = speech.wait_until_heard("director", |heard| {
            ["event ", "streamed event "].iter().all(|start| last(&of(heard, start)).is_some())
        });
        let [all, streamed] = ["event ", "streamed event "].map(|start| {
            let mut events = of(&heard, start);
            events.truncate(last(&events).unwrap() + 1);
            events
        });
        // A stream begins where the program makes it.
        let exits = streamed.iter().filter(|event| event.starts_with("WorkerExited ")).count();
        assert_eq!(exits, 3, "{method}: {streamed:?}");
        assert!(all.ends_with(&streamed), "{method}: {all:#?} {streamed:#?}");
    }
}

#[test]
fn a_command_is_done_when_it_has_happened() {
    for method in METHODS {
        let mut speech = start(method, &["workers=2"]);
        let done = speech.tell("director", "scale 4");
        let up = workers(&done);
        assert!(done.starts_with("done: 4:") && up.len() == 4, "{method}: {done}");
        assert!(
            up.iter().all(|(_, _, pid, state)| runs(&speech, *pid) && state == "Serving"),
            "{method}: {done}"
        );
        assert_eq!(speech.tell("slot-0", "slots"), "4", "{method}: workers know, too");

        let done = speech.tell("director", "restart 3");
        let new = workers(&done);
        assert!(
            new.iter().any(|worker| (worker.0, worker.1) == (5, 3) && worker.3 == "Serving"),
            "{method}: {done}"
        );
        assert!(runs(&speech, new.last().unwrap().2), "{method}: {done}");

        let done = speech.tell("director", "scale 1");
        let down = workers(&done);
        assert!(done.starts_with("done: 1:") && down.len() == 1, "{method}: {done}");
        let all = up.iter().chain(&new).filter(|worker| worker.0 != down[0].0);
        all.for_each(|worker| assert!(!runs(&speech, worker.2), "{method}: {worker:?} has ended"));
        let said = speech.tell("slot-0", "send slot:1 1 1 10");
        assert!(said.starts_with("PeerGone"), "{method}: {said}");

        // The end of the director is next; it may be quicker than the answer.
        let stopped = speech.begin("director", "stop").answer();
        assert!(stopped.as_ref().map_or(true, |done| done.starts_with("done: 1:")), "{method}: {stopped:?}");
        assert!(speech.app.wait_for_primary().unwrap().success(), "{method}");
        speech.app.wait_for_no_process().unwrap();
    }
}

#[test]
fn commands_that_make_no_sense_are_errors_and_change_nothing() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        let before = speech.app.workers();
        for (line, word) in
            [("scale 0", "NoWorkers"), ("restart 2", "2"), ("restart 60000", "60000"), ("scale 1000000", "")]
        {
            let said = speech.tell("director", line);
            assert!(!said.starts_with("done") && said.contains(word), "{method}: {line}: {said}");
        }
        assert_eq!(speech.app.workers(), before, "{method}");
        assert_eq!(workers(&speech.tell("director", "status")).len(), 2, "{method}");
    }
}

#[test]
fn trouble_in_the_user_s_code_is_logged_and_ends_nothing() {
    for method in METHODS {
        let speech = start(method, &["workers=2", "callback-trouble"]);
        let director = speech.app.wait_for_director(None).unwrap();
        for (to, whom) in [("primary", "director"), ("slot:1", "slot-1")] {
            assert_eq!(speech.tell("slot-0", &format!("work {to} panic")), "done");
            assert_eq!(speech.tell("slot-0", &format!("work {to} fail that is how it is")), "done");
            assert_eq!(speech.tell("slot-0", &format!("send {to} 1 1 10")), "done");
            speech.wait_until_heard(whom, |heard| heard.iter().any(|line| line.starts_with("said 1 1 ")));
        }
        signal(speech.app.workers()[0].pid, Signal::SIGKILL).unwrap();
        for wanted in [
            "the handler of Work messages panicked: a handler panics, as it should",
            "the handler of Work messages failed: that is how it is",
            "on_exit failed: on_exit fails, as it should",
            "on_exit panicked: ",
            "the program of the primary's side failed: primary fails, as it should",
        ] {
            eventually(wanted, || speech.log().contains(wanted));
        }
        speech.wait_until_heard("director", |heard| {
            heard.iter().any(|line| line.starts_with("exit 1 Crashed"))
        });
        assert_eq!(speech.app.director(), Some(director), "{method}");
        assert!(speech.app.workers().iter().any(|worker| worker.id == 2), "{method}");
    }
}

#[test]
fn a_program_that_asked_when_the_cluster_stops_is_waited_for() {
    for method in METHODS {
        let go = std::env::temp_dir().join(format!("cluster-go-{}-{method}", std::process::id()));
        let mut speech = start(method, &["workers=2", &format!("stopping-until={}", go.display())]);
        speech.tell("director", "status");
        speech.app.signal(Signal::SIGTERM as i32).unwrap();
        speech.wait_for("director", "stopping");
        speech.app.wait_for_workers(|now| now.is_empty()).unwrap();
        eventually("only the director is left", || {
            let left = speech.app.processes();
            speech.app.director().is_some_and(|director| left.contains(&director))
        });
        std::fs::write(&go, "").unwrap();
        assert!(speech.app.wait_for_primary().unwrap().success(), "{method}");
        speech.app.wait_for_no_process().unwrap();
        assert!(speech.heard("director").contains(&"stopped".to_owned()), "{method}");
        std::fs::remove_file(go).unwrap();
    }
}

#[test]
fn a_program_without_an_end_is_not_waited_for() {
    for method in METHODS {
        // Its listener would go on for ever, and the deadline is far away.
        let mut speech = start(method, &["workers=2", "drain=600000"]);
        speech.tell("director", "status");
        speech.app.signal(Signal::SIGTERM as i32).unwrap();
        assert!(speech.app.wait_for_primary().unwrap().success(), "{method}");
        speech.app.wait_for_no_process().unwrap();
    }
}

#[test]
fn a_message_without_a_receiver_any_more_is_told() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        assert_eq!(speech.tell("director", "scale 1").split(':').next(), Some("done"));
        let said = speech.tell("director", "send slot:1 1 1 10");
        assert_eq!(said, r#"PeerGone { to: "the worker of slot 1" }"#, "{method}");
        assert_eq!(speech.tell("director", "send primary 1 1 10"), "ToItself", "{method}");
    }
}
