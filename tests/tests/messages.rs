//! What is said is heard: once, whole, in order, and of the type that was meant.
use nix::sys::signal::Signal;

use cluster_tests::{METHODS, Speech, numbers, signal};

const SPEAKER: &str = env!("CARGO_BIN_EXE_speaker");

fn start(method: &str, knobs: &[&str]) -> Speech {
    Speech::start(SPEAKER, method, knobs)
}

/// Waits until so many messages of one sender have come, and checks that they are 1, 2, 3 ..
fn expect_all(speech: &Speech, whom: &str, sender: &str, count: u64) {
    let heard = speech.wait_until_heard(whom, |heard| {
        numbers(heard, sender).len() as u64 >= count && count > 0 || count == 0
    });
    let expected: Vec<u64> = (1..=count).collect();
    assert_eq!(numbers(&heard, sender), expected, "{whom} of {sender}");
}

#[test]
fn each_pair_hears_each_other_in_order_and_once() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        let lines = [
            ("slot-0", "send primary 1 1000 50"),
            ("slot-1", "send primary 1 1000 50"),
            ("director", "send slot:0 1 1000 50"),
            ("director", "send worker:2 1 1000 50"),
            ("slot-0", "send slot:1 1 1000 50"),
            ("slot-1", "send worker:1 1 1000 50"),
        ];
        let all: Vec<_> = lines.iter().map(|(whom, line)| speech.begin(whom, line)).collect();
        all.into_iter().for_each(|line| assert_eq!(line.answer().unwrap(), "done", "{method}"));
        for (whom, sender) in [
            ("director", "1"),
            ("director", "2"),
            ("slot-0", "primary"),
            ("slot-1", "primary"),
            ("slot-1", "1"),
            ("slot-0", "2"),
        ] {
            expect_all(&speech, whom, sender, 1000);
        }
        assert!(speech.app.signal(Signal::SIGTERM as i32).is_ok());
    }
}

#[test]
fn a_handler_may_answer_its_sender_whoever_that_is() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        for (whom, to) in
            [("slot-0", "slot:1"), ("slot-1", "worker:1"), ("director", "slot:1"), ("slot-0", "primary")]
        {
            assert_eq!(speech.tell(whom, &format!("work {to} say-back")), "done", "{method}: {whom}");
        }
        expect_all(&speech, "slot-1", "1", 1);
        expect_all(&speech, "director", "2", 1);
        for sender in ["2", "primary"] {
            expect_all(&speech, "slot-0", sender, 1);
        }
        assert_eq!(speech.tell("slot-1", "work primary ask-back"), "done", "{method}");
        let pid = speech.app.workers()[1].pid;
        speech.wait_for("director", &format!("Ok(\"{pid}\"), known true, pid {pid}, slot 1"));
    }
}

#[test]
fn broadcasts_of_several_at_once_reach_all_in_order_and_once() {
    for method in METHODS {
        let speech = start(method, &["workers=3"]);
        let all: Vec<_> = ["slot-0", "slot-1", "slot-2", "director"]
            .into_iter()
            .map(|whom| (whom, speech.begin(whom, "broadcast 1 300 50")))
            .collect();
        for (whom, line) in all {
            let reached = if whom == "director" { 3 } else { 2 };
            assert_eq!(line.answer().unwrap(), format!("reached {reached}, missed 0"), "{method}: {whom}");
        }
        for slot in 0..3 {
            for sender in ["1", "2", "3", "primary"] {
                let count = if sender == (slot + 1).to_string() { 0 } else { 300 };
                expect_all(&speech, &format!("slot-{slot}"), sender, count);
            }
        }
    }
}

#[test]
fn what_is_sent_to_everyone_comes_to_the_sender_too() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        assert_eq!(speech.tell("slot-0", "send everyone 1 10 50"), "done");
        assert_eq!(speech.tell("slot-0", "send worker:1 11 10 50"), "done", "a worker may send to itself");
        assert_eq!(speech.tell("slot-0", "send others 11 10 50"), "done");
        expect_all(&speech, "slot-0", "1", 20);
        expect_all(&speech, "slot-1", "1", 20);
        assert!(numbers(&speech.heard("director"), 1).is_empty(), "{method}: it is no worker");
    }
}

