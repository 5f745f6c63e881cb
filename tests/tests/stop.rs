//! Stopping: what is open is finished, within bounds, and nothing is left.
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use cluster_tests::counters::Counted;
use cluster_tests::{
    METHODS, Process, SCHEDULINGS, ask, begin, connect, eventually, listen, say, signal, subject, who,
};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

#[test]
fn a_request_in_flight_gets_its_answer() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=4"])).unwrap();
        let slow = begin(&app, "slow 2000");
        app.signal(Signal::SIGTERM as i32).unwrap();
        assert!(listen(slow).unwrap().starts_with("late "), "{method}");
        let stopped = app.wait().unwrap();
        assert_eq!(stopped.code(), Some(0), "{method}");
    }
}

#[test]
fn a_term_to_all_processes_at_once_is_a_graceful_stop() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=4"])).unwrap();
        let slow = begin(&app, "slow 2000");
        for pid in app.processes() {
            // A worker may already be gone; the others count.
            let _ = signal(pid, Signal::SIGTERM);
        }
        assert!(listen(slow).unwrap().starts_with("late "), "{method}");
        let stopped = app.wait().unwrap();
        assert_eq!(stopped.code(), Some(0), "{method}");
    }
}

#[test]
fn a_worker_told_to_leave_finishes_and_is_replaced() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=1"])).unwrap();
        let slow = begin(&app, "slow 1500");
        signal(app.workers()[0].pid, Signal::SIGTERM).unwrap();
        app.wait_for_workers(|workers| workers.iter().any(|worker| worker.id == 2)).unwrap();
        assert_eq!(who(app.addr()).unwrap().id, 2, "{method}: the successor serves");
        assert_eq!(listen(slow).unwrap(), "late 1", "{method}: the other still answers");
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn clients_are_refused_as_soon_as_the_cluster_stops() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=2"])).unwrap();
        let (addr, slow) = (app.addr(), begin(&app, "slow 2000"));
        let asked = Instant::now();
        app.signal(Signal::SIGTERM as i32).unwrap();
        cluster_tests::eventually("new clients are refused", || std::net::TcpStream::connect(addr).is_err());
        assert!(asked.elapsed() < Duration::from_secs(2), "{method}: while the slow one is still served");
        assert!(listen(slow).unwrap().starts_with("late "), "{method}");
    }
}

#[test]
fn what_does_not_finish_is_killed_at_the_deadline() {
    for method in METHODS {
        // A task that waits, and a runtime that is stuck: the sentinel ends both.
        for line in ["slow 600000", "block 600000"] {
            let app = Process::start(subject(SUBJECT, method, &["workers=1", "drain=300"])).unwrap();
            let slow = say(app.addr(), line).unwrap();
            if line.starts_with("slow") {
                who(app.addr()).unwrap();
            } else {
                cluster_tests::eventually("the loop is blocked", || {
                    let stream = say(app.addr(), "who").unwrap();
                    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                    listen(stream).is_err()
                });
            }
            let stopped = app.stop().unwrap();
            assert!(listen(slow).is_err(), "{method}: {line}");
            assert_eq!(stopped.code(), Some(0), "{method}: {line}");
        }
    }
}

#[test]
fn the_second_signal_and_quit_stop_at_once() {
    for method in METHODS {
        for signals in [
            vec![Signal::SIGTERM, Signal::SIGTERM],
            vec![Signal::SIGINT, Signal::SIGINT],
            vec![Signal::SIGQUIT],
        ] {
            if cluster_tests::ignores(signals[0]) {
                continue;
            }
            let app = Process::start(subject(SUBJECT, method, &["workers=2"])).unwrap();
            let slow = begin(&app, "slow 600000");
            app.signal(signals[0] as i32).unwrap();
            if let Some(second) = signals.get(1) {
                app.wait_for_line("stopping", 0).unwrap();
                // What comes within 100 ms of the first is the first once more.
                let (pid, second) = (app.pid(), *second);
                cluster_tests::eventually("the second insists", || {
                    let _ = signal(pid, second);
                    app.processes().len() <= 1
                });
            }
            assert!(listen(slow).is_err(), "{method}: {signals:?}");
            let stopped = app.wait().unwrap();
            assert_eq!(stopped.code(), Some(0), "{method}: {signals:?}");
        }
    }
}

#[test]
fn a_stopped_worker_does_not_hold_up_a_stop_beyond_its_deadline() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=2", "drain=300"])).unwrap();
        let worker = app.workers()[0];
        signal(worker.pid, Signal::SIGSTOP).unwrap();
        cluster_tests::eventually("it has stopped", || cluster_tests::is_stopped(worker.pid));
        let stopped = app.stop().unwrap();
        assert_eq!(stopped.code(), Some(0), "{method}");
    }
}

#[test]
fn a_stop_in_the_middle_of_a_start_leaves_nothing() {
    for method in METHODS {
        for knob in ["workers=8", "factory-hangs"] {
            let app = Process::launch(subject(SUBJECT, method, &[knob])).unwrap();
            cluster_tests::eventually("it has begun", || app.processes().len() >= 2);
            assert!(app.stop().is_ok(), "{method}: {knob}");
        }
    }
}

