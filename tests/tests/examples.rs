//! The examples do what their first lines say, with 4 workers each.
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::Signal;

use cluster_tests::{Process, signal};

const HELLO: [&str; 4] = ["hello_axum", "hello_axum_await", "hello_actix", "hello_actix_fork"];

/// The folder of the examples; cargo builds them first where the tests of this package are run alone.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(|deps| deps.parent()).unwrap().to_owned();
        let mut build = Command::new(env!("CARGO"));
        // All of the workspace, as `cargo test --workspace` has it: then there is nothing left to build.
        build.args(["build", "--quiet", "--workspace", "--examples"]);
        build.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        assert!(build.status().unwrap().success(), "the examples do not build");
        profile.join("examples")
    })
}

fn start(name: &str) -> Process {
    let mut command = Command::new(folder().join(name));
    command.arg("127.0.0.1:0").env("CLUSTER_WORKERS", "4").env_remove("WEB_CONCURRENCY");
    Process::start(command).unwrap()
}

/// Sends a request on a new connection.
fn request(addr: SocketAddr, path: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    Ok(stream)
}

/// The body of an answer with status 200.
fn body(mut stream: TcpStream) -> std::io::Result<String> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    if head.starts_with("HTTP/1.1 200") {
        Ok(body.to_owned())
    } else {
        Err(std::io::Error::other(head.to_owned()))
    }
}

fn get(addr: SocketAddr, path: &str) -> std::io::Result<String> {
    body(request(addr, path)?)
}

/// The id in `hello from worker ID (pid PID)`.
fn hello_id(answer: &str) -> u64 {
    let id = answer.strip_prefix("hello from worker ").and_then(|rest| rest.split(' ').next());
    id.and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("no greeting: {answer:?}"))
}

#[test]
fn each_hello_reaches_four_workers() {
    for name in HELLO {
        let app = start(name);
        let ids: HashSet<u64> = (0..400).map(|_| hello_id(&get(app.addr(), "/").unwrap())).collect();
        assert_eq!(ids, HashSet::from([1, 2, 3, 4]), "{name}");
        assert!(app.stop().unwrap().success(), "{name}");
    }
}

#[test]
fn each_hello_survives_a_killed_worker_without_a_failed_request() {
    for name in HELLO {
        let app = start(name);
        let victim = app.workers()[1];
        signal(victim.pid, Signal::SIGKILL).unwrap();
        for request in 0..1000 {
            get(app.addr(), "/").unwrap_or_else(|err| panic!("{name}: request {request}: {err}"));
        }
        let workers = app.wait_for_workers(|workers| workers.len() == 4).unwrap();
        assert_eq!((workers[1].slot, workers[1].id), (1, 5), "{name}");
    }
}

#[test]
fn a_stop_with_nothing_open_is_quick_and_clean() {
    for name in HELLO {
        let app = start(name);
        get(app.addr(), "/").unwrap();
        let stopped = app.stop().unwrap();
        assert_eq!(stopped.code(), Some(0), "{name}");
    }
}

#[test]
fn a_request_of_two_seconds_is_answered_while_the_cluster_stops() {
    for everybody in [false, true] {
        let app = start("crash_restart");
        let slow = request(app.addr(), "/slow?ms=2000").unwrap();
        let mut seen = HashSet::new();
        // Whoever has the slow one has it in hand once every worker has answered another.
        while seen.len() < 4 {
            seen.insert(hello_id(&get(app.addr(), "/").unwrap()));
        }
        let pids = if everybody { app.processes() } else { vec![app.pid()] };
        for pid in pids {
            // A worker may already have gone; the others count.
            let _ = signal(pid, Signal::SIGTERM);
        }
        assert!(body(slow).unwrap().starts_with("2000 ms later"), "everybody: {everybody}");
        let stopped = app.wait().unwrap();
        assert_eq!(stopped.code(), Some(0), "everybody: {everybody}");
    }
}

#[test]
fn a_crash_and_a_segfault_are_followed_by_successors() {
    let app = start("crash_restart");
    for (died, path) in ["/crash", "/segv"].into_iter().enumerate() {
        assert!(get(app.addr(), path).is_err());
        let newest = 5 + died as u64;
        app.wait_for_workers(|now| now.len() == 4 && now.iter().any(|worker| worker.id == newest)).unwrap();
    }
    assert!(app.stop().unwrap().success());
}

#[test]
fn the_core_example_echoes() {
    let app = start("hello_core");
    let mut stream = TcpStream::connect(app.addr()).unwrap();
    stream.write_all(b"is anybody there?").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut echo = String::new();
    stream.read_to_string(&mut echo).unwrap();
    assert_eq!(echo, "is anybody there?");
    assert!(app.stop().unwrap().success());
}

#[test]
fn the_policy_example_takes_any_number_of_exits_but_one_code() {
    let app = start("restart_policy");
    for life in 0..20 {
        assert!(get(app.addr(), "/exit?code=1").is_err());
        app.wait_for_workers(|now| now.len() == 4 && now.iter().any(|worker| worker.id == 5 + life)).unwrap();
    }
    assert!(get(app.addr(), "/exit?code=64").is_err());
    app.wait_for_workers(|now| now.len() == 3).unwrap();
    assert!(get(app.addr(), "/").is_ok());
    assert!(app.stop().unwrap().success());
}

#[test]
fn the_preload_example_shares_its_table() {
    let app = start("preload");
    let memory = get(app.addr(), "/mem").unwrap();
    assert!(memory.contains("PSS"), "{memory}");
    assert!(app.stop().unwrap().success());
}