#[test]
fn any_number_of_handlers_hear_each_message_and_one_that_is_slow_holds_up_no_other() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        speech.make("at-once");
        for (whom, path) in [("slot-1", "at-once"), ("slot-1", "late"), ("slot-1", "at-once")] {
            let line = format!("listen-again {}", speech.path(path).display());
            assert_eq!(speech.tell(whom, &line), "done", "{method}");
        }
        assert_eq!(speech.tell("slot-0", "send slot:1 1 100 50"), "done", "{method}");
        let again = |heard: &[String]| -> Vec<String> {
            heard.iter().filter(|line| line.starts_with("again ")).cloned().collect()
        };
        let heard = speech.wait_until_heard("slot-1", |heard| again(heard).len() >= 200);
        let each = |times: usize| -> Vec<String> {
            let number = |number| std::iter::repeat_n(format!("again {number} 50 whole"), times);
            (1..=100).flat_map(number).collect()
        };
        let sorted = |heard: &[String]| {
            let mut again = again(heard);
            again.sort_by_key(|line| line.split(' ').nth(1).and_then(|number| number.parse::<u64>().ok()));
            again
        };
        assert_eq!(sorted(&heard), each(2), "{method}: two of three have heard all");
        expect_all(&speech, "slot-1", "1", 100);
        speech.make("late");
        let heard = speech.wait_until_heard("slot-1", |heard| again(heard).len() >= 300);
        assert_eq!(sorted(&heard), each(3), "{method}");
        assert_eq!(again(&heard)[200..], each(1), "{method}: one at a time, in order");
    }
}

#[test]
fn messages_of_all_sizes_arrive_whole_and_in_order() {
    // Around the length where a body leaves the stream, and up to the most that there may be.
    let around = (64 << 10) - 60..(64 << 10) + 8;
    let large = [1 << 20, 8 << 20, 63 << 20, 1];
    let sizes: Vec<usize> = around.chain(large).collect();
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        for whom in ["slot:1", "primary"] {
            for (at, size) in sizes.iter().enumerate() {
                // A small one after each: it must not overtake.
                let number = 2 * at + 1;
                assert_eq!(
                    speech.tell("slot-0", &format!("send {whom} {number} 1 {size}")),
                    "done",
                    "{method}"
                );
                assert_eq!(
                    speech.tell("slot-0", &format!("send {whom} {} 1 9", number + 1)),
                    "done",
                    "{method}"
                );
            }
        }
        expect_all(&speech, "slot-1", "1", 2 * sizes.len() as u64);
        expect_all(&speech, "director", "1", 2 * sizes.len() as u64);
    }
}

#[test]
fn a_message_over_the_limit_is_an_error_that_names_both_sizes() {
    let speech = start("fork", &["workers=1"]);
    let said = speech.tell("slot-0", "odd huge primary");
    assert!(said.starts_with("TooLarge { type_name: \"Said\", size: 67108"), "{said}");
    assert!(said.ends_with("limit: 67108864 }"), "{said}");
    assert_eq!(speech.tell("slot-0", "send primary 1 1 10"), "done", "and nothing else is lost");
    expect_all(&speech, "director", "1", 1);
}

#[test]
fn types_that_describe_themselves_are_refused_when_sent_and_arrive_as_json() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        // What is left out is known only when it is.
        for (kind, error) in [
            ("flatten", "Unsupported("),
            ("tag", "Unsupported("),
            ("value", "Unsupported("),
            ("skip", "Encode {"),
        ] {
            for (whom, to) in [("slot-0", "slot:1"), ("slot-0", "primary"), ("director", "slot:0")] {
                let said = speech.tell(whom, &format!("odd {kind} {to}"));
                assert!(said.starts_with(error), "{method}: {kind}: {said}");
                assert!(said.contains("Json<"), "{method}: {kind}: {said}");
            }
        }
        assert_eq!(speech.tell("slot-0", "odd json slot:1"), "done");
        speech.wait_for("slot-1", "json Flat { id: 1, rest: {\"more\": 2} }");
    }
}

