//! A worker that ends, however it ends, costs what it was serving and nothing else.
use nix::sys::signal::Signal;

use cluster_tests::{METHODS, Process, ask, signal, subject, who};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

#[test]
fn a_killed_worker_is_replaced_in_its_slot_and_no_new_connection_fails() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=4"])).unwrap();
        let victim = app.workers()[2];
        signal(victim.pid, Signal::SIGKILL).unwrap();
        for request in 0..1000 {
            who(app.addr()).unwrap_or_else(|err| panic!("{method}: request {request}: {err}"));
        }
        let workers = app.wait_for_workers(|workers| workers.len() == 4).unwrap();
        assert_eq!((workers[2].slot, workers[2].id), (2, 5), "{method}");
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn invariant_1_what_is_queued_outlives_all_workers() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=2", "fast"])).unwrap();
        // Stopped processes take nothing: what comes now stays in the queue.
        let victims = app.workers();
        for worker in &victims {
            signal(worker.pid, Signal::SIGSTOP).unwrap();
            cluster_tests::eventually("all its threads have stopped", || {
                cluster_tests::is_stopped(worker.pid)
            });
        }
        let queued: Vec<_> = (0..500).map(|_| cluster_tests::say(app.addr(), "who").unwrap()).collect();
        for worker in &victims {
            signal(worker.pid, Signal::SIGKILL).unwrap();
        }
        for stream in queued {
            let answer = cluster_tests::listen(stream).unwrap();
            assert!(
                !answer.starts_with("1 ") && !answer.starts_with("2 "),
                "{method}: by a successor: {answer}"
            );
        }
    }
}

#[test]
fn invariant_3_a_worker_that_speaks_nonsense_is_replaced_and_harms_nobody() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=2", "fast"])).unwrap();
        let before = cluster_tests::descriptors(app.pid()).unwrap().len();
        for life in 1..=5 {
            let _ = ask(app.addr(), "garbage");
            let newest = 2 + life;
            app.wait_for_workers(|now| now.len() == 2 && now.iter().any(|worker| worker.id == newest))
                .unwrap();
            who(app.addr()).unwrap();
        }
        assert_eq!(cluster_tests::descriptors(app.pid()).unwrap().len(), before, "{method}");
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn every_way_to_die_is_followed_by_a_successor() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=2", "fast"])).unwrap();
        for (died, word) in ["abort", "stack 1", "exit 3", "exit 0"].into_iter().enumerate() {
            assert!(ask(app.addr(), word).is_err(), "{method}: {word} has no answer");
            let newest = 3 + died as u64;
            app.wait_for_workers(|now| now.len() == 2 && now.iter().any(|worker| worker.id == newest))
                .unwrap();
        }
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn a_panic_in_a_connection_costs_that_connection_alone() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=1"])).unwrap();
        assert!(ask(app.addr(), "panic").is_err());
        assert_eq!(who(app.addr()).unwrap().id, 1, "{method}: the worker goes on");
    }
}

#[test]
fn a_worker_takes_its_children_with_it() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=1"])).unwrap();
        let stray: u32 = ask(app.addr(), "stray 600").unwrap().parse().unwrap();
        signal(app.workers()[0].pid, Signal::SIGKILL).unwrap();
        cluster_tests::eventually("the stray is gone, and no zombie", || {
            !std::path::Path::new(&format!("/proc/{stray}")).exists()
        });
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn a_worker_that_retires_is_replaced() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=1"])).unwrap();
        assert_eq!(ask(app.addr(), "retire").unwrap(), "leaving");
        let workers = app.wait_for_workers(|workers| workers.iter().any(|worker| worker.id == 2)).unwrap();
        assert_eq!(workers[0].slot, 0, "{method}");
    }
}

#[test]
fn an_exit_carries_the_last_words() {
    use std::process::Stdio;
    for method in METHODS {
        let mut command = subject(SUBJECT, method, &["workers=1", "never"]);
        command.stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
        let (mut line, mut addr) = (String::new(), None);
        // Until the last line of the start, so that none of the primary's comes in the middle of the worker's.
        while !line.contains("is ready") {
            line.clear();
            assert_ne!(
                std::io::BufRead::read_line(&mut stderr, &mut line).unwrap(),
                0,
                "{method}: no address"
            );
            if line.contains("listening on ") {
                addr = Some(line.trim().rsplit(' ').next().unwrap().parse().unwrap());
            }
        }
        let addr = addr.expect("it listens before it is ready");
        assert_eq!(ask(addr, "stderr the disk is on fire").unwrap(), "said");
        assert!(ask(addr, "abort").is_err());
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut stderr, &mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(70), "{method}");
        assert!(rest.lines().any(|line| line == "the disk is on fire"), "{method}: relayed: {rest}");
        assert!(
            rest.contains("crashed (SIGABRT") && rest.contains("last words: the disk is on fire"),
            "{rest}"
        );
    }
}

#[test]
fn a_flood_on_stderr_is_relayed_and_stalls_nobody() {
    for method in METHODS {
        let mut command = subject(SUBJECT, method, &["workers=1"]);
        let out = std::env::temp_dir().join(format!("cluster-noise-{}-{method}", std::process::id()));
        command.stderr(std::fs::File::create(&out).unwrap());
        let app = Process::start(command).unwrap();
        assert_eq!(ask(app.addr(), "noise 4096").unwrap(), "said");
        assert!(app.stop().unwrap().success());
        let text = std::fs::read_to_string(&out).unwrap();
        assert_eq!(text.lines().filter(|line| line.starts_with("nnn")).count(), 4096, "{method}");
        std::fs::remove_file(out).unwrap();
    }
}
