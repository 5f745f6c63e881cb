//! What actix-web's `HttpServer` can do and a cluster has to do differently.
use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;

use cluster_tests::{Folder, METHODS, Process, connect, eventually, subject};

const SERVER: &str = env!("CARGO_BIN_EXE_actix_server");

fn start(method: &str, knobs: &[&str]) -> Process {
    Process::start(subject(SERVER, method, knobs)).unwrap()
}

fn request(addr: SocketAddr, path: &str) -> TcpStream {
    let mut stream = connect(addr).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

fn body(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn two_servers_are_two_applications_of_one_cluster_with_the_larger_number_of_workers() {
    for method in METHODS {
        let app = start(method, &["two"]);
        assert_eq!(app.workers().len(), 2, "{method}");
        let addrs = app.addrs();
        assert_eq!(addrs.len(), 2, "{method}");
        for (addr, name) in addrs.into_iter().zip(["shop", "admin"]) {
            let mut seen = HashSet::new();
            eventually("both workers answer", || {
                seen.insert(body(request(addr, "/")));
                seen.len() == 2
            });
            assert_eq!(seen, HashSet::from([format!("{name} 0"), format!("{name} 1")]), "{method}");
        }
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn the_threads_of_a_worker_share_its_connections() {
    for method in METHODS {
        let app = start(method, &["threads"]);
        assert_eq!(app.workers().len(), 1);
        let answers: Vec<_> = (0..6).map(|_| request(app.addr(), "/")).collect();
        let answers: Vec<_> = answers.into_iter().map(body).collect();
        assert!(answers.iter().all(|answer| answer.ends_with("Some(7)")), "{answers:?}");
        let threads: HashSet<_> = answers.into_iter().collect();
        assert_eq!(threads.len(), 3, "{method}: {threads:?}");
        // A drain waits for what the other threads serve.
        let open: Vec<_> = (0..3).map(|_| request(app.addr(), "/")).collect();
        // Another connection that is answered says that they were taken.
        body(request(app.addr(), "/"));
        app.signal(Signal::SIGTERM as i32).unwrap();
        open.into_iter().for_each(|stream| drop(body(stream)));
        assert!(app.wait().unwrap().success(), "{method}");
    }
}

#[test]
fn a_shutdown_signal_stops_the_cluster_and_so_does_a_real_one() {
    for method in METHODS {
        let folder = Folder::new("shutdown");
        let file = folder.path("stop");
        let knobs = ["shutdown", file.to_str().unwrap(), "signals"];
        assert!(start(method, &knobs).stop().unwrap().success(), "{method}");
        let app = start(method, &knobs);
        assert_eq!(body(request(app.addr(), "/")), "hello");
        fs::write(&file, "").unwrap();
        assert!(app.wait().unwrap().success(), "{method}");
    }
}

#[test]
fn signals_that_are_disabled_have_their_default_effect_and_workers_drain() {
    use std::os::unix::process::ExitStatusExt;
    for method in METHODS {
        let folder = Folder::new("signals");
        let mut app = start(method, &["shutdown", folder.path("stop").to_str().unwrap()]);
        app.signal(Signal::SIGTERM as i32).unwrap();
        let status = app.wait_for_primary().unwrap();
        assert_eq!(status.signal(), Some(Signal::SIGTERM as i32), "{method}");
        app.wait_for_no_process().unwrap();
    }
}

#[test]
fn a_paused_worker_takes_no_connection_until_it_is_resumed() {
    for method in METHODS {
        let folder = Folder::new("pause");
        let file = folder.path("resume");
        let app = start(method, &["pause", file.to_str().unwrap()]);
        assert_eq!(body(request(app.addr(), "/pause")), "paused");
        let mut waits = request(app.addr(), "/");
        waits.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let err = waits.read(&mut [0]).unwrap_err();
        assert_eq!(err.kind(), std::io::ErrorKind::WouldBlock, "{method}: {err}");
        fs::write(&file, "").unwrap();
        waits.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        assert_eq!(body(waits), "hello", "{method}");
        // In a drain a pause ends: what is queued has nobody else.
        fs::remove_file(&file).unwrap();
        assert_eq!(body(request(app.addr(), "/pause")), "paused");
        let queued = request(app.addr(), "/");
        app.signal(Signal::SIGTERM as i32).unwrap();
        assert_eq!(body(queued), "hello", "{method}");
        assert!(app.wait().unwrap().success(), "{method}");
    }
}