#[test]
fn types_that_describe_themselves_are_refused_by_the_builder() {
    for method in METHODS {
        for kind in ["flatten", "tag", "value"] {
            let speech = Speech::launch(SPEAKER, method, &["workers=1", &format!("bad={kind}")]);
            let (pid, log) = (speech.app.pid(), || speech.log());
            cluster_tests::eventually("it ends", || {
                log().contains("Json<") && speech.app.processes().len() <= 1
            });
            assert!(log().contains("cannot be"), "{method}: {kind}: pid {pid}: {}", log());
            assert!(!speech.path("slot-0").exists(), "{method}: no worker was born");
        }
    }
}

#[test]
fn types_that_describe_themselves_are_refused_by_a_worker_which_says_why() {
    for method in METHODS {
        for kind in ["flatten", "tag", "value"] {
            let speech =
                Speech::launch(SPEAKER, method, &["workers=1", "never", &format!("worker-bad={kind}")]);
            let is_told = |line: &String| {
                line.starts_with("exit 1 BootFailed")
                    && line.contains("on_message: ")
                    && line.contains("Json<")
            };
            speech.wait_until_heard("director", |heard| heard.iter().any(is_told));
        }
    }
}

#[test]
fn another_layout_is_not_delivered_and_the_primary_side_is_told() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        assert_eq!(speech.tell("slot-0", "odd order slot:1"), "done");
        let heard = speech.wait_until_heard("director", |heard| {
            heard.iter().any(|line| line.starts_with("event Undelivered 1 "))
        });
        let told = heard.iter().find(|line| line.starts_with("event Undelivered")).unwrap();
        assert!(told.contains("1 message of type `Order` from worker 1 did not arrive"), "{method}: {told}");
        assert!(told.contains(" bytes): its fields are others here"), "{method}: {told}");
        assert_eq!(speech.tell("slot-0", "send slot:1 1 1 10"), "done");
        expect_all(&speech, "slot-1", "1", 1);
        assert!(!speech.heard("slot-1").iter().any(|line| line.starts_with("order")), "{method}: decoded");
    }
}

#[test]
fn early_messages_wait_for_their_first_handler() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        assert_eq!(speech.tell("slot-0", "late slot:1 1 1000 10"), "done");
        assert_eq!(speech.tell("slot-0", "send slot:1 1 1 10"), "done");
        // Behind all of them, so they have come.
        expect_all(&speech, "slot-1", "1", 1);
        assert_eq!(speech.tell("slot-1", "listen-late"), "done");
        assert_eq!(speech.tell("slot-0", "late slot:1 1001 1 10"), "done");
        let expected: Vec<_> = (1..=1001).map(|number| format!("late {number} 10")).collect();
        let late = |heard: &[String]| -> Vec<String> {
            heard.iter().filter(|line| line.starts_with("late")).cloned().collect()
        };
        let heard = speech.wait_until_heard("slot-1", |heard| late(heard).len() >= 1001);
        assert_eq!(late(&heard), expected, "{method}");
    }
}

#[test]
fn of_too_many_early_messages_the_rest_is_counted() {
    // (messages, bytes of each, most that may be kept)
    for (count, size, most) in [(3000, 10, 1024), (30, 60_000, 17)] {
        let speech = start("fork", &["workers=2"]);
        assert_eq!(speech.tell("slot-0", &format!("late slot:1 1 {count} {size}")), "done");
        assert_eq!(speech.tell("slot-0", "send slot:1 1 1 10"), "done");
        expect_all(&speech, "slot-1", "1", 1);
        assert_eq!(speech.tell("slot-1", "listen-late"), "done");
        let is_late = |line: &&String| line.starts_with("late");
        let heard = speech.wait_until_heard("slot-1", |heard| heard.iter().filter(is_late).count() >= most);
        let kept = heard.iter().filter(is_late).count();
        assert_eq!(kept, most, "of {size} bytes each");
        let told = |heard: &[String]| -> Vec<u64> {
            let told = heard.iter().filter(|line| line.starts_with("event Undelivered 1 "));
            told.filter_map(|line| line.split(' ').nth(3)?.parse().ok()).collect()
        };
        // The first, the tenth ... of what was too much.
        let expected: Vec<u64> =
            (0..4).map(|n| 10_u64.pow(n)).filter(|n| *n <= (count - most) as u64).collect();
        let heard = speech.wait_until_heard("director", |heard| told(heard).len() >= expected.len());
        assert_eq!(told(&heard), expected);
    }
}

