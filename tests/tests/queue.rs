//! The queue of connections that nobody has accepted yet: as long as was asked for, and none in it is lost.
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use cluster_tests::{METHODS, Process, eventually, is_stopped, listen, say, signal, subject};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");
const MESSENGER: &str = env!("CARGO_BIN_EXE_messenger");

#[test]
fn ten_thousand_connections_that_wait_for_slow_workers_are_all_served() {
    const ALL: u64 = 10_000;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if most < ALL + 200 {
        println!("skipped: it takes {ALL} descriptors, and the limit is {most} (ulimit -Hn)");
        return;
    }
    for method in METHODS {
        // BEFORE this process may have more: what it starts would, too.
        let app = Process::start(subject(SUBJECT, method, &["workers=4"])).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
        // Each stalls its worker for a millisecond; the queue fills, and clients beyond wait to connect.
        let waiting: Vec<_> = (0..ALL).map(|_| say(app.addr(), "block 1").unwrap()).collect();
        for (number, stream) in waiting.into_iter().enumerate() {
            let said = listen(stream).unwrap_or_else(|err| panic!("{method}: {number}: {err}"));
            assert_eq!(said, "unblocked", "{method}: {number}");
        }
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn the_queue_of_an_actix_server_is_as_long_as_its_backlog() {
    const BACKLOG: usize = 7;
    for method in METHODS {
        let file = std::env::temp_dir().join(format!("cluster-backlog-{}-{method}", std::process::id()));
        let mut command = Command::new(MESSENGER);
        command.args(["actix", method]).arg(&file).arg(BACKLOG.to_string());
        for variable in ["CLUSTER_WORKERS", "WEB_CONCURRENCY", "CLUSTER_ROLE"] {
            command.env_remove(variable);
        }
        let app = Process::start(command).unwrap();
        for worker in app.workers() {
            signal(worker.pid, Signal::SIGSTOP).unwrap();
            eventually("it stands still", || is_stopped(worker.pid));
        }
        // Linux takes one more than was asked for; the handshake of the next is not answered.
        let patience = Duration::from_millis(500);
        let connect = || TcpStream::connect_timeout(&app.addr(), patience).ok();
        let waiting: Vec<_> = std::iter::from_fn(connect).take(2 * BACKLOG).collect();
        assert_eq!(waiting.len(), BACKLOG + 1, "{method}");
        app.workers().iter().for_each(|worker| signal(worker.pid, Signal::SIGCONT).unwrap());
        assert!(app.stop().unwrap().success(), "{method}");
        std::fs::remove_file(file).unwrap();
    }
}
