//! Where a cluster listens: unix sockets, both families of IP, queues, and nobody else in the same place.
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use nix::sys::signal::Signal;
use socket2::{Domain, SockAddr, Socket, Type};

use cluster_tests::{
    Folder, METHODS, Process, all_answer, ask, ask_at, eventually, fails, listen, say_at, signal, subject,
    subject_at, who, who_at,
};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

fn start_at(path: &Path, method: &str, knobs: &[&str]) -> Process {
    Process::start(subject_at(SUBJECT, method, &unix(path), knobs)).unwrap()
}

/// Kills a worker and waits for its successor.
fn replace_a_worker(app: &Process) {
    let victim = app.workers()[0];
    signal(victim.pid, Signal::SIGKILL).unwrap();
    let is_new = |worker: &cluster_tests::WorkerProcess| worker.slot == victim.slot && worker.id != victim.id;
    app.wait_for_workers(|workers| workers.iter().any(is_new)).unwrap();
}

/// Kills the fork server, where there is one, and waits for the next: `main` runs again.
fn replace_the_fork_server(app: &Process) {
    if let Some(fork_server) = app.fork_server() {
        signal(fork_server, Signal::SIGKILL).unwrap();
        let lost = app.wait_for_line("fork-server-lost", 0).unwrap();
        app.wait_for_line("fork-server ", lost).unwrap();
    }
}

