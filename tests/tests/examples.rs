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
        let mut ids = HashSet::new();
        // How many requests that takes is nobody's promise: a worker may wait for a processor while others answer.
        cluster_tests::eventually("four workers answer", || {
            ids.insert(hello_id(&get(app.addr(), "/").unwrap()));
            ids == HashSet::from([1, 2, 3, 4])
        });
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

/// Sends a request with a body on a new connection, and takes the answer's.
fn post(addr: SocketAddr, path: &str, text: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let len = text.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: text/plain\r\n\
         Content-Length: {len}\r\n\r\n{text}"
    )?;
    body(stream)
}

/// The list of `message_broadcast`: by worker, what it has heard.
fn heard(addr: SocketAddr) -> Vec<(u64, Vec<String>)> {
    serde_json::from_str(&get(addr, "/heard").unwrap()).unwrap()
}

#[test]
fn what_is_said_to_any_worker_is_heard_by_all_once_and_in_order() {
    for name in ["message_broadcast", "message_broadcast_actix"] {
        let app = start(name);
        // `worker N says it to 3 others`, by text: who has said it, and in which order.
        let mut said: Vec<(String, u64)> = Vec::new();
        for number in 0..1000 {
            let text = format!("text {number}");
            let answer = post(app.addr(), "/say", &text).unwrap();
            let words: Vec<&str> = answer.split_whitespace().collect();
            assert_eq!(words[2..], ["says", "it", "to", "3", "others"], "{name}: {answer}");
            said.push((text, words[1].parse().unwrap()));
        }
        let all = |list: &[(u64, Vec<String>)]| list.iter().all(|(_, texts)| texts.len() >= said.len());
        cluster_tests::eventually("all have heard all", || all(&heard(app.addr())));
        let list = heard(app.addr());
        assert_eq!(
            list.iter().map(|(id, _)| *id).collect::<HashSet<_>>(),
            HashSet::from([1, 2, 3, 4]),
            "{name}"
        );
        for (listener, texts) in list {
            assert_eq!(texts.len(), said.len(), "{name}: worker {listener}");
            for speaker in 1..=4 {
                let of_speaker: Vec<_> =
                    said.iter().filter(|(_, by)| *by == speaker).map(|(text, _)| text).collect();
                let spoken: HashSet<_> = of_speaker.iter().copied().collect();
                let got: Vec<_> = texts.iter().filter(|text| spoken.contains(text)).collect();
                assert!(got == of_speaker, "{name}: worker {listener} of worker {speaker}");
            }
        }
        assert!(app.stop().unwrap().success(), "{name}");
    }
}

#[test]
fn what_is_said_to_all_workers_at_once_is_heard_by_all_once_and_in_order() {
    for name in ["message_broadcast", "message_broadcast_actix"] {
        let app = start(name);
        let addr = app.addr();
        let speakers: Vec<_> = (0..8)
            .map(|speaker| {
                std::thread::spawn(move || -> Vec<(u64, String)> {
                    let texts = (0..125).map(|number| format!("{speaker} {number}"));
                    let said = texts.map(|text| {
                        let answer = post(addr, "/say", &text).unwrap();
                        (answer.split(' ').nth(1).unwrap().parse().unwrap(), text)
                    });
                    said.collect()
                })
            })
            .collect();
        let said: Vec<Vec<(u64, String)>> =
            speakers.into_iter().map(|speaker| speaker.join().unwrap()).collect();
        cluster_tests::eventually("all have heard all", || {
            heard(addr).iter().all(|(_, texts)| texts.len() >= 1000)
        });
        for (listener, texts) in heard(addr) {
            assert_eq!(texts.iter().collect::<HashSet<_>>().len(), 1000, "{name}: worker {listener}");
            assert_eq!(texts.len(), 1000, "{name}: worker {listener}");
            // What one client has said to one worker was said one after the other.
            for of_client in &said {
                for worker in 1..=4 {
                    let order = of_client.iter().filter(|(by, _)| *by == worker).map(|(_, text)| text);
                    let at = order.map(|text| texts.iter().position(|heard| heard == text).unwrap());
                    assert!(at.is_sorted(), "{name}: worker {listener} of worker {worker}");
                }
            }
        }
        assert!(app.stop().unwrap().success(), "{name}");
    }
}

