//! Every question has an end: its answer, or the reason why there is none.
use nix::sys::signal::Signal;

use cluster_tests::{METHODS, Speech, eventually, is_stopped, numbers, signal};

const SPEAKER: &str = env!("CARGO_BIN_EXE_speaker");

/// Longer than any test waits: what comes all the same did not come of it.
const LONG: &str = "600000";

fn start(method: &str, knobs: &[&str]) -> Speech {
    Speech::start(SPEAKER, method, knobs)
}

#[test]
fn each_may_ask_each() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        for (whom, to) in [
            ("slot-0", "slot:1"),
            ("slot-0", "worker:2"),
            ("slot-1", "primary"),
            ("director", "slot:0"),
            ("director", "worker:2"),
            ("slot-0", "slot:0"),
        ] {
            let said = speech.tell(whom, &format!("ask {to} {LONG} echo hello there"));
            assert_eq!(said, r#"Ok("hello there")"#, "{method}: {whom} asks {to}");
        }
    }
}

#[test]
fn an_answer_may_be_large() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        for (whom, to) in [("slot-0", "slot:1"), ("slot-0", "primary"), ("director", "slot:1")] {
            for size in [1 << 16, 8 << 20] {
                let said = speech.tell(whom, &format!("ask {to} {LONG} big {size}"));
                assert_eq!(said.len(), size + r#"Ok("")"#.len(), "{method}: {whom} asks {to}");
            }
        }
    }
}

#[test]
fn the_error_of_a_handler_comes_back_as_its_text() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        for to in ["slot:1", "primary"] {
            let said = speech.tell("slot-0", &format!("ask {to} {LONG} refuse not today"));
            assert_eq!(said, r#"Err(Refused("not today"))"#, "{method}");
            let said = speech.tell("slot-0", &format!("ask {to} {LONG} panic"));
            assert!(
                said.starts_with("Err(Refused(") && said.contains("an answerer panics"),
                "{method}: {said}"
            );
            let said = speech.tell("slot-0", &format!("ask {to} {LONG} echo still there"));
            assert_eq!(said, r#"Ok("still there")"#, "{method}: a panic ends one answer");
        }
    }
}

#[test]
fn a_question_that_nobody_knows_or_several_would_answer_is_refused() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        let said = speech.tell("slot-0", "ask-unanswered slot:1");
        assert_eq!(
            said, r#"Err(NoHandler { to: "the worker of slot 1", type_name: "Unanswered" })"#,
            "{method}"
        );
        let said = speech.tell("slot-0", "ask-unanswered primary");
        assert!(said.starts_with("Err(NoHandler { to: "), "{method}: {said}");
        for to in ["everyone", "others"] {
            let said = speech.tell("slot-0", &format!("ask {to} {LONG} echo x"));
            assert!(said.starts_with("Err(SeveralPeers { to: "), "{method}: {said}");
        }
        let said = speech.tell("director", &format!("ask primary {LONG} echo x"));
        assert_eq!(said, "Err(Send(ToItself))", "{method}");
        for to in ["slot:7", "worker:7"] {
            let said = speech.tell("slot-0", &format!("ask {to} {LONG} echo x"));
            assert!(said.contains("PeerGone"), "{method}: {said}");
        }
    }
}

#[test]
fn without_a_primary_side_asking_it_is_an_error() {
    for method in METHODS {
        let speech = start(method, &["workers=1", "no-director"]);
        let said = speech.tell("slot-0", &format!("ask primary {LONG} echo x"));
        assert_eq!(said, "Err(Send(NoDirector))", "{method}");
        assert_eq!(speech.tell("slot-0", "send primary 1 1 10"), "NoDirector", "{method}");
        // The primary, the fork server where there is one, the worker: nobody else is made.
        let all = 2 + usize::from(speech.app.fork_server().is_some());
        assert_eq!(speech.app.processes().len(), all, "{method}");
    }
}

#[test]
fn who_does_not_answer_in_time_is_named() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        let said = speech.tell("slot-0", "ask slot:1 50 never");
        assert_eq!(said, r#"Err(TimedOut { to: "the worker of slot 1", after: 50ms })"#, "{method}");
        let said = speech.tell("slot-0", "ask primary 50 never");
        assert!(said.starts_with("Err(TimedOut { to: "), "{method}: {said}");
    }
}

