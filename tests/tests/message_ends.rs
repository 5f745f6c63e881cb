//! What was said before an end is heard, and nobody waits for who is gone.
use nix::sys::signal::Signal;

use cluster_tests::{
    METHODS, Speech, WorkerProcess, descriptors, eventually, expect, is_stopped, numbers, signal,
};

const SPEAKER: &str = env!("CARGO_BIN_EXE_speaker");

fn start(method: &str, knobs: &[&str]) -> Speech {
    Speech::start(SPEAKER, method, knobs)
}

/// Stops a process (SIGSTOP), until its threads stand still.
fn freeze(pid: u32) {
    signal(pid, Signal::SIGSTOP).unwrap();
    eventually("it stands still", || is_stopped(pid));
}

fn position(heard: &[String], start: &str) -> usize {
    heard
        .iter()
        .position(|line| line.starts_with(start))
        .unwrap_or_else(|| panic!("no {start:?} in {heard:#?}"))
}

/// Waits for the primary's end; what is left of the folder can be looked at then.
fn wait(speech: &mut Speech) -> Option<i32> {
    let status = speech.app.wait_for_primary().unwrap();
    speech.app.wait_for_no_process().unwrap();
    status.code()
}

/// Waits until the primary has routed what a process has sent so far: an answer comes behind it.
fn wait_until_routed(speech: &Speech, whom: &str, by_way_of: &str) {
    let said = speech.tell(whom, &format!("ask {by_way_of} 600000 echo routed"));
    assert_eq!(said, r#"Ok("routed")"#);
}

#[test]
fn what_workers_sent_right_before_a_stop_is_heard_by_the_primary_side() {
    for method in METHODS {
        let mut speech = start(method, &["workers=2"]);
        assert_eq!(speech.tell("slot-0", "post primary 1 1000 100"), "done", "{method}");
        assert_eq!(speech.tell("slot-1", "post primary 1 1000 100"), "done", "{method}");
        speech.app.signal(Signal::SIGTERM as i32).unwrap();
        assert_eq!(wait(&mut speech), Some(0), "{method}");
        let heard = speech.heard("director");
        (1..=2).for_each(|worker| expect(&heard, worker, 1..=1000));
    }
}

#[test]
fn what_is_on_the_way_to_a_worker_is_heard_before_it_stops() {
    for method in METHODS {
        let mut speech = start(method, &["workers=2"]);
        let receiver = speech.app.workers()[0].pid;
        // It hears all of it after the primary has begun to stop.
        freeze(receiver);
        for whom in ["director", "slot-1"] {
            assert_eq!(speech.tell(whom, "send slot:0 1 5000 100"), "done", "{method}");
            wait_until_routed(&speech, whom, "slot:1");
        }
        speech.app.signal(Signal::SIGTERM as i32).unwrap();
        speech.app.wait_for_line("stopping", 0).unwrap();
        signal(receiver, Signal::SIGCONT).unwrap();
        assert_eq!(wait(&mut speech), Some(0), "{method}");
        let heard = speech.heard("slot-0");
        ["primary", "2"].into_iter().for_each(|sender| expect(&heard, sender, 1..=5000));
    }
}

#[test]
fn what_a_worker_sends_while_it_drains_is_heard() {
    for method in METHODS {
        let mut speech = start(method, &["workers=3", "last-words=1000"]);
        speech.app.signal(Signal::SIGTERM as i32).unwrap();
        assert_eq!(wait(&mut speech), Some(0), "{method}");
        let heard = speech.heard("director");
        (1..=3).for_each(|worker| expect(&heard, worker, 1..=1000));
    }
}

#[test]
fn a_grandchild_that_has_a_worker_s_socket_and_says_nothing_costs_the_primary_nothing() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        let held = || descriptors(speech.app.pid()).unwrap().len();
        let kill = || {
            let victim = speech.app.workers()[1];
            signal(victim.pid, Signal::SIGKILL).unwrap();
            let is_next = |now: &[WorkerProcess]| now.iter().any(|worker| worker.id > victim.id);
            speech.app.wait_for_workers(is_next).unwrap();
        };
        // What is made at the first end is there before it is counted.
        kill();
        let before = held();
        let mut grandchildren = Vec::new();
        for _ in 0..5 {
            grandchildren.push(speech.tell("slot-1", "leave-child").parse::<u32>().unwrap());
            kill();
        }
        let lives = |pid: &u32| std::fs::exists(format!("/proc/{pid}/fd/0")).unwrap();
        assert!(grandchildren.iter().all(lives), "{method}: they have outlived their workers");
        eventually(&format!("{method}: {before} descriptors, and no more"), || held() <= before);
        grandchildren.into_iter().for_each(|pid| signal(pid, Signal::SIGKILL).unwrap());
    }
}

