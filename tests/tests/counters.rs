//! What is counted reaches the primary's side: of each worker its connections, of each listener its queue.
use std::net::TcpStream;

use nix::sys::signal::Signal;

use cluster_tests::counters::Counted;
use cluster_tests::{Folder, METHODS, eventually, is_stopped, say, say_at, signal, subject_at, who};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

#[test]
fn the_status_shows_what_each_worker_has_open_and_has_had() {
    for method in METHODS {
        let cluster = Counted::start(SUBJECT, method, &["workers=2"]);
        let open: Vec<TcpStream> = (0..10).map(|_| say(cluster.app.addr(), "until-end").unwrap()).collect();
        eventually("all are open", || cluster.sum(|counts| counts.open) == 10);
        let (workers, listeners) = cluster.counters();
        assert_eq!(workers.iter().map(|counts| counts.total).sum::<u64>(), 10, "{method}");
        // Who had no processor when it was its turn may have none.
        assert!(workers.iter().any(|counts| counts.rings > 0), "{method}: {workers:?}");
        assert!(workers.iter().all(|counts| counts.offered == 0 && counts.claimed == 0), "{method}");
        assert_eq!(listeners.len(), 1, "{method}");
        assert_eq!(listeners[0].address, cluster.app.addr().to_string(), "{method}");
        assert_eq!(listeners[0].scheduling, "Shared", "{method}");
        drop(open);
        eventually("none is open", || cluster.sum(|counts| counts.open) == 0);
        assert_eq!(cluster.sum(|counts| counts.total), 10, "{method}: all were taken by then");
        assert!(cluster.app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn the_status_shows_what_was_offered_claimed_and_taken_back() {
    for method in METHODS {
        let cluster = Counted::start(SUBJECT, method, &["workers=2", "scheduling=round-robin"]);
        (0..10).for_each(|_| assert!(who(cluster.app.addr()).is_ok()));
        eventually("all were claimed", || cluster.sum(|counts| counts.claimed) == 10);
        let (before, _) = cluster.counters();
        assert!(before.iter().all(|counts| counts.total == counts.claimed), "{method}: {before:?}");
        // On a machine that is busy a worker may have been late.
        assert!(before.iter().all(|counts| counts.offered == counts.claimed + counts.revoked), "{before:?}");
        // What one that stands still is offered another gets.
        let stopped = cluster.app.workers().iter().find(|worker| worker.id == before[0].worker).unwrap().pid;
        signal(stopped, Signal::SIGSTOP).unwrap();
        eventually("it stands still", || is_stopped(stopped));
        (0..10).for_each(|_| assert!(who(cluster.app.addr()).is_ok()));
        eventually("it is shown", || {
            let (workers, _) = cluster.counters();
            let (one, other) = (workers[0], workers[1]);
            one.revoked > before[0].revoked && one.claimed + other.claimed == 20
        });
        assert_eq!(cluster.counters().0[0].claimed, before[0].claimed, "{method}");
        signal(stopped, Signal::SIGCONT).unwrap();
        assert!(cluster.app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn the_status_shows_how_many_wait_at_a_listener() {
    for method in METHODS {
        let cluster = Counted::start(SUBJECT, method, &["workers=1", "backlog=99"]);
        let worker = cluster.app.workers()[0].pid;
        signal(worker, Signal::SIGSTOP).unwrap();
        eventually("it stands still", || is_stopped(worker));
        let waiting: Vec<_> = (0..7).map(|_| say(cluster.app.addr(), "who").unwrap()).collect();
        let queued = || cluster.counters().1[0].queued;
        eventually("they are seen", || queued() == Some(7));
        assert_eq!(cluster.counters().1[0].backlog, Some(99), "{method}");
        signal(worker, Signal::SIGCONT).unwrap();
        eventually("they were served", || queued() == Some(0));
        drop(waiting);
        assert!(cluster.app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn a_unix_socket_does_not_tell_how_many_wait() {
    for method in METHODS {
        let folder = Folder::new(method);
        let path = folder.path("app.sock");
        let at = format!("unix:{}", path.display());
        let cluster = Counted::launch(subject_at(SUBJECT, method, &at, &["workers=1"]));
        let _open = say_at(&path, "until-end").unwrap();
        eventually("it is open", || cluster.sum(|counts| counts.open) == 1);
        let (_, listeners) = cluster.counters();
        assert_eq!((&listeners[0].address, listeners[0].queued, listeners[0].backlog), (&at, None, None));
        drop(_open);
        assert!(cluster.app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn a_restarted_director_knows_what_is_counted() {
    for method in METHODS {
        let cluster = Counted::start(SUBJECT, method, &["workers=1"]);
        let open = say(cluster.app.addr(), "until-end").unwrap();
        eventually("it is open", || cluster.sum(|counts| counts.open) == 1);
        let first = cluster.app.wait_for_director(None).unwrap();
        signal(first, Signal::SIGKILL).unwrap();
        cluster.app.wait_for_director(Some(first)).unwrap();
        eventually("the next one knows", || cluster.sum(|counts| counts.open) == 1);
        assert_eq!(cluster.counters().1.len(), 1, "{method}");
        drop(open);
        assert!(cluster.app.stop().unwrap().success(), "{method}");
    }
}
