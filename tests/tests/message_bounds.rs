//! Whoever does not listen costs the primary little memory, and others nothing.
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use cluster_tests::{METHODS, Speech, eventually, expect, is_stopped, numbers, processor_time, signal};

const SPEAKER: &str = env!("CARGO_BIN_EXE_speaker");
/// What the primary may have for itself, in KiB.
const MOST: u64 = 64 << 10;

fn start(method: &str, knobs: &[&str]) -> Speech {
    Speech::start(SPEAKER, method, knobs)
}

fn freeze(pid: u32) {
    signal(pid, Signal::SIGSTOP).unwrap();
    eventually("it stands still", || is_stopped(pid));
}

/// Waits until who floods waits for room: two looks with an answer between show the same number.
fn wait_until_full(speech: &Speech, flooders: &[&str]) {
    for whom in flooders {
        let mut last = String::new();
        eventually("it waits for room", || {
            let now = speech.tell(whom, "flooded");
            now == std::mem::replace(&mut last, now.clone()) && now != "0"
        });
    }
}

/// Checks the memory that is the primary's alone.
fn check_memory(speech: &Speech, what: &str) {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", speech.app.pid())).unwrap();
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    let kib: u64 = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum();
    println!("{what}: the primary has {kib} KiB of private memory");
    assert!(kib > 0 && kib < MOST, "{what}: {kib} KiB");
}

fn flooded(speech: &Speech, whom: &str) -> u64 {
    speech.tell(whom, "flooded").parse().unwrap()
}

#[test]
fn a_stopped_worker_that_is_flooded_costs_little_and_harms_nobody() {
    const FLOODERS: [&str; 3] = ["slot-0", "slot-1", "slot-2"];
    for method in METHODS {
        let speech = start(method, &["workers=4"]);
        let victim = speech.app.workers()[3].pid;
        freeze(victim);
        FLOODERS.iter().for_each(|whom| assert_eq!(speech.tell(whom, "flood slot:3 1000"), "done"));
        wait_until_full(&speech, &FLOODERS);
        check_memory(&speech, &format!("{method}: three flood one that is stopped"));

        // More than it may have on the way: it is missed, and the others hear all.
        let mut last = String::new();
        for batch in 0..30 {
            last = speech.tell("slot-0", &format!("broadcast {} 100 1000", batch * 100 + 1));
            for whom in ["slot-1", "slot-2"] {
                speech.wait_until_heard(whom, |heard| numbers(heard, 1).len() as u64 == (batch + 1) * 100);
            }
        }
        assert_eq!(last, "reached 2, missed 100", "{method}: each of the last 100 misses one");
        assert_eq!(speech.tell("slot-1", "send slot:2 1 100 100"), "done", "{method}");
        assert_eq!(speech.tell("slot-2", "send primary 1 100 100"), "done", "{method}");
        speech.wait_until_heard("slot-2", |heard| numbers(heard, 2).len() == 100);
        speech.wait_until_heard("director", |heard| numbers(heard, 3).len() == 100);
        check_memory(&speech, &format!("{method}: and broadcasts miss it"));

        let before: Vec<_> = FLOODERS.iter().map(|whom| flooded(&speech, whom)).collect();
        signal(victim, Signal::SIGCONT).unwrap();
        for (whom, before) in FLOODERS.iter().zip(before) {
            eventually("it goes on", || flooded(&speech, whom) > before + 2000);
        }
        check_memory(&speech, &format!("{method}: it goes on"));
    }
}

