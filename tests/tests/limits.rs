//! How many connections there are at a time: never more than were allowed, and whoever is too many waits, or is
//! refused at once.
use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use cluster_tests::counters::{Counted, Counts};
use cluster_tests::{METHODS, eventually, listen, say, signal, who};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");
const SCHEDULINGS: [&str; 3] = ["shared", "round-robin", "least"];

/// With each scheduling, by both methods in turn.
fn each(mut test: impl FnMut(&str, &str)) {
    for (at, scheduling) in SCHEDULINGS.into_iter().enumerate() {
        test(METHODS[at % 2], &format!("scheduling={scheduling}"));
    }
}

/// Connections that stay open until they are shut down.
fn begin(cluster: &Counted, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| say(cluster.app.addr(), "until-end").unwrap()).collect()
}

/// Ends a connection that waits for that, and hears that it was served.
fn end(stream: TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(listen(stream).unwrap().starts_with("Ok"));
}

/// Nobody has more than this, and all together have so many.
fn fill_up_to(cluster: &Counted, each: u64, all: u64) {
    eventually("they are open", || {
        let (workers, _) = cluster.counters();
        assert!(workers.iter().all(|counts| counts.open <= each), "{workers:?}");
        workers.iter().map(|counts| counts.open).sum::<u64>() == all
    });
}

/// Watches for half a second how often workers are woken and offered anything.
fn stirs(cluster: &Counted) -> u64 {
    let stirs = |counts: &Counts| counts.rings + counts.offered + counts.revoked;
    let before = cluster.sum(stirs);
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    cluster.sum(stirs) - before
}

#[test]
fn no_worker_has_more_connections_than_it_may_and_the_others_wait_for_one_to_end() {
    each(|method, scheduling| {
        let cluster = Counted::start(SUBJECT, method, &["workers=2", "max=3", scheduling]);
        let mut open = begin(&cluster, 6);
        fill_up_to(&cluster, 3, 6);
        let waiting = begin(&cluster, 6);
        assert!(stirs(&cluster) <= 10, "{scheduling}: nobody spins while all are full");
        fill_up_to(&cluster, 3, 6);
        // As places become free those who wait are served.
        open.drain(..).for_each(end);
        fill_up_to(&cluster, 3, 6);
        waiting.into_iter().for_each(end);
        fill_up_to(&cluster, 3, 0);
        eventually("all were served", || cluster.sum(|counts| counts.total) == 12);
        assert!(cluster.app.stop().unwrap().success(), "{scheduling}");
    });
}

#[test]
fn whoever_finds_one_worker_full_is_served_by_another() {
    each(|method, scheduling| {
        let cluster = Counted::start(SUBJECT, method, &["workers=3", "max=2", scheduling]);
        let open = begin(&cluster, 5);
        fill_up_to(&cluster, 2, 5);
        let begun = Instant::now();
        (0..50).for_each(|_| assert!(who(cluster.app.addr()).is_ok()));
        // One after the other, with one place for all of them: each would wait for a tick of the watch, or for the
        // end of a connection that does not end.
        assert!(begun.elapsed() < Duration::from_secs(5), "{scheduling}: {:?}", begun.elapsed());
        open.into_iter().for_each(end);
        assert!(cluster.app.stop().unwrap().success(), "{scheduling}");
    });
}