#[test]
fn a_stop_serves_what_is_queued_before_it_refuses() {
    for method in METHODS {
        for (everybody, scheduling) in
            [false, true].into_iter().flat_map(|everybody| SCHEDULINGS.map(|one| (everybody, one)))
        {
            let knob = format!("scheduling={scheduling}");
            let app = Process::start(subject(SUBJECT, method, &["workers=2", &knob])).unwrap();
            let pids = if everybody { app.processes() } else { vec![app.pid()] };
            // Stopped processes take nothing: these wait in the queue when the signal comes.
            let workers = app.workers();
            for worker in &workers {
                signal(worker.pid, Signal::SIGSTOP).unwrap();
                cluster_tests::eventually("it has stopped", || cluster_tests::is_stopped(worker.pid));
            }
            let queued: Vec<_> = (0..20).map(|_| say(app.addr(), "who").unwrap()).collect();
            for pid in pids {
                signal(pid, Signal::SIGTERM).unwrap();
            }
            app.wait_for_line("stopping", 0).unwrap();
            for worker in &workers {
                signal(worker.pid, Signal::SIGCONT).unwrap();
            }
            for stream in queued {
                let answer = listen(stream);
                answer.unwrap_or_else(|err| panic!("{method}, {scheduling}, everybody {everybody}: {err}"));
            }
            assert!(app.wait().unwrap().success(), "{method}");
        }
    }
}

/// A connection to `subject` with the knob `greets`.
type Greeted = BufReader<TcpStream>;

/// Two connections of each of two workers, and how many it took to have them.
fn two_each(addr: SocketAddr) -> ([[Greeted; 2]; 2], u64) {
    let (mut by_worker, mut taken) = (BTreeMap::<String, Vec<Greeted>>::new(), 0);
    while by_worker.len() < 2 || by_worker.values().any(|theirs| theirs.len() < 2) {
        let mut stream = BufReader::new(connect(addr).unwrap());
        let mut worker = String::new();
        stream.read_line(&mut worker).unwrap();
        by_worker.entry(worker).or_default().push(stream);
        taken += 1;
    }
    let two = |theirs: &mut Vec<Greeted>| [theirs.remove(0), theirs.remove(0)];
    let mut by_worker = by_worker.values_mut().map(two);
    ([by_worker.next().unwrap(), by_worker.next().unwrap()], taken)
}

/// Gives a worker a long work, and one that keeps its loop busy.
fn work((theirs, blocks): ([Greeted; 2], &str)) -> [Greeted; 2] {
    let [mut long, mut blocking] = theirs;
    writeln!(long.get_mut(), "slow 2000").unwrap();
    writeln!(blocking.get_mut(), "{blocks}").unwrap();
    [long, blocking]
}

#[test]
fn a_stop_serves_what_was_offered_to_workers_that_were_busy() {
    for scheduling in ["round-robin", "least"] {
        let knob = format!("scheduling={scheduling}");
        let cluster = Counted::start(SUBJECT, "fork", &["workers=2", "greets", &knob]);
        let addr = cluster.app.addr();
        let (by_worker, taken) = two_each(addr);
        eventually("nobody is offered anything", || cluster.sum(|counts| counts.claimed) == taken);
        let before = cluster.sum(|counts| counts.offered);
        // One is there for the others, and does not leave before them.
        let busy: Vec<_> = by_worker.into_iter().zip(["block 500", "block 1500"]).flat_map(work).collect();
        let offered: Vec<_> = (0..20).map(|_| say(addr, "who").unwrap()).collect();
        eventually("all are offered", || cluster.sum(|counts| counts.offered) >= before + 20);
        cluster.app.signal(Signal::SIGTERM as i32).unwrap();
        for (number, stream) in offered.into_iter().enumerate() {
            let said = listen(stream).unwrap_or_else(|err| panic!("{scheduling}: {number}: {err}"));
            assert_eq!(said.lines().count(), 2, "{scheduling}: {number}: a greeting and an answer: {said}");
        }
        busy.into_iter().for_each(|stream| assert!(listen(stream).is_ok()));
        assert!(cluster.app.wait().unwrap().success(), "{scheduling}");
    }
}

#[test]
fn a_blocking_task_holds_up_neither_a_stop_nor_the_end_of_a_program() {
    // The fork method; with `.await` the runtime is the user's, who decides what its end waits for.
    let app =
        Process::start(subject(SUBJECT, "fork", &["workers=1", "blocking-task", "drain=600000"])).unwrap();
    assert!(app.stop().unwrap().success(), "a minute is the most that a stop may take here");
    let knobs = ["workers=1", "never", "blocking-task", "returns", "drain=600000"];
    let app = Process::launch(subject(SUBJECT, "fork", &knobs)).unwrap();
    assert!(app.wait().unwrap().success(), "its program has done its work");
}

#[test]
fn times_without_end_are_no_overflow() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=2", "for-ever"])).unwrap();
        let slow = begin(&app, "slow 300");
        assert!(app.stop().unwrap().success(), "{method}");
        assert!(listen(slow).unwrap().starts_with("late "), "{method}");
    }
}

#[test]
fn a_cluster_whose_future_is_dropped_stops() {
    let flag = std::env::temp_dir().join(format!("cluster-drop-{}", std::process::id()));
    let knob = format!("drop-when={}", flag.display());
    let mut app = Process::start(subject(SUBJECT, "await", &["workers=2", &knob])).unwrap();
    std::fs::write(&flag, "").unwrap();
    assert!(app.wait_for_primary().unwrap().success());
    app.wait_for_no_process().unwrap();
    std::fs::remove_file(flag).unwrap();
}

#[test]
fn invariant_3_at_the_end_nothing_is_left_of_what_workers_have_started() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=2"])).unwrap();
        // So many that they are not dead as soon as they are killed.
        (0..50).for_each(|_| drop(ask(app.addr(), "stray 600").unwrap()));
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn output_of_a_worker_is_complete_when_it_leaves() {
    let app = Process::start(subject(SUBJECT, "fork", &["workers=1"])).unwrap();
    assert_eq!(ask(app.addr(), "stderr before the end").unwrap(), "said");
    assert!(app.stop().unwrap().success());
}