#[test]
fn a_question_that_takes_long_holds_up_no_other() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        for (to, whom) in [("slot:1", "slot-1"), ("primary", "director")] {
            let _slow: Vec<_> =
                (0..100).map(|_| speech.begin("slot-0", &format!("ask {to} {LONG} never"))).collect();
            speech
                .wait_until_heard(whom, |heard| heard.iter().filter(|line| *line == "asked").count() == 100);
            let said = speech.tell("slot-0", &format!("ask {to} {LONG} echo quick"));
            assert_eq!(said, r#"Ok("quick")"#, "{method}: {to}");
        }
    }
}

#[test]
fn a_worker_that_is_killed_is_gone_for_who_asked_it() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        let mut victim = speech.app.workers()[1];
        for (life, to) in ["slot:1", "worker:3"].into_iter().enumerate() {
            let asked = [
                speech.begin("slot-0", &format!("ask {to} {LONG} never")),
                speech.begin("director", &format!("ask {to} {LONG} never")),
            ];
            let times = 2 * (life + 1);
            speech.wait_until_heard("slot-1", |heard| {
                heard.iter().filter(|line| *line == "asked").count() == times
            });
            signal(victim.pid, Signal::SIGKILL).unwrap();
            for line in asked {
                let said = line.answer().unwrap();
                assert!(said.starts_with("Err(PeerGone { to: "), "{method}: {said}");
            }
            let id = victim.id + 1;
            let now = speech.app.wait_for_workers(|now| now.iter().any(|worker| worker.id == id)).unwrap();
            victim = now[1];
        }
    }
}