#[test]
fn workers_share_a_unix_socket_which_is_gone_after_the_stop() {
    for method in METHODS {
        let folder = Folder::new(method);
        let path = folder.path("app.sock");
        let app = start_at(&path, method, &["workers=3", "mode=640"]);
        all_answer(&app.workers(), || who_at(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640, "{method}");
        assert!(app.stop().unwrap().success(), "{method}");
        assert!(!path.exists(), "{method}");
    }
}

#[test]
fn a_unix_socket_outlives_workers_and_fork_server() {
    for method in METHODS {
        let folder = Folder::new(method);
        let path = folder.path("app.sock");
        let app = start_at(&path, method, &["workers=2", "fast"]);
        replace_a_worker(&app);
        replace_the_fork_server(&app);
        replace_a_worker(&app);
        all_answer(&app.workers(), || who_at(&path).unwrap());
        assert!(app.stop().unwrap().success(), "{method}");
        assert!(!path.exists(), "{method}");
    }
}

#[test]
fn invariant_4_a_unix_socket_is_free_for_a_successor_at_once() {
    for method in METHODS {
        let folder = Folder::new(method);
        let path = folder.path("app.sock");
        let mut app = start_at(&path, method, &["workers=2", "drain=20000"]);
        let slow = say_at(&path, "slow 4000").unwrap();
        all_answer(&app.workers(), || who_at(&path).unwrap());
        app.signal(Signal::SIGKILL as i32).unwrap();
        app.wait_for_primary().unwrap();
        eventually("the queue is closed", || UnixStream::connect(&path).is_err());
        let refused = UnixStream::connect(&path).unwrap_err().kind();
        assert_eq!(refused, io::ErrorKind::ConnectionRefused, "{method}: and not gone");
        let successor = start_at(&path, method, &["workers=2"]);
        assert!(!app.processes().is_empty(), "{method}: while the old workers still drain");
        let answers = who_at(&path).unwrap().pid;
        assert!(successor.workers().iter().any(|worker| worker.pid == answers), "{method}");
        assert!(listen(slow).unwrap().starts_with("late "), "{method}: what was begun is finished");
        app.wait_for_no_process().unwrap();
        assert!(who_at(&path).is_ok(), "{method}");
        assert!(successor.stop().unwrap().success(), "{method}");
        assert!(!path.exists(), "{method}");
    }
}

#[test]
fn a_stop_leaves_the_socket_of_a_successor() {
    for method in METHODS {
        let folder = Folder::new(method);
        let path = folder.path("app.sock");
        let mut app = start_at(&path, method, &["workers=1"]);
        let slow = say_at(&path, "slow 1000").unwrap();
        who_at(&path).unwrap();
        app.signal(Signal::SIGTERM as i32).unwrap();
        eventually("the queue is closed", || UnixStream::connect(&path).is_err());
        let successor = start_at(&path, method, &["workers=1"]);
        listen(slow).unwrap();
        assert!(app.wait_for_primary().unwrap().success(), "{method}");
        assert!(who_at(&path).is_ok(), "{method}");
        assert!(successor.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn invariant_8_a_second_copy_is_refused_at_a_unix_socket_too() {
    for method in METHODS {
        let folder = Folder::new(method);
        let path = folder.path("app.sock");
        let app = start_at(&path, method, &["workers=1"]);
        fails(subject_at(SUBJECT, method, &unix(&path), &[]), 1, &[&unix(&path), "in use"]);
        assert!(who_at(&path).is_ok(), "{method}");
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn of_several_copies_that_start_at_once_one_has_the_path() {
    for method in METHODS {
        let folder = Folder::new(method);
        let path = folder.path("app.sock");
        // All find it stale.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let launch = || Process::launch(subject_at(SUBJECT, method, &unix(&path), &["workers=1"])).unwrap();
        let mut copies: Vec<_> = (0..5).map(|_| launch()).collect();
        while copies.len() > 1 {
            eventually("all but one end", || copies.iter().any(|copy| copy.processes().is_empty()));
            let ended = copies.iter().position(|copy| copy.processes().is_empty()).unwrap();
            assert_eq!(copies.swap_remove(ended).wait().unwrap().code(), Some(1), "{method}");
        }
        let winner = copies.pop().unwrap();
        winner.wait_for_workers(|workers| workers.len() == 1).unwrap();
        assert_eq!(who_at(&path).unwrap().pid, winner.workers()[0].pid, "{method}");
        assert!(winner.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn invariant_8_a_path_that_cannot_be_is_named() {
    let folder = Folder::new("bad");
    let file = folder.path("file");
    fs::write(&file, "precious").unwrap();
    let missing = folder.path("missing/app.sock");
    let long = folder.path(&"n".repeat(120));
    for method in METHODS {
        for (path, why) in [
            (&file, "a regular file is there"),
            (&missing, "cannot open its directory"),
            (&long, "its last part is too long"),
        ] {
            fails(subject_at(SUBJECT, method, &unix(path), &[]), 1, &[&unix(path), why]);
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }
}

#[test]
fn a_unix_socket_that_bind_uds_made_is_the_same_for_all_and_any_other_is_refused() {
    for method in METHODS {
        let folder = Folder::new(method);
        let path = folder.path("app.sock");
        let app = start_at(&path, method, &["workers=2", "fast", "bind-uds"]);
        replace_the_fork_server(&app);
        replace_a_worker(&app);
        all_answer(&app.workers(), || who_at(&path).unwrap());
        assert!(app.stop().unwrap().success(), "{method}");
        assert!(!path.exists(), "{method}");
        let knob = format!("listen-std-uds={}", path.display());
        fails(subject(SUBJECT, method, &[&knob]), 1, &[&unix(&path), "was bound in main", "bind_uds"]);
    }
}

#[test]
fn invariant_8_more_addresses_than_a_worker_can_be_told_are_refused() {
    let folder = Folder::new("long");
    let deep: PathBuf = (0..30).fold(folder.path(""), |path, _| path.join("d".repeat(30)));
    fs::create_dir_all(&deep).unwrap();
    for method in METHODS {
        let knob = format!("long-paths={}", deep.display());
        fails(subject(SUBJECT, method, &[&knob]), 1, &["bytes together", "shorter paths"]);
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 0, "{method}: nothing of it is left");
    }
}

#[test]
fn a_relative_path_is_meant_from_the_directory_of_the_start() {
    for method in METHODS {
        let folder = Folder::new(method);
        fs::create_dir(folder.path("elsewhere")).unwrap();
        let mut command =
            subject_at(SUBJECT, method, "unix:app.sock", &["workers=1", "fast", "chdir=elsewhere"]);
        command.current_dir(folder.path(""));
        let app = Process::start(command).unwrap();
        replace_the_fork_server(&app);
        replace_a_worker(&app);
        assert!(who_at(&folder.path("app.sock")).is_ok(), "{method}");
        assert!(app.stop().unwrap().success(), "{method}");
        assert!(!folder.path("app.sock").exists(), "{method}");
    }
}

#[test]
fn a_unix_path_may_be_longer_than_an_address() {
    for method in METHODS {
        let folder = Folder::new(method);
        let deep: PathBuf = (0..10).fold(folder.path(""), |path, _| path.join("d".repeat(20)));
        fs::create_dir_all(&deep).unwrap();
        let path = deep.join("app.sock");
        let app = start_at(&path, method, &["workers=1", "fast"]);
        replace_a_worker(&app);
        assert!(who_at(&path).is_ok(), "{method}");
        fails(subject_at(SUBJECT, method, &unix(&path), &[]), 1, &["in use"]);
        assert!(app.stop().unwrap().success(), "{method}");
        assert!(!path.exists(), "{method}");
    }
}

#[test]
fn a_queue_is_as_long_as_its_listener_says() {
    for method in METHODS {
        let folder = Folder::new(method);
        let path = folder.path("app.sock");
        let app = start_at(&path, method, &["workers=1", "backlog=3"]);
        let worker = app.workers()[0].pid;
        signal(worker, Signal::SIGSTOP).unwrap();
        eventually("it has stopped", || cluster_tests::is_stopped(worker));
        let mut waiting = Vec::new();
        let full = loop {
            match connect_without_waiting(&path) {
                Ok(client) => waiting.push(client),
                Err(err) => break err,
            }
            assert!(waiting.len() < 100, "{method}: it has no end");
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock, "{method}");
        // The kernel allows one more than was asked for.
        assert_eq!(waiting.len(), 4, "{method}");
        signal(worker, Signal::SIGCONT).unwrap();
        drop(waiting);
        assert!(ask_at(&path, "who").is_ok(), "{method}");
    }
}

fn connect_without_waiting(path: &Path) -> io::Result<Socket> {
    let client = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    client.connect(&SockAddr::unix(path)?)?;
    Ok(client)
}

#[test]
fn a_queue_that_the_kernel_cuts_is_told_once_with_both_numbers() {
    let limit: u32 = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
    for method in METHODS {
        let folder = Folder::new(method);
        for (knob, expected) in [(format!("backlog={}", limit + 1), 1), (format!("backlog={limit}"), 0)] {
            let mut command = subject(SUBJECT, method, &["workers=1", "fast", &knob]);
            command.stderr(fs::File::create(folder.path("log")).unwrap());
            let app = Process::start(command).unwrap();
            replace_the_fork_server(&app);
            replace_a_worker(&app);
            assert!(app.stop().unwrap().success(), "{method}");
            let said = fs::read_to_string(folder.path("log")).unwrap();
            let asked = limit + 1;
            let told = said.lines().filter(|line| {
                line.contains(&format!("of {asked} connections"))
                    && line.contains(&format!("to {limit}: raise it (sysctl -w net.core.somaxconn={asked})"))
            });
            assert_eq!(told.count(), expected, "{method}: {said}");
            assert_eq!(said.matches("somaxconn").count(), expected, "{method}: {said}");
        }
    }
}

#[test]
fn port_0_is_one_real_port_also_after_restarts() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=2", "fast"])).unwrap();
        assert_ne!(app.addr().port(), 0, "{method}");
        replace_a_worker(&app);
        replace_the_fork_server(&app);
        replace_a_worker(&app);
        all_answer(&app.workers(), || who(app.addr()).unwrap());
    }
}

fn has_ipv6() -> bool {
    let there = TcpListener::bind("[::1]:0").is_ok();
    if !there {
        println!("skipped: no IPv6 here");
    }
    there
}

#[test]
fn the_wildcard_of_ipv6_serves_both_families_unless_told_otherwise() {
    if !has_ipv6() {
        return;
    }
    for method in METHODS {
        let app = Process::start(subject_at(SUBJECT, method, "[::]:0", &["workers=1"])).unwrap();
        let port = app.addr().port();
        for ip in ["127.0.0.1", "::1"] {
            assert!(who(SocketAddr::new(ip.parse().unwrap(), port)).is_ok(), "{method}: {ip}");
        }
        assert!(app.stop().unwrap().success(), "{method}");

        let app = Process::start(subject_at(SUBJECT, method, "[::]:0", &["workers=1", "v6-only"])).unwrap();
        let port = app.addr().port();
        assert!(ask(SocketAddr::new("::1".parse().unwrap(), port), "who").is_ok(), "{method}");
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "{method}");
        let other = format!("0.0.0.0:{port}");
        let v4 = Process::start(subject_at(SUBJECT, method, &other, &["workers=1"])).unwrap();
        assert!(who(SocketAddr::new("127.0.0.1".parse().unwrap(), port)).is_ok(), "{method}");
        assert!(v4.stop().unwrap().success() && app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn invariant_8_a_copy_on_an_overlapping_address_is_refused() {
    for method in METHODS {
        let overlaps: &[(&str, &str)] = if has_ipv6() {
            &[
                ("127.0.0.1", "0.0.0.0"),
                ("0.0.0.0", "127.0.0.1"),
                ("0.0.0.0", "[::]"),
                ("[::]", "0.0.0.0"),
                ("[::]", "[::1]"),
            ]
        } else {
            &[("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1")]
        };
        for (first, second) in overlaps {
            let app =
                Process::start(subject_at(SUBJECT, method, &format!("{first}:0"), &["workers=1"])).unwrap();
            let addr = format!("{second}:{}", app.addr().port());
            fails(subject_at(SUBJECT, method, &addr, &["workers=1"]), 1, &[&addr, "in use"]);
            assert!(app.stop().unwrap().success(), "{method}");
        }
    }
}

#[test]
fn invariant_8_a_port_of_another_user_is_refused_also_where_that_one_would_share_it() {
    let sharing = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    sharing.set_reuse_port(true).unwrap();
    sharing.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    sharing.listen(1).unwrap();
    let addr = sharing.local_addr().unwrap().as_socket().unwrap().to_string();
    // A copy where another user can reach it: the target folder may be in a home directory.
    let folder = Folder::new("other-user");
    let program = folder.path("subject");
    fs::copy(SUBJECT, &program).unwrap();
    for method in METHODS {
        fails(subject_at(SUBJECT, method, &addr, &["workers=1"]), 1, &[&addr, "in use"]);
        if nix::unistd::geteuid().is_root() {
            let mut command = subject_at(&program.display().to_string(), method, &addr, &["workers=1"]);
            command.uid(65_534).gid(65_534);
            fails(command, 1, &[&addr, "in use"]);
        }
    }
}

#[test]
fn localhost_is_served_and_a_second_copy_of_it_refused() {
    for method in METHODS {
        let app = Process::start(subject_at(SUBJECT, method, "localhost:0", &["workers=1"])).unwrap();
        assert!(who(app.addr()).is_ok(), "{method}");
        let addr = format!("localhost:{}", app.addr().port());
        fails(subject_at(SUBJECT, method, &addr, &["workers=1"]), 1, &[&addr, "in use"]);
    }
}

#[test]
fn a_client_that_waits_while_all_workers_are_replaced_is_served_at_a_unix_socket_too() {
    for method in METHODS {
        let folder = Folder::new(method);
        let path = folder.path("app.sock");
        let app = start_at(&path, method, &["workers=1", "fast"]);
        let worker = app.workers()[0].pid;
        signal(worker, Signal::SIGSTOP).unwrap();
        eventually("it has stopped", || cluster_tests::is_stopped(worker));
        let waiting: Vec<_> = (0..20).map(|_| say_at(&path, "who").unwrap()).collect();
        signal(worker, Signal::SIGKILL).unwrap();
        for client in waiting {
            client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            assert!(listen(client).unwrap().starts_with("2 0 "), "{method}: by the successor");
        }
    }
}