#[test]
fn a_worker_killed_in_the_middle_costs_others_nothing() {
    for method in METHODS {
        let speech = start(method, &["workers=3"]);
        let victim = speech.app.workers()[2].pid;
        assert_eq!(speech.tell("slot-0", "flood slot:2 100"), "done");
        let line = speech.begin("slot-0", "send slot:1 1 2000 100");
        signal(victim, Signal::SIGKILL).unwrap();
        assert_eq!(line.answer().unwrap(), "done", "{method}");
        expect_all(&speech, "slot-1", "1", 2000);
        speech.app.wait_for_workers(|now| now.iter().any(|worker| worker.id == 4)).unwrap();
        assert_eq!(
            speech.tell("slot-1", "send worker:3 1 1 10"),
            "PeerGone { to: \"worker 3\" }",
            "{method}"
        );
        assert_eq!(speech.tell("slot-1", "send slot:2 1 1 10"), "done", "{method}: its successor");
        expect_all(&speech, "slot-2", "2", 1);
    }
}

#[test]
fn what_comes_between_two_streams_waits_for_the_second() {
    for method in METHODS {
        let speech = start(method, &["workers=2", "takes"]);
        // Each round has a stream of its own, as a handler of requests makes one.
        for round in 0..5 {
            let first = 100 * round + 1;
            assert_eq!(speech.tell("slot-0", &format!("send slot:1 {first} 100 100")), "done");
            // An answer comes behind what was sent before the question.
            let said = speech.tell("slot-0", "ask slot:1 600000 echo they have come");
            assert_eq!(said, r#"Ok("they have come")"#, "{method}");
            assert_eq!(speech.heard("slot-1").len() as u64, 100 * round, "{method}: nobody listens");
            assert_eq!(speech.tell("slot-1", "take 100"), "done", "{method}");
            expect_all(&speech, "slot-1", "1", 100 * (round + 1));
        }
        // And where one waits already when they come.
        let taking = speech.begin("slot-1", "take 1");
        assert_eq!(speech.tell("slot-0", "send slot:1 501 1 100"), "done");
        assert_eq!(taking.answer().unwrap(), "done", "{method}");
        expect_all(&speech, "slot-1", "1", 501);
    }
}

#[test]
fn a_stream_for_each_of_many_that_have_come_loses_none() {
    for method in METHODS {
        let speech = start(method, &["workers=2", "takes"]);
        // A stream for each, as a handler of requests makes one: first for what has come before there was any.
        for last in [10, 20, 30] {
            assert_eq!(speech.tell("slot-0", &format!("send slot:1 {} 10 100", last - 9)), "done");
            // An answer comes behind what was sent before the question.
            let said = speech.tell("slot-0", "ask slot:1 600000 echo they have come");
            assert_eq!(said, r#"Ok("they have come")"#, "{method}");
            assert_eq!(
                numbers(&speech.heard("slot-1"), "1").len() as u64,
                last - 10,
                "{method}: nobody listens"
            );
            assert_eq!(speech.tell("slot-1", "take-each 10"), "done", "{method}");
            expect_all(&speech, "slot-1", "1", last);
        }
    }
}

#[test]
fn a_stream_that_is_made_for_each_message_between_other_things_loses_none() {
    for method in METHODS {
        let speech = start(method, &["workers=2", "takes"]);
        let taking = speech.begin("slot-1", "take-between 300");
        // One at a time: they come at any moment of its course.
        for number in 1..=300 {
            assert_eq!(speech.tell("slot-0", &format!("send slot:1 {number} 1 100")), "done", "{method}");
            speech.wait_until_heard("slot-1", |heard| numbers(heard, "1").len() as u64 >= number);
        }
        assert_eq!(taking.answer().unwrap(), "done", "{method}");
        expect_all(&speech, "slot-1", "1", 300);
    }
}