#[test]
fn the_counter_on_the_primary_side_counts_each_visit_once() {
    let app = start("ask_primary");
    let visits: Vec<u64> = (0..400)
        .map(|_| {
            let answer = get(app.addr(), "/").unwrap();
            let number = answer.strip_prefix("visit ").and_then(|rest| rest.split(',').next());
            number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
        })
        .collect();
    assert_eq!(visits, (1..=400).collect::<Vec<u64>>());
    assert!(app.stop().unwrap().success());
}

#[test]
fn the_timer_on_the_primary_side_ticks_for_all_workers() {
    let app = start("primary_timer");
    let mut ticks = std::collections::HashMap::new();
    cluster_tests::eventually("all workers have heard ten ticks", || {
        let answer = get(app.addr(), "/").unwrap();
        let words: Vec<&str> = answer.split_whitespace().collect();
        let ["worker", id, "has", "heard", "tick", tick] = words[..] else { panic!("{answer:?}") };
        ticks.insert(id.to_owned(), tick.parse::<u64>().unwrap());
        ticks.len() == 4 && ticks.values().all(|tick| *tick >= 10)
    });
    assert!(app.stop().unwrap().success());
}

#[test]
fn the_alert_tells_of_exits_that_nobody_asked_for() {
    let alerts = std::env::temp_dir().join(format!("cluster-alerts-{}", std::process::id()));
    let mut command = Command::new(folder().join("exit_alert"));
    command
        .arg("127.0.0.1:0")
        .env("CLUSTER_WORKERS", "4")
        .env_remove("WEB_CONCURRENCY")
        .env("ALERTS", &alerts);
    let app = Process::start(command).unwrap();
    let read = || std::fs::read_to_string(&alerts).unwrap_or_default();
    signal(app.workers()[1].pid, Signal::SIGKILL).unwrap();
    cluster_tests::eventually("there is an alert", || read().ends_with('\n'));
    signal(app.workers()[0].pid, Signal::SIGTERM).unwrap();
    app.wait_for_workers(|now| now.iter().any(|worker| worker.id == 6)).unwrap();
    assert!(app.stop().unwrap().success());
    let said = read();
    assert!(said.starts_with("worker 2 (slot 1, pid ") && said.contains("; signal 9, "), "{said}");
    assert_eq!(said.lines().count(), 1, "what was asked for is no alert: {said}");
    std::fs::remove_file(alerts).unwrap();
}

#[test]
fn an_application_for_operators_is_on_a_unix_socket_beside() {
    let folder = cluster_tests::Folder::new("admin");
    let path = folder.path("admin.sock");
    let mut command = Command::new(self::folder().join("admin_beside"));
    command
        .args(["127.0.0.1:0", path.to_str().unwrap()])
        .env("CLUSTER_WORKERS", "4")
        .env_remove("WEB_CONCURRENCY");
    let app = Process::start(command).unwrap();
    assert!((1..=4).contains(&hello_id(&get(app.addr(), "/").unwrap())));
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    write!(stream, "GET /health HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" of 4 is fine, user "), "{answer}");
    assert!(app.stop().unwrap().success());
    assert!(!path.exists());
}

#[test]
fn https_is_served_with_a_certificate_that_the_example_makes_and_sessions_are_resumed() {
    use cluster_tests::tls::{self, Pair, VERSIONS};
    use std::os::unix::fs::PermissionsExt;

    let files = cluster_tests::Folder::new("https");
    let (cert, key) = (files.path("cert.pem"), files.path("key.pem"));
    let mut command = Command::new(folder().join("axum_tls"));
    command.arg("127.0.0.1:0").args([&cert, &key]);
    command.env("CLUSTER_WORKERS", "4").env_remove("WEB_CONCURRENCY");
    let app = Process::start(command).unwrap();
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let client = std::sync::Arc::new(tls::client(&[&Pair::read(cert, key)], &VERSIONS, &[]));
    let first = tls::get(app.addr(), &client, "/").unwrap();
    assert!(first.text.ends_with("session new\n"), "{}", first.text);
    let mut ids = HashSet::from([hello_id(&first.text)]);
    cluster_tests::eventually("four workers answer", || {
        let answer = tls::get(app.addr(), &client, "/").unwrap();
        assert!(answer.text.ends_with("session resumed\n"), "{}", answer.text);
        ids.insert(hello_id(&answer.text));
        ids.len() == 4
    });
    assert!(app.stop().unwrap().success());
}
