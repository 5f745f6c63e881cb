//! Nothing grows with the number of restarts.
use nix::sys::signal::Signal;

use cluster_tests::{METHODS, Process, descriptors, signal, status_field, subject, who};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

/// What must not grow.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    primary: (usize, Option<u64>),
    fork_server: Option<(usize, Option<u64>)>,
    worker: usize,
}

fn held(app: &Process) -> Held {
    let count = |pid| (descriptors(pid).unwrap().len(), status_field(pid, "Threads"));
    Held {
        primary: count(app.pid()),
        fork_server: app.fork_server().map(count),
        worker: descriptors(app.workers()[0].pid).unwrap().len(),
    }
}

fn zombies(parent: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    let pids = children.split_whitespace().map(|pid| pid.parse().unwrap());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
    })
    .collect()
}

/// Kills one worker after the other, each when its predecessor's successor is ready.
fn kill(app: &Process, times: u64) {
    for _ in 0..times {
        let workers = app.wait_for_workers(|workers| workers.len() == 2).unwrap();
        let (victim, newest) = (workers[0], workers.iter().map(|worker| worker.id).max().unwrap());
        signal(victim.pid, Signal::SIGKILL).unwrap();
        app.wait_for_workers(|now| now.iter().any(|worker| worker.id > newest)).unwrap();
    }
}

#[test]
fn invariant_5_no_descriptor_thread_or_memory_is_left_by_1000_restarts() {
    for (method, scheduling) in [("fork", "shared"), ("await", "shared"), ("fork", "round-robin")] {
        let knob = format!("scheduling={scheduling}");
        let app = Process::start(subject(SUBJECT, method, &["workers=2", "fast", "quiet", &knob])).unwrap();
        // The first few fill what is filled once: buffers, tables, the allocator's pools.
        kill(&app, 50);
        // What is made when it is needed first.
        who(app.addr()).unwrap();
        let (before, rss) = (held(&app), status_field(app.pid(), "VmRSS").unwrap());
        kill(&app, 950);
        let after = held(&app);
        assert_eq!(before, after, "{method}: {:?}", descriptors(app.pid()));
        let grown = status_field(app.pid(), "VmRSS").unwrap().saturating_sub(rss);
        assert!(grown < 1024, "{method}: the primary grew by {grown} KiB");
        assert_eq!(zombies(app.pid()), Vec::<u32>::new(), "{method}");
        who(app.addr()).unwrap();
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn invariant_5_of_ours_a_worker_has_only_what_its_request_carried() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=3", "fast"])).unwrap();
        // Descriptors of a worker do not depend on how many others were there before it.
        let count = |worker: usize| descriptors(app.workers()[worker].pid).unwrap().len();
        let (first, last) = (count(0), count(2));
        assert_eq!(first, last, "{method}: {:?}", descriptors(app.workers()[2].pid));
        kill_slot_0(&app);
        assert_eq!(count(0), first, "{method}: {:?}", descriptors(app.workers()[0].pid));
    }
}

fn kill_slot_0(app: &Process) {
    let victim = app.workers()[0];
    signal(victim.pid, Signal::SIGKILL).unwrap();
    app.wait_for_workers(|now| now.len() == 3 && now[0].id != victim.id).unwrap();
}