#[test]
fn what_a_stopped_worker_misses_of_what_is_sent_to_everyone_is_told() {
    for method in METHODS {
        let speech = start(method, &["workers=3"]);
        let victim = speech.app.workers()[2].pid;
        freeze(victim);
        // More than its socket takes and may be on the way to it; nobody waits for it.
        for batch in 0..30 {
            let said = speech.tell("slot-0", &format!("send everyone {} 100 1000", batch * 100 + 1));
            assert_eq!(said, "done", "{method}");
            for whom in ["slot-0", "slot-1"] {
                speech.wait_until_heard(whom, |heard| numbers(heard, 1).len() as u64 == (batch + 1) * 100);
            }
        }
        const WHY: &str = "a worker that it was for has not taken enough of earlier ones to have room for it";
        let told = |heard: &[String]| -> Vec<u64> {
            let lines = heard.iter().filter_map(|line| line.strip_prefix("event Undelivered 1 "));
            let ours =
                lines.filter(|line| line.ends_with(WHY) && line.contains("of type `Said` from worker 1"));
            ours.filter_map(|line| line.split(' ').next()?.parse().ok()).collect()
        };
        // Each power of ten that the count has passed.
        let heard =
            speech.wait_until_heard("director", |heard| told(heard).last().is_some_and(|all| *all >= 1000));
        println!("{method}: told so far: {:?}", told(&heard));
        signal(victim, Signal::SIGCONT).unwrap();
        assert_eq!(speech.tell("slot-1", "send slot:2 1 1 100"), "done", "{method}");
        let heard = speech.wait_until_heard("slot-2", |heard| numbers(heard, 2) == [1]);
        let kept = numbers(&heard, 1);
        println!("{method}: it has heard {} of 3000", kept.len());
        assert!(kept.len() > 100 && kept.len() < 2900, "{method}: {}", kept.len());
        assert!(kept.is_sorted(), "{method}");
    }
}

/// What some processes use of a processor in a second, in ticks of 10 ms.
fn ticks_of_a_second(pids: &[u32]) -> u64 {
    let now = || pids.iter().map(|pid| processor_time(*pid)).sum::<u64>();
    let before = now();
    std::thread::sleep(Duration::from_secs(1));
    now() - before
}

#[test]
fn who_waits_for_room_uses_next_to_no_processor_time() {
    const FLOODERS: usize = 50;
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        let [sender, victim] = speech.app.workers()[..] else { panic!("there are two") };
        freeze(victim.pid);
        // By both of its names: one waits for room in a window, and all others behind it.
        for line in ["flood slot:1 1000", "flood worker:2 1000"].repeat(FLOODERS) {
            assert_eq!(speech.tell("slot-0", line), "done", "{method}");
        }
        wait_until_full(&speech, &["slot-0"]);
        let ticks = ticks_of_a_second(&[sender.pid, speech.app.pid()]);
        println!("{method}: {} that wait use {ticks} ticks in a second", 2 * FLOODERS);
        assert!(ticks <= 10, "{method}: {ticks} ticks");
    }
}

#[test]
fn a_stopped_worker_that_is_killed_lets_its_successor_take_the_flood() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        let victim = speech.app.workers()[1].pid;
        freeze(victim);
        assert_eq!(speech.tell("slot-0", "flood slot:1 1000"), "done");
        wait_until_full(&speech, &["slot-0"]);
        let before = flooded(&speech, "slot-0");
        signal(victim, Signal::SIGKILL).unwrap();
        eventually("it goes on", || flooded(&speech, "slot-0") > before + 2000);
        check_memory(&speech, method);
    }
}

#[test]
fn a_director_that_blocks_for_ever_costs_little_and_harms_nobody() {
    const FLOODERS: [&str; 3] = ["slot-0", "slot-1", "slot-2"];
    for method in METHODS {
        let speech = start(method, &["workers=3", "hang=off"]);
        let director = speech.app.wait_for_director(None).unwrap();
        assert_eq!(speech.tell("slot-0", "work primary block"), "done");
        speech.wait_for("director", "works");
        FLOODERS.iter().for_each(|whom| assert_eq!(speech.tell(whom, "flood primary 1000"), "done"));
        wait_until_full(&speech, &FLOODERS);
        check_memory(&speech, &format!("{method}: three flood a director that blocks"));
        for whom in FLOODERS {
            let said = speech.tell(whom, "try 1 1000");
            assert!(said.starts_with("0 Full { to: "), "{method}: {said}");
        }
        assert_eq!(speech.tell("slot-0", "send slot:1 1 1000 100"), "done", "{method}");
        speech.wait_until_heard("slot-1", |heard| numbers(heard, 1).len() == 1000);

        signal(director, Signal::SIGKILL).unwrap();
        speech.app.wait_for_director(Some(director)).unwrap();
        for whom in FLOODERS {
            let before = flooded(&speech, whom);
            eventually("it goes on", || flooded(&speech, whom) > before + 2000);
        }
        check_memory(&speech, &format!("{method}: it goes on with another"));
    }
}

