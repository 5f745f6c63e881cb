//! Every question has an end: its answer, or the reason why there is none.
use nix::sys::signal::Signal;

use cluster_tests::{METHODS, Speech, signal};

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
        if let [worker] = speech.app.workers()[..] {
            assert_eq!(worker.slot, 0, "{method}");
            let said = speech.tell("slot-0", &format!("ask slot:1 {LONG} echo x"));
            assert_eq!(said, r#"Err(PeerGone { to: "the worker of slot 1" })"#, "{method}");
        } else {
            panic!("{method}: slot 1 is empty: {:?}", speech.app.workers());
        }
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
        cluster_tests::eventually("it takes no questions", || {
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
