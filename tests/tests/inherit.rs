//! Sockets that a service manager has passed: found, checked, lent, and passed to nobody else.
use std::net::{TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::Command;

use nix::sys::signal::Signal;

use cluster_tests::lender::{self, TWO_WEB, WEB, lend, lender};
use cluster_tests::{
    Folder, METHODS, Process, all_answer, ask, ask_at, descriptors, fails, listen, say, signal, who,
};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

fn start_with(sockets: Vec<OwnedFd>, variables: &str, method: &str, place: &str, knobs: &[&str]) -> Command {
    lender::start_with(sockets, variables, SUBJECT, &[&[method, place], knobs].concat())
}

#[test]
fn a_socket_that_was_passed_is_served_by_all_workers_also_after_restarts() {
    for method in METHODS {
        let (listener, addr) = lender();
        let app =
            Process::start(start_with(vec![lend(&listener)], WEB, method, "fd:web", &["workers=2", "fast"]))
                .unwrap();
        assert_eq!(app.addr(), addr, "{method}");
        if let Some(fork_server) = app.fork_server() {
            signal(fork_server, Signal::SIGKILL).unwrap();
            let lost = app.wait_for_line("fork-server-lost", 0).unwrap();
            app.wait_for_line("fork-server ", lost).unwrap();
        }
        let victim = app.workers()[0];
        signal(victim.pid, Signal::SIGKILL).unwrap();
        app.wait_for_workers(|workers| workers.iter().any(|worker| worker.id > 2)).unwrap();
        all_answer(&app.workers(), || who(addr).unwrap());
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn what_waits_for_a_lent_socket_when_the_cluster_ends_is_served_by_the_next_run() {
    for method in METHODS {
        for end in [Signal::SIGTERM, Signal::SIGKILL] {
            let (listener, addr) = lender();
            let start = || {
                Process::start(start_with(vec![lend(&listener)], WEB, method, "fd:0", &["workers=2"]))
                    .unwrap()
            };
            let mut app = start();
            assert!(who(addr).is_ok(), "{method}");
            app.signal(end as i32).unwrap();
            app.wait_for_primary().unwrap();
            app.wait_for_no_process().unwrap();
            let waiting: Vec<_> = (0..10).map(|_| say(addr, "who").unwrap()).collect();
            let next = start();
            for client in waiting {
                assert!(listen(client).is_ok(), "{method}, {end}");
            }
            assert!(next.stop().unwrap().success(), "{method}");
        }
    }
}

#[test]
fn sockets_are_told_apart_by_name_and_by_number() {
    for method in METHODS {
        let ((first, first_addr), (second, second_addr)) = (lender(), lender());
        for (place, expected) in
            [("fd:a", first_addr), ("fd:b", second_addr), ("fd:0", first_addr), ("fd:1", second_addr)]
        {
            let sockets = vec![lend(&first), lend(&second)];
            let names = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=a:b";
            let app = Process::start(start_with(sockets, names, method, place, &["workers=1"])).unwrap();
            assert_eq!(app.addrs(), [expected], "{method}: {place}");
            assert!(who(expected).is_ok(), "{method}: {place}");
            assert!(app.stop().unwrap().success(), "{method}: {place}");
        }
        let sockets = vec![lend(&first), lend(&second)];
        let app = Process::start(start_with(sockets, TWO_WEB, method, "fd:web", &["workers=1"])).unwrap();
        assert!(who(first_addr).is_ok() && who(second_addr).is_ok(), "{method}: of one name all are meant");
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn a_unix_socket_that_was_passed_keeps_its_file() {
    for method in METHODS {
        let folder = Folder::new(method);
        let path = folder.path("app.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let socket = listener.try_clone().unwrap().into();
        let app = Process::start(start_with(vec![socket], WEB, method, "fd:web", &["workers=1"])).unwrap();
        assert!(ask_at(&path, "who").is_ok(), "{method}");
        assert!(app.stop().unwrap().success(), "{method}");
        assert!(path.exists(), "{method}");
    }
}

#[test]
fn invariant_5_what_was_passed_is_passed_on_to_nobody() {
    for method in METHODS {
        let ((first, addr), (second, _)) = (lender(), lender());
        let names = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:unused";
        let sockets = vec![lend(&first), lend(&second)];
        let app = Process::start(start_with(sockets, names, method, "fd:web", &["workers=1"])).unwrap();
        for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            let value = ask(addr, &format!("env {variable}")).unwrap();
            assert!(value.contains("not found"), "{method}: the primary alone is meant: {variable}={value}");
        }
        // A child of a worker has what it opens itself: nothing of this.
        let child: u32 = ask(addr, "stray 600").unwrap().parse().unwrap();
        let open = descriptors(child).unwrap();
        assert!(!open.iter().any(|fd| fd.contains("socket:")), "{method}: {open:?}");
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn a_fallback_is_bound_where_nothing_was_passed() {
    for method in METHODS {
        let (listener, addr) = lender();
        let place = "fd:web=127.0.0.1:0";
        let app =
            Process::start(start_with(vec![lend(&listener)], WEB, method, place, &["workers=1"])).unwrap();
        assert_eq!(app.addr(), addr, "{method}");
        assert!(app.stop().unwrap().success(), "{method}");
        // Nothing, something for another process, something of another name.
        for variables in ["", "LISTEN_PID=1 LISTEN_FDS=1", "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=other"]
        {
            let command = start_with(vec![lend(&listener)], variables, method, place, &["workers=1", "fast"]);
            let app = Process::start(command).unwrap();
            assert_ne!(app.addr(), addr, "{method}: {variables}");
            let victim = app.workers()[0];
            signal(victim.pid, Signal::SIGKILL).unwrap();
            app.wait_for_workers(|workers| workers.iter().any(|worker| worker.id == 2)).unwrap();
            assert_eq!(who(app.addr()).unwrap().id, 2, "{method}: {variables}");
            assert!(app.stop().unwrap().success(), "{method}: {variables}");
        }
    }
}

#[test]
fn invariant_8_a_descriptor_that_cannot_be_listened_on_is_named_with_what_it_is() {
    let (listener, addr) = lender();
    let connection = TcpStream::connect(addr).unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    for method in METHODS {
        let refused = |socket: OwnedFd, what: &str| {
            let command = start_with(vec![socket], WEB, method, "fd:web", &[]);
            fails(command, 1, &["`web` (descriptor 3)", what]);
        };
        refused(connection.try_clone().unwrap().into(), "a connection");
        refused(datagrams.try_clone().unwrap().into(), "datagrams");
        refused(std::fs::File::open("/dev/null").unwrap().into(), "no socket, but /dev/null");
        let sockets = || vec![lend(&listener)];
        for (variables, place, why) in [
            ("", "fd:web", "LISTEN_FDS is not set"),
            ("LISTEN_PID=1 LISTEN_FDS=1", "fd:web", "for process 1 (LISTEN_PID)"),
            ("LISTEN_PID=$$ LISTEN_FDS=many", "fd:web", "LISTEN_FDS=many"),
            (WEB, "fd:admin", "1 was passed, and is named `web`"),
            (WEB, "fd:7", "1 was passed, and is named `web`"),
        ] {
            fails(start_with(sockets(), variables, method, place, &[]), 1, &[why]);
        }
    }
}