#[test]
fn a_connection_that_ends_makes_room_at_each_listener_of_its_worker() {
    for method in METHODS {
        let knobs = ["workers=1", "max=1", "second-by=round-robin"];
        let cluster = Counted::start(SUBJECT, method, &knobs);
        let (shared, handed) = (cluster.address_by("Shared"), cluster.address_by("RoundRobin"));
        // Each has the only place while the other is asked, and then the other is served.
        for (first, second) in [(shared, handed), (handed, shared)].repeat(5) {
            let open = say(first, "until-end").unwrap();
            fill_up_to(&cluster, 1, 1);
            let waiting = say(second, "who").unwrap();
            fill_up_to(&cluster, 1, 1);
            end(open);
            assert!(listen(waiting).is_ok(), "{method}");
            fill_up_to(&cluster, 1, 0);
        }
        assert!(cluster.app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn all_workers_together_have_no_more_connections_than_the_cluster_may() {
    each(|method, scheduling| {
        let cluster = Counted::start(SUBJECT, method, &["workers=3", "max-cluster=4", scheduling]);
        let open = begin(&cluster, 4);
        fill_up_to(&cluster, 4, 4);
        let waiting = begin(&cluster, 40);
        assert!(stirs(&cluster) <= 10, "{scheduling}: nobody spins while the cluster is full");
        fill_up_to(&cluster, 4, 4);
        let mut open: std::collections::VecDeque<_> = open.into_iter().chain(waiting).collect();
        // Each that ends makes room for the next, whichever worker has it.
        while let Some(stream) = open.pop_front() {
            end(stream);
        }
        fill_up_to(&cluster, 4, 0);
        eventually("all were served", || cluster.sum(|counts| counts.total) == 44);
        assert!(cluster.app.stop().unwrap().success(), "{scheduling}");
    });
}

#[test]
fn the_share_of_a_killed_worker_is_free_at_once() {
    each(|method, scheduling| {
        let cluster = Counted::start(SUBJECT, method, &["workers=2", "max-cluster=4", "fast", scheduling]);
        for _ in 0..10 {
            let open = begin(&cluster, 4);
            fill_up_to(&cluster, 4, 4);
            let waiting = say(cluster.app.addr(), "who").unwrap();
            let counts = cluster.counters().0;
            let victim = counts.iter().max_by_key(|counts| counts.open).unwrap();
            let all = cluster.app.workers();
            let victim = all.iter().find(|worker| worker.id == victim.worker).unwrap();
            signal(victim.pid, Signal::SIGKILL).unwrap();
            assert!(listen(waiting).is_ok(), "{scheduling}: who waits is served");
            drop(open);
            eventually("none is open", || {
                let (workers, _) = cluster.counters();
                workers.len() == 2 && workers.iter().all(|counts| counts.open == 0)
            });
        }
        // Nothing of it was lost: as many as before have their place.
        let open = begin(&cluster, 4);
        fill_up_to(&cluster, 4, 4);
        open.into_iter().for_each(end);
        assert!(cluster.app.stop().unwrap().success(), "{scheduling}");
    });
}

#[test]
fn whoever_is_too_many_is_reset_where_the_cluster_refuses() {
    each(|method, scheduling| {
        for limit in ["max=2", "max-cluster=4"] {
            let cluster = Counted::start(SUBJECT, method, &["workers=2", limit, "refuse", scheduling]);
            let open = begin(&cluster, 4);
            fill_up_to(&cluster, 4, 4);
            for _ in 0..20 {
                // It may be reset before it has said anything.
                let refused = say(cluster.app.addr(), "who").and_then(|mut stream| stream.read(&mut [0]));
                let kind = refused.unwrap_err().kind();
                let reset = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
                assert!(reset.contains(&kind), "{scheduling} {limit}: {kind}");
            }
            eventually("it is counted", || cluster.counters().1[0].refused == 20);
            open.into_iter().for_each(end);
            eventually("there is room again", || who(cluster.app.addr()).is_ok());
            assert!(cluster.app.stop().unwrap().success(), "{scheduling} {limit}");
        }
    });
}

#[test]
fn new_connections_come_no_faster_than_they_may_and_none_is_lost() {
    each(|method, scheduling| {
        let cluster = Counted::start(SUBJECT, method, &["workers=2", "rate=50", scheduling]);
        let begun = Instant::now();
        // 10 at once, then 100 per second.
        let all: Vec<_> = (0..60).map(|_| say(cluster.app.addr(), "who").unwrap()).collect();
        all.into_iter().for_each(|stream| drop(listen(stream).unwrap()));
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(450), "{scheduling}: {took:?}");
        assert!(took < Duration::from_secs(5), "{scheduling}: {took:?}");
        assert!(cluster.app.stop().unwrap().success(), "{scheduling}");
    });
}

#[test]
fn a_full_cluster_stops_and_serves_what_it_has_begun() {
    each(|method, scheduling| {
        let cluster = Counted::start(SUBJECT, method, &["workers=2", "max=2", scheduling]);
        let open = begin(&cluster, 4);
        fill_up_to(&cluster, 2, 4);
        let waiting = begin(&cluster, 3);
        cluster.app.signal(Signal::SIGTERM as i32).unwrap();
        for stream in waiting {
            let kind = listen(stream).unwrap_err().kind();
            assert_eq!(kind, io::ErrorKind::ConnectionReset, "{scheduling}: there is no room for it");
        }
        open.into_iter().for_each(end);
        let mut app = cluster.app;
        assert!(app.wait_for_primary().unwrap().success(), "{scheduling}");
    });
}