#[test]
fn a_place_that_is_empty_just_now_answers_nothing() {
    for method in METHODS {
        let speech = start(method, &["workers=2", &format!("restart-delay={LONG}")]);
        // The first restart is at once, whatever the delay.
        for life in [2, 3] {
            let victim =
                speech.app.wait_for_workers(|now| now.iter().any(|worker| worker.id == life)).unwrap()[1];
            signal(victim.pid, Signal::SIGKILL).unwrap();
            let exit = format!("exit {life} ");
            speech.wait_until_heard("director", |heard| heard.iter().any(|line| line.starts_with(&exit)));
        }
        // The director hears of the end by another way than this test, and may be the first.
        let left = speech.app.wait_for_workers(|now| now.len() == 1).unwrap();
        assert_eq!(left[0].slot, 0, "{method}");
        let said = speech.tell("slot-0", &format!("ask slot:1 {LONG} echo x"));
        assert_eq!(said, r#"Err(PeerGone { to: "the worker of slot 1" })"#, "{method}");
    }
}

#[test]
fn a_director_that_is_killed_is_gone_for_who_asked_it_and_its_successor_answers() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        let director = speech.app.wait_for_director(None).unwrap();
        let asked = speech.begin("slot-0", &format!("ask primary {LONG} never"));
        speech.wait_for("director", "asked");
        signal(director, Signal::SIGKILL).unwrap();
        let said = asked.answer().unwrap();
        assert!(said.starts_with("Err(PeerGone { to: "), "{method}: {said}");
        let second = speech.app.wait_for_director(Some(director)).unwrap();
        let said = speech.tell("slot-0", &format!("ask primary {LONG} pid"));
        assert_eq!(said, format!(r#"Ok("{second}")"#), "{method}");
    }
}

#[test]
fn a_worker_that_leaves_takes_no_more_questions_and_its_successor_does() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        let leaver = speech.app.workers()[1].pid;
        let go = speech.path("go");
        assert_eq!(speech.tell("slot-0", &format!("work slot:1 until {}", go.display())), "done");
        speech.wait_for("slot-1", "works");
        signal(leaver, Signal::SIGTERM).unwrap();
        speech.app.wait_for_line("draining 2", 0).unwrap();
        // It waits for its handler; what is asked until it has said that it leaves is answered.
        eventually("it takes no questions", || {
            let said = speech.tell("slot-0", &format!("ask worker:2 {LONG} echo x"));
            assert!(said == r#"Ok("x")"# || said.contains("PeerGone"), "{method}: {said}");
            said.contains("PeerGone")
        });
        speech.make("go");
        speech.wait_for("slot-1", "worked");
        let said = speech.tell("slot-0", &format!("ask slot:1 {LONG} echo x"));
        assert_eq!(said, r#"Ok("x")"#, "{method}");
    }
}

#[test]
fn questions_that_are_refused_use_up_no_room_for_messages() {
    // More than a sender may have on the way.
    const ALL: &str = "ask-thousands primary 9";
    for method in METHODS {
        let speech = start(method, &["workers=1", "restart-delay=6000"]);
        // The first restart is at once, whatever the delay.
        let first = speech.app.wait_for_director(None).unwrap();
        signal(first, Signal::SIGKILL).unwrap();
        let second = speech.app.wait_for_director(Some(first)).unwrap();
        signal(second, Signal::SIGSTOP).unwrap();
        eventually("it stands still", || is_stopped(second));
        let asked = speech.begin("slot-0", ALL);
        signal(second, Signal::SIGKILL).unwrap();
        speech.app.wait_for_line(&format!("director-exited {second}"), 0).unwrap();
        assert_eq!(asked.answer().unwrap(), "answered 0, gone 9000", "{method}: of one that was stopped");
        assert_eq!(speech.tell("slot-0", ALL), "answered 0, gone 9000", "{method}: of nobody");
        assert_eq!(speech.tell("slot-0", "send primary 1 1000 100"), "done", "{method}");
        speech.app.wait_for_director(Some(second)).unwrap();
        speech.wait_until_heard("director", |heard| numbers(heard, 1).len() == 1000);
        assert_eq!(speech.tell("slot-0", ALL), "answered 9000, gone 0", "{method}");
    }
}

#[test]
fn a_director_that_leaves_hears_its_answer_before_it_ends() {
    for method in METHODS {
        let end = std::env::temp_dir().join(format!("cluster-asks-{}-{method}", std::process::id()));
        let speech = start(method, &["workers=1", &format!("stopping-until={}", end.display())]);
        let director = speech.app.wait_for_director(None).unwrap();
        let go = speech.path("go").display().to_string();
        // By a handler, which is waited for, and by the program, which has asked to be.
        let line = format!("ask slot:0 {LONG} until {go}");
        assert_eq!(speech.tell("slot-0", &format!("work primary do {line}")), "done");
        let asked = speech.begin("director", &line);
        speech.wait_until_heard("slot-0", |heard| heard.iter().filter(|line| *line == "asked").count() == 2);
        signal(director, Signal::SIGTERM).unwrap();
        speech.wait_for("director", "stopping");
        speech.app.wait_for_director(Some(director)).unwrap();
        speech.make("go");
        let answer = format!("Ok({go:?})");
        assert_eq!(asked.answer().unwrap(), answer, "{method}");
        std::fs::write(&end, "").unwrap();
        let is_end = |line: &String| line.starts_with("event DirectorExited");
        let heard = speech.wait_until_heard("director", |heard| heard.iter().any(is_end));
        let ended = heard.iter().find(|line| is_end(line)).unwrap();
        assert!(ended.contains(&format!("(pid {director}) stopped (exit code 0)")), "{method}: {ended}");
        assert!(heard.iter().take_while(|line| !is_end(line)).any(|line| *line == answer), "{method}");
        std::fs::remove_file(end).unwrap();
    }
}

#[test]
fn answers_for_a_director_that_is_gone_are_not_its_successors() {
    for method in METHODS {
        let speech = start(method, &["workers=1"]);
        let workers = speech.app.workers();
        let first = speech.app.wait_for_director(None).unwrap();
        // Each director counts its questions from one: what is for the first has the second's numbers.
        let ask = |count: usize, kind: &str, name: &str| -> Vec<_> {
            let line = format!("ask slot:0 {LONG} {kind} {}", speech.path(name).display());
            (0..count).map(|_| speech.begin("director", &line)).collect()
        };
        let wait_until = |count: usize, what: &str| {
            speech.wait_until_heard("slot-0", |heard| {
                heard.iter().filter(|line| *line == what).count() == count
            });
            // What has been written is routed where the answer to this one is.
            let said = speech.tell("slot-0", &format!("ask slot:0 {LONG} echo x"));
            assert_eq!(said, r#"Ok("x")"#, "{method}");
        };
        let lost = [ask(10, "big-until", "early"), ask(10, "until", "late")];
        wait_until(20, "asked");
        // More than its socket takes: the rest waits for it in the primary.
        signal(first, Signal::SIGSTOP).unwrap();
        eventually("it stands still", || is_stopped(first));
        speech.make("early");
        wait_until(10, "answers");
        signal(first, Signal::SIGKILL).unwrap();
        let second = speech.app.wait_for_director(Some(first)).unwrap();
        assert!(lost.into_iter().flatten().all(|line| line.answer().is_err()), "{method}");
        let open = ask(20, "until", "after");
        wait_until(40, "asked");
        speech.make("late");
        wait_until(20, "answers");
        speech.make("after");
        for line in open {
            let answer = format!("Ok({:?})", speech.path("after"));
            assert_eq!(line.answer().unwrap(), answer, "{method}");
        }
        assert_eq!((speech.app.workers(), speech.app.director()), (workers, Some(second)), "{method}");
        assert!(!speech.log().contains("cannot understand"), "{method}: {}", speech.log());
    }
}