#[test]
fn a_handler_that_never_returns_is_not_given_more_than_its_senders_may_have_on_the_way() {
    for method in METHODS {
        let speech = start(method, &["workers=2"]);
        let director = speech.app.wait_for_director(None).unwrap();
        for whom in ["slot-0", "slot-1"] {
            assert_eq!(speech.tell(whom, "flood-work primary 1000"), "done");
        }
        wait_until_full(&speech, &["slot-0", "slot-1"]);
        check_memory(&speech, method);
        let resident = cluster_tests::status_field(director, "VmRSS").unwrap();
        assert!(resident < MOST, "{method}: the director has {resident} KiB");
        // Its other handlers are at work.
        let said = speech.tell("slot-0", "ask primary 600000 echo still there");
        assert_eq!(said, r#"Ok("still there")"#, "{method}");
    }
}

#[test]
fn a_worker_drains_while_it_is_flooded() {
    for method in METHODS {
        let speech = start(method, &["workers=4", "last-words=100"]);
        for whom in ["slot-0", "slot-1", "slot-2"] {
            assert_eq!(speech.tell(whom, "flood slot:3 1000"), "done");
            eventually("it floods", || flooded(&speech, whom) > 1000);
        }
        let worker = speech.app.workers()[3];
        signal(worker.pid, Signal::SIGTERM).unwrap();
        let heard = speech.wait_until_heard("director", |heard| {
            heard.iter().any(|line| line.starts_with("exit 4 Stopped code Some(0)"))
        });
        assert_eq!(numbers(&heard, 4).len(), 100, "{method}: its last words");
        let before = flooded(&speech, "slot-0");
        eventually("its successor is flooded now", || flooded(&speech, "slot-0") > before + 1000);
        check_memory(&speech, method);
    }
}

#[test]
fn a_place_whose_workers_never_last_costs_little_and_harms_nobody_while_it_is_flooded() {
    const FLOODERS: [&str; 3] = ["slot-0", "slot-1", "slot-2"];
    for method in METHODS {
        let speech = start(method, &["workers=4"]);
        speech.make("slot-3.trap");
        signal(speech.app.workers()[3].pid, Signal::SIGKILL).unwrap();
        FLOODERS.iter().for_each(|whom| assert_eq!(speech.tell(whom, "flood slot:3 1000"), "done"));
        // Each end would free the senders' windows, and what waits for the place is more each time.
        let mut seen = 0;
        for _ in 0..60 {
            seen = speech.app.wait_for_line("exited ", seen).unwrap();
        }
        check_memory(&speech, &format!("{method}: three flood a place whose workers never last"));
        assert_eq!(speech.tell("slot-0", "send slot:1 1 1000 100"), "done", "{method}");
        speech.wait_until_heard("slot-1", |heard| numbers(heard, 1).len() == 1000);
        let said = speech.tell("slot-1", "ask primary 600000 echo still there");
        assert_eq!(said, r#"Ok("still there")"#, "{method}");
        std::fs::remove_file(speech.path("slot-3.trap")).unwrap();
        speech.wait_until_heard("slot-3", |heard| !numbers(heard, 1).is_empty());
    }
}

/// Twelve workers, the last two of which have stopped and are flooded by all others, under each of their names:
/// by more than may wait for all who are stuck.
fn flood_two_of_twelve(method: &str, knobs: &[&str]) -> (Speech, [u32; 2]) {
    let speech = start(method, &[&["workers=12"], knobs].concat());
    let workers = speech.app.workers();
    let stuck = [workers[10].pid, workers[11].pid];
    stuck.into_iter().for_each(freeze);
    for slot in 0..10 {
        for to in ["slot:10", "worker:11", "slot:11", "worker:12"] {
            assert_eq!(speech.tell(&format!("slot-{slot}"), &format!("flood {to} 1000")), "done");
        }
    }
    speech.wait_until_heard("director", |heard| {
        heard.iter().any(|line| {
            line.starts_with("event Undelivered")
                && line.contains("it takes nothing, and as much as may wait for it does")
        })
    });
    (speech, stuck)
}

/// Has each of the ten others tell its neighbour something.
fn go_round(speech: &Speech, first: u64) {
    for slot in 0..10 {
        let said =
            speech.tell(&format!("slot-{slot}"), &format!("send slot:{} {first} 100 100", (slot + 1) % 10));
        assert_eq!(said, "done");
    }
    for slot in 0..10 {
        let neighbour = (slot + 9) % 10 + 1;
        let all = first + 99;
        let heard = speech
            .wait_until_heard(&format!("slot-{slot}"), |heard| numbers(heard, neighbour).len() as u64 >= all);
        expect(&heard, neighbour, 1..=all);
    }
}

#[test]
fn two_who_are_stopped_and_flooded_by_all_keep_nobody_from_the_others_nor_the_cluster_from_its_end() {
    for method in METHODS {
        let (mut speech, stuck) = flood_two_of_twelve(method, &[]);
        (0..5).for_each(|round| go_round(&speech, 100 * round + 1));
        check_memory(&speech, &format!("{method}: ten flood two"));
        stuck.into_iter().for_each(|pid| signal(pid, Signal::SIGCONT).unwrap());
        speech.app.signal(Signal::SIGTERM as i32).unwrap();
        assert!(speech.app.wait_for_primary().unwrap().success(), "{method}");
        speech.app.wait_for_no_process().unwrap();
    }
}

#[test]
fn a_cluster_whose_stopped_workers_are_flooded_ends_at_its_drain_deadline() {
    const DRAIN: Duration = Duration::from_millis(1000);
    for method in METHODS {
        let (mut speech, _) = flood_two_of_twelve(method, &[&format!("drain={}", DRAIN.as_millis())]);
        go_round(&speech, 1);
        let asked = Instant::now();
        speech.app.signal(Signal::SIGTERM as i32).unwrap();
        assert!(speech.app.wait_for_primary().unwrap().success(), "{method}");
        let took = asked.elapsed();
        assert!(took >= DRAIN && took < DRAIN + Duration::from_secs(9), "{method}: {took:?}");
        speech.app.wait_for_no_process().unwrap();
    }
}

#[test]
fn a_worker_out_of_descriptors_misses_a_large_message_and_lives_on() {
    for method in METHODS {
        let speech = start(method, &["workers=3"]);
        let workers = speech.app.workers();
        let burnt = speech.begin("slot-1", &format!("burn-until {}", speech.path("go").display()));
        speech.wait_for("slot-1", "no descriptors");
        assert_eq!(speech.tell("slot-0", "broadcast 1 1 300000"), "reached 2, missed 0", "{method}");
        assert_eq!(speech.tell("slot-0", "broadcast 2 100 100"), "reached 2, missed 0", "{method}");
        let heard = speech.wait_until_heard("slot-1", |heard| numbers(heard, 1).len() >= 100);
        expect(&heard, 1, 2..=101);
        let heard = speech.wait_until_heard("director", |heard| {
            heard.iter().any(|line| line.starts_with("event Undelivered 1 "))
        });
        let told = heard.iter().find(|line| line.starts_with("event Undelivered")).unwrap();
        assert!(told.contains("1 message of type `Said` from worker 1 did not arrive"), "{method}: {told}");
        assert!(told.ends_with("its parcel could not be opened"), "{method}: {told}");

        speech.make("go");
        assert_eq!(burnt.answer().unwrap(), "done", "{method}");
        assert_eq!(speech.tell("slot-0", "broadcast 102 1 300000"), "reached 2, missed 0", "{method}");
        for (whom, first) in [("slot-1", 2), ("slot-2", 1)] {
            let heard = speech.wait_until_heard(whom, |heard| numbers(heard, 1).contains(&102));
            expect(&heard, 1, first..=102);
        }
        assert_eq!(speech.app.workers(), workers, "{method}: nobody is replaced");
    }
}