#[test]
fn the_last_words_of_a_worker_come_before_its_exit() {
    for method in METHODS {
        let speech = start(method, &["workers=2", "last-words=1000"]);
        let (first, second) = (speech.app.workers()[0].pid, speech.app.workers()[1].pid);
        signal(first, Signal::SIGTERM).unwrap();
        signal(second, Signal::SIGTERM).unwrap();
        let heard = speech.wait_until_heard("director", |heard| {
            [1, 2].iter().all(|id| heard.iter().any(|line| line.starts_with(&format!("exit {id} "))))
        });
        for worker in [1, 2] {
            let before = &heard[..position(&heard, &format!("exit {worker} "))];
            expect(before, worker, 1..=1000);
        }
    }
}

#[test]
fn what_a_worker_wrote_before_it_aborted_comes_before_its_exit() {
    for method in METHODS {
        let speech = start(method, &["workers=1"]);
        for life in 1..=10 {
            // The first of a burst is written by the call itself.
            let aborted = speech.begin("slot-0", &format!("send-and-abort primary {life} 1 100"));
            assert!(aborted.answer().is_err(), "{method}");
            let exit = format!("exit {life} ");
            let heard =
                speech.wait_until_heard("director", |heard| heard.iter().any(|line| line.starts_with(&exit)));
            let before = &heard[..position(&heard, &exit)];
            assert_eq!(numbers(before, life), [life], "{method}");
            speech.app.wait_for_workers(|now| now.iter().any(|worker| worker.id == life + 1)).unwrap();
        }
    }
}

#[test]
fn of_a_burst_before_an_abort_what_comes_is_its_beginning() {
    for method in METHODS {
        let speech = start(method, &["workers=1"]);
        let aborted = speech.begin("slot-0", "send-and-abort primary 1 5000 100");
        assert!(aborted.answer().is_err(), "{method}");
        let heard =
            speech.wait_until_heard("director", |heard| heard.iter().any(|line| line.starts_with("exit 1 ")));
        let said = numbers(&heard[..position(&heard, "exit 1 ")], 1);
        assert!(!said.is_empty(), "{method}: the first of a burst is written by the call itself");
        // Nothing is left out, and nothing comes after the exit.
        expect(&heard, 1, 1..=said.len() as u64);
    }
}

#[test]
fn a_drain_waits_for_spawned_tasks_and_for_handlers_at_work() {
    for method in METHODS {
        let mut speech = start(method, &["workers=1"]);
        let (task, handler) = (speech.path("task"), speech.path("handler"));
        assert_eq!(speech.tell("slot-0", &format!("spawn-until {}", task.display())), "done");
        assert_eq!(speech.tell("director", &format!("work slot:0 until {}", handler.display())), "done");
        assert_eq!(speech.tell("slot-0", &format!("work primary until {}", handler.display())), "done");
        speech.wait_for("slot-0", "works");
        speech.wait_for("director", "works");
        // Behind the handler at work: it has its turn, too.
        assert_eq!(speech.tell("director", "send slot:0 1 100 10"), "done");
        wait_until_routed(&speech, "director", "slot:0");
        speech.app.signal(Signal::SIGTERM as i32).unwrap();
        speech.app.wait_for_line("stopping", 0).unwrap();
        speech.make("task");
        speech.wait_for("slot-0", "the spawned task has ended");
        assert!(!speech.heard("slot-0").contains(&"worked".to_owned()), "{method}");
        speech.make("handler");
        assert_eq!(wait(&mut speech), Some(0), "{method}");
        assert!(speech.heard("slot-0").contains(&"worked".to_owned()), "{method}");
        assert!(speech.heard("director").contains(&"worked".to_owned()), "{method}");
        assert_eq!(numbers(&speech.heard("slot-0"), "primary").len(), 100, "{method}");
    }
}

#[test]
fn a_stream_ends_in_a_drain_after_all_that_was_on_the_way() {
    for method in METHODS {
        let mut speech = start(method, &["workers=2", "spawned-reader"]);
        let receiver = speech.app.workers()[0].pid;
        freeze(receiver);
        assert_eq!(speech.tell("director", "send slot:0 1 500 100"), "done");
        wait_until_routed(&speech, "director", "slot:1");
        speech.app.signal(Signal::SIGTERM as i32).unwrap();
        speech.app.wait_for_line("stopping", 0).unwrap();
        signal(receiver, Signal::SIGCONT).unwrap();
        assert_eq!(wait(&mut speech), Some(0), "{method}");
        let heard = speech.heard("slot-0");
        expect(&heard, "primary", 1..=500);
        assert_eq!(heard.last().unwrap(), "the stream has ended", "{method}");
    }
}

