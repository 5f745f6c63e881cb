//! Both adapters listen where the core does; axum serves several applications in the same workers.
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use cluster_tests::lender::{self, lend, lender, start_with};
use cluster_tests::{Folder, METHODS, Process, eventually, fails, subject_at};

const WEB: &str = env!("CARGO_BIN_EXE_web");

fn web(framework: &str, method: &str, place: &str, more: &[&str]) -> Command {
    subject_at(WEB, framework, method, &[&[place], more].concat())
}

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// Asks for something; the answer is for `body`.
fn request<S: Write>(mut stream: S, path: &str) -> S {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

fn body(mut stream: impl Read) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn both_frameworks_serve_a_unix_socket_with_all_workers() {
    for framework in ["axum", "actix"] {
        for method in METHODS {
            let folder = Folder::new(&format!("{framework}-{method}"));
            let path = folder.path("app.sock");
            let app = Process::start(web(framework, method, &unix(&path), &[])).unwrap();
            let mut answers: Vec<_> =
                (0..200).map(|_| body(request(UnixStream::connect(&path).unwrap(), "/"))).collect();
            answers.sort();
            answers.dedup();
            assert_eq!(
                answers,
                ["app: unix asks worker 0", "app: unix asks worker 1"],
                "{framework} {method}"
            );
            fails(web(framework, method, &unix(&path), &[]), 1, &[&unix(&path), "in use"]);
            let slow = request(UnixStream::connect(&path).unwrap(), "/slow");
            app.signal(Signal::SIGTERM as i32).unwrap();
            assert_eq!(body(slow), "app: late", "{framework} {method}: a drain waits for it");
            assert!(app.wait().unwrap().success(), "{framework} {method}");
            assert!(!path.exists(), "{framework} {method}");
        }
    }
}

#[test]
fn an_application_beside_has_its_own_port_the_same_workers_and_the_same_drain() {
    for (method, also) in METHODS.iter().flat_map(|method| [(*method, "also"), (*method, "also-made")]) {
        let beside = format!("{also}=127.0.0.1:0");
        let app = Process::start(web("axum", method, "127.0.0.1:0", &[&beside])).unwrap();
        let [first, second] = app.addrs()[..] else { panic!("two addresses") };
        let ask = |addr, path| request(TcpStream::connect(addr).unwrap(), path);
        for (addr, name) in [(first, "app"), (second, "admin")] {
            let mut slots: Vec<_> = (0..200).map(|_| body(ask(addr, "/")).split_off(name.len())).collect();
            slots = slots.iter().map(|answer| answer.rsplit(' ').next().unwrap().to_owned()).collect();
            slots.sort();
            slots.dedup();
            assert_eq!(slots, ["0", "1"], "{method}: {name}");
            assert!(body(ask(addr, "/")).starts_with(&format!("{name}: 127.0.0.1:")), "{method}");
        }
        let slow = [ask(first, "/slow"), ask(second, "/slow")];
        app.signal(Signal::SIGTERM as i32).unwrap();
        let late: Vec<_> = slow.into_iter().map(body).collect();
        assert_eq!(late, ["app: late", "admin: late"], "{method}");
        eventually("both are closed", || {
            [first, second].iter().all(|addr| TcpStream::connect(addr).is_err())
        });
        assert!(app.wait().unwrap().success(), "{method}");
    }
}

#[test]
fn an_application_beside_may_have_a_unix_socket() {
    for method in METHODS {
        let folder = Folder::new(method);
        let path = folder.path("admin.sock");
        let app =
            Process::start(web("axum", method, "127.0.0.1:0", &[&format!("also={}", unix(&path))])).unwrap();
        assert!(
            body(request(UnixStream::connect(&path).unwrap(), "/")).starts_with("admin: unix "),
            "{method}"
        );
        assert!(body(request(TcpStream::connect(app.addr()).unwrap(), "/")).starts_with("app: 127.0.0.1:"));
        assert!(app.stop().unwrap().success(), "{method}");
        assert!(!path.exists(), "{method}");
    }
}

#[test]
fn invariant_8_an_address_of_an_application_beside_is_named_where_it_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for method in METHODS {
        let folder = Folder::new(method);
        let path = folder.path("app.sock");
        fails(web("axum", method, &unix(&path), &[&format!("also={addr}")]), 1, &[&addr, "in use"]);
        assert!(!path.exists(), "{method}: of a start that fails nothing is left");
    }
}

#[test]
fn both_frameworks_take_what_was_passed_and_bind_where_nothing_was() {
    let (listener, addr) = lender();
    for framework in ["axum", "actix"] {
        for method in METHODS {
            let arguments = [framework, method, "fd:web=127.0.0.1:0"];
            let command = start_with(vec![lend(&listener)], lender::WEB, WEB, &arguments);
            let app = Process::start(command).unwrap();
            assert_eq!(app.addr(), addr, "{framework} {method}");
            assert!(body(request(TcpStream::connect(addr).unwrap(), "/")).starts_with("app: 127.0.0.1:"));
            assert!(app.stop().unwrap().success(), "{framework} {method}");

            let app = Process::start(web(framework, method, "fd:web=127.0.0.1:0", &[])).unwrap();
            assert_ne!(app.addr(), addr, "{framework} {method}");
            body(request(TcpStream::connect(app.addr()).unwrap(), "/"));
            assert!(app.stop().unwrap().success(), "{framework} {method}");
            fails(web(framework, method, "fd:web", &[]), 1, &["fd:web", "LISTEN_FDS is not set"]);
        }
    }
}
