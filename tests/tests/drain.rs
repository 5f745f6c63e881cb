//! A worker that drains: what its clients see, what its streams may do, and what is said of it.
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use cluster_load::{Kind, Load};
use nix::sys::signal::Signal;

use cluster_tests::counters::Counted;
use cluster_tests::{Folder, METHODS, Process, SCHEDULINGS, WorkerProcess, eventually, say, signal};

const DRAINER: &str = env!("CARGO_BIN_EXE_drainer");
const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");
const ADAPTERS: [&str; 2] = ["axum", "actix"];
/// Longer than any drain here may take that is not cut.
const LONG: Duration = Duration::from_secs(10);

/// A running drainer, and what its processes say.
struct Drainer {
    app: Process,
    folder: Folder,
}

impl Drainer {
    fn start(adapter: &str, method: &str, knobs: &[&str]) -> Self {
        let folder = Folder::new(adapter);
        let mut command = Command::new(DRAINER);
        command.args(["127.0.0.1:0", adapter, method]).args(knobs);
        command.stderr(fs::File::create(folder.path("log")).unwrap());
        Self { app: Process::start(command).unwrap(), folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path("log")).unwrap()
    }

    /// Tells the only worker to leave, with what it serves.
    fn drain_the_only_worker(&self) {
        signal(self.app.workers()[0].pid, Signal::SIGTERM).unwrap();
    }
}

/// A stream of events that has begun.
fn listen_to(addr: SocketAddr, path: &str) -> io::Result<BufReader<TcpStream>> {
    let mut client = TcpStream::connect(addr)?;
    client.set_read_timeout(Some(LONG))?;
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())?;
    let mut client = BufReader::new(client);
    let mut line = String::new();
    while line != "data: tick\n" {
        line.clear();
        assert_ne!(client.read_line(&mut line)?, 0, "it begins");
    }
    Ok(client)
}

/// Replaces one worker after the other, each when the last has gone.
fn roll(app: &Process) {
    let mut seen = 0;
    for worker in app.workers() {
        signal(worker.pid, Signal::SIGTERM).unwrap();
        seen = app.wait_for_line(&format!("exited {} ", worker.id), seen).unwrap();
        app.wait_for_workers(|now| now.iter().any(|new| new.slot == worker.slot && new.id > worker.id))
            .unwrap();
    }
}

/// Load of all kinds, and none of it fails while `replace` works.
fn under_load(what: &str, app: &Process, replace: impl Fn(&Process)) {
    // One listener of axum serves both versions of HTTP, with actix-web there is one for that.
    let (http1, both) = (app.addr(), *app.addrs().last().unwrap());
    // Clients that pause are not among them: HTTP/1 leaves them a race (RFC 9112, 9.3.1), which the bench measures.
    let kinds =
        [(Kind::KeepAlive, http1, 16), (Kind::Close, http1, 4), (Kind::Http2 { streams: 4 }, both, 4)];
    let begin = |(kind, addr, clients)| (kind, Load::begin(addr, kind, clients).unwrap());
    let loads: Vec<(Kind, Load)> = kinds.map(begin).into();
    (0..2).for_each(|_| replace(app));
    for (kind, load) in loads {
        let tally = load.end();
        println!("{what}, {kind:?}: {tally}");
        assert!(tally.answered > 10, "{what}, {kind:?}: somebody asks: {tally}");
        assert_eq!(tally.failed(), 0, "{what}, {kind:?}: {tally}");
    }
}

/// Rolls twice through a cluster under load.
fn roll_under_load(adapter: &str, method: &str, scheduling: &str) {
    let what = format!("{adapter}, {method}, {scheduling}");
    let drainer = Drainer::start(adapter, method, &["workers=3", &format!("scheduling={scheduling}")]);
    under_load(&what, &drainer.app, roll);
    eventually("all have ended well", || drainer.log().matches(" stopped (exit code 0)").count() == 6);
    let log = drainer.log();
    assert!(!log.contains("killed"), "{what}: {log}");
    assert!(drainer.app.stop().unwrap().success(), "{what}");
}

/// Reloads twice under load.
fn reload_under_load(adapter: &str, method: &str) {
    let what = format!("{adapter}, {method}");
    let drainer = Drainer::start(adapter, method, &["workers=3"]);
    let reload = |app: &Process| {
        let next = app.workers().iter().map(|worker| worker.id).max().unwrap() + 1;
        app.signal(Signal::SIGHUP as i32).unwrap();
        let is_new = |now: &[_]| now.len() == 3 && now.iter().all(|worker: &WorkerProcess| worker.id >= next);
        app.wait_for_workers(is_new).unwrap();
    };
    under_load(&what, &drainer.app, reload);
    let log = drainer.log();
    assert!(!log.contains("killed") && !log.contains("reload failed"), "{what}: {log}");
    assert!(drainer.app.stop().unwrap().success(), "{what}");
}

#[test]
fn invariant_2_a_reload_of_axum_under_load_fails_no_request() {
    METHODS.into_iter().for_each(|method| reload_under_load("axum", method));
}

#[test]
fn invariant_2_a_reload_of_actix_under_load_fails_no_request() {
    METHODS.into_iter().for_each(|method| reload_under_load("actix", method));
}

#[test]
fn a_rolling_replacement_of_axum_fails_no_request() {
    METHODS.into_iter().for_each(|method| roll_under_load("axum", method, "shared"));
}

#[test]
fn a_rolling_replacement_of_actix_fails_no_request() {
    METHODS.into_iter().for_each(|method| roll_under_load("actix", method, "shared"));
}