#[test]
fn who_waits_to_send_to_a_stopped_worker_hears_of_its_end() {
    for method in METHODS {
        let speech = start(method, &["workers=2", "never"]);
        let victim = speech.app.workers()[1].pid;
        freeze(victim);
        for whom in ["slot-0", "director"] {
            assert_eq!(speech.tell(whom, "flood worker:2 1000"), "done");
        }
        let asked = speech.begin("slot-0", "ask worker:2 600000 echo x");
        // A sender waits as soon as it is not further at two looks with an answer between.
        for whom in ["slot-0", "director"] {
            let mut last = String::new();
            eventually("it waits", || {
                let now = speech.tell(whom, "flooded");
                now == std::mem::replace(&mut last, now.clone()) && now != "0"
            });
        }
        signal(victim, Signal::SIGKILL).unwrap();
        for whom in ["slot-0", "director"] {
            speech.wait_for(whom, r#"flood ended: PeerGone { to: "worker 2" }"#);
        }
        assert_eq!(asked.answer().unwrap(), r#"Err(PeerGone { to: "worker 2" })"#, "{method}");
    }
}

#[test]
fn nobody_waits_for_a_primary_that_is_gone() {
    for method in METHODS {
        let mut speech = start(method, &["workers=3"]);
        let go = speech.path("go");
        // Handlers at work: these processes would end too soon to be heard.
        for to in ["slot:0", "slot:2"] {
            assert_eq!(speech.tell("director", &format!("work {to} until {}", go.display())), "done");
        }
        assert_eq!(speech.tell("slot-0", &format!("work primary until {}", go.display())), "done");
        ["slot-0", "slot-2", "director"].into_iter().for_each(|whom| speech.wait_for(whom, "works"));
        freeze(speech.app.workers()[1].pid);
        let mut asked = Vec::new();
        for whom in ["slot-0", "director"] {
            assert_eq!(speech.tell(whom, "flood worker:2 1000"), "done");
            asked.push(speech.begin(whom, "ask worker:2 600000 echo x"));
            let mut last = String::new();
            eventually("it waits", || {
                let now = speech.tell(whom, "flooded");
                now == std::mem::replace(&mut last, now.clone()) && now != "0"
            });
        }
        let command = speech.begin("director", "scale 2");
        speech.app.wait_for_line("draining 3", 0).unwrap();
        speech.app.signal(Signal::SIGKILL as i32).unwrap();
        for whom in ["slot-0", "director"] {
            speech.wait_for(whom, r#"flood ended: PeerGone { to: "worker 2" }"#);
        }
        for line in asked {
            assert_eq!(line.answer().unwrap(), r#"Err(PeerGone { to: "worker 2" })"#, "{method}");
        }
        assert_eq!(command.answer().unwrap(), "Gone", "{method}");
        speech.make("go");
        speech.app.wait_for_primary().unwrap();
        speech.app.wait_for_no_process().unwrap();
    }
}

#[test]
fn try_send_says_that_there_is_no_room() {
    for method in METHODS {
        let speech = start(method, &["workers=1"]);
        freeze(speech.app.wait_for_director(None).unwrap());
        let said = speech.tell("slot-0", "try 1 1000");
        let (count, error) = said.split_once(' ').unwrap();
        assert!(error.starts_with("Full { to: "), "{method}: {said}");
        assert!(count.parse::<u64>().unwrap() >= 100, "{method}: {said}");
        signal(speech.app.director().unwrap(), Signal::SIGCONT).unwrap();
        let count: usize = count.parse().unwrap();
        let heard = speech.wait_until_heard("director", |heard| numbers(heard, 1).len() >= count);
        expect(&heard, 1, 1..=count as u64);
        eventually("there is room again", || !speech.tell("slot-0", "try 1 1000").starts_with("0 "));
    }
}

#[test]
fn messages_for_a_slot_wait_for_its_next_worker() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        let victim = speech.app.workers()[1].pid;
        freeze(victim);
        // More than the victim's socket takes, less than a sender may have on the way.
        assert_eq!(speech.tell("slot-0", "send slot:1 1 5000 100"), "done", "{method}");
        assert_eq!(speech.tell("slot-0", "send worker:2 5001 10 100"), "done", "{method}");
        wait_until_routed(&speech, "slot-0", "slot:0");
        signal(victim, Signal::SIGKILL).unwrap();
        assert_eq!(speech.tell("slot-0", "send slot:1 6000 1 100"), "done", "{method}");
        let heard = speech.wait_until_heard("slot-1", |heard| numbers(heard, 1).contains(&6000));
        let said = numbers(&heard, 1);
        let (last, first) = (said[said.len() - 2], said[0]);
        assert!(first > 1 && last == 5000, "{method}: {first} to {last}, and what was for worker 2 is lost");
        expect(&heard[..heard.len() - 1], 1, first..=5000);
        speech.wait_until_heard("director", |heard| {
            heard.iter().any(|line| line.starts_with("event Undelivered 1 10 messages"))
        });
    }
}