#[test]
fn a_rolling_replacement_fails_no_request_where_connections_are_handed_out() {
    for scheduling in SCHEDULINGS.into_iter().filter(|scheduling| *scheduling != "shared") {
        ADAPTERS.into_iter().for_each(|adapter| roll_under_load(adapter, "fork", scheduling));
    }
}

#[test]
fn a_stream_that_watches_the_drain_ends_it_early() {
    for (adapter, method) in ADAPTERS.into_iter().flat_map(|adapter| METHODS.map(|method| (adapter, method)))
    {
        let drainer = Drainer::start(adapter, method, &["workers=1"]);
        let mut client = listen_to(drainer.app.addr(), "/events").unwrap();
        let start = Instant::now();
        drainer.drain_the_only_worker();
        let mut rest = String::new();
        client.read_to_string(&mut rest).unwrap();
        // To its end: the last chunk is there.
        assert!(rest.contains("data: bye\n\n") && rest.ends_with("\r\n0\r\n\r\n"), "{adapter}: {rest}");
        drainer.app.wait_for_line("exited 1 ", 0).unwrap();
        assert!(start.elapsed() < LONG, "{adapter}, {method}: {:?}", start.elapsed());
        let log = drainer.log();
        assert!(log.contains("drains of its own accord; a successor starts; 1 connection is open"), "{log}");
        eventually("how it ended is told", || drainer.log().contains(" stopped (exit code 0)"));
        assert!(drainer.app.stop().unwrap().success(), "{adapter}, {method}");
    }
}

#[test]
fn a_stream_that_does_not_watch_it_is_cut_at_the_deadline() {
    for (adapter, method) in ADAPTERS.into_iter().flat_map(|adapter| METHODS.map(|method| (adapter, method)))
    {
        let drainer = Drainer::start(adapter, method, &["workers=1", "drain=1500"]);
        let mut client = listen_to(drainer.app.addr(), "/stubborn").unwrap();
        let start = Instant::now();
        drainer.drain_the_only_worker();
        let mut rest = Vec::new();
        // With or without an error: it was killed.
        let _ = client.read_to_end(&mut rest);
        assert!(start.elapsed() >= Duration::from_millis(1400), "{adapter}: {:?}", start.elapsed());
        assert!(!rest.ends_with(b"\r\n0\r\n\r\n"), "{adapter}: it does not look whole");
        drainer.app.wait_for_line("exited 1 ", 0).unwrap();
        let told = || drainer.log().contains("did not finish draining in time and was killed (SIGKILL)");
        eventually("it is told", told);
        assert!(drainer.log().contains("; 1 connection was cut"), "{}", drainer.log());
        assert!(drainer.app.stop().unwrap().success(), "{adapter}, {method}");
    }
}

#[test]
fn idle_connections_do_not_hold_up_a_drain() {
    for adapter in ADAPTERS {
        let drainer = Drainer::start(adapter, "fork", &["workers=1"]);
        // Some have asked, some have not.
        let silent = TcpStream::connect(drainer.app.addr()).unwrap();
        let mut kept = TcpStream::connect(drainer.app.addr()).unwrap();
        kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut kept = BufReader::new(kept);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert_ne!(kept.read_line(&mut line).unwrap(), 0);
        }
        let start = Instant::now();
        drainer.drain_the_only_worker();
        drainer.app.wait_for_line("exited 1 ", 0).unwrap();
        let took = start.elapsed();
        assert!((Duration::from_millis(900)..LONG).contains(&took), "{adapter}: a lame duck: {took:?}");
        drop((silent, kept));
        assert!(drainer.app.stop().unwrap().success(), "{adapter}");
    }
}

#[test]
fn the_status_shows_what_a_draining_worker_has_open() {
    for method in METHODS {
        let cluster = Counted::start(SUBJECT, method, &["workers=1"]);
        let open: Vec<TcpStream> = (0..3).map(|_| say(cluster.app.addr(), "until-end").unwrap()).collect();
        eventually("all are open", || cluster.sum(|counts| counts.open) == 3);
        signal(cluster.app.workers()[0].pid, Signal::SIGTERM).unwrap();
        cluster.app.wait_for_line("draining 1 ", 0).unwrap();
        let of_first =
            || cluster.counters().0.iter().find(|counts| counts.worker == 1).map(|counts| counts.open);
        cluster.app.wait_for_workers(|now| now.iter().any(|worker| worker.id == 2)).unwrap();
        assert_eq!(of_first(), Some(3), "{method}");
        let mut open = open;
        open.truncate(1);
        eventually("it is shown how many are left", || of_first() == Some(1));
        drop(open);
        eventually("it is gone", || of_first().is_none());
        assert!(cluster.app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn a_stop_under_load_answers_all_that_was_asked_before_it() {
    for adapter in ADAPTERS {
        let drainer = Drainer::start(adapter, "fork", &["workers=2"]);
        let mut streams: Vec<_> = (0..4).map(|_| listen_to(drainer.app.addr(), "/events").unwrap()).collect();
        drainer.app.signal(Signal::SIGTERM as i32).unwrap();
        let ends = |client: &mut BufReader<TcpStream>| {
            let mut rest = String::new();
            client.read_to_string(&mut rest).unwrap();
            rest.ends_with("\r\n0\r\n\r\n")
        };
        assert!(streams.iter_mut().all(ends), "{adapter}");
        let log = || drainer.log();
        eventually("it is told", || log().contains("draining 4 connections; Ctrl-C again to stop now"));
        assert!(drainer.app.wait().unwrap().success(), "{adapter}");
    }
}
