//! What is set about HTTP holds in every worker, by both methods.
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use cluster_tests::{METHODS, Process, subject_at};

const WEB: &str = env!("CARGO_BIN_EXE_web");
const PATIENCE: Duration = Duration::from_secs(60);

fn start(method: &str, knobs: &[&str]) -> Process {
    Process::start(subject_at(WEB, "axum", method, &[&["127.0.0.1:0"], knobs].concat())).unwrap()
}

/// Says something on a new connection, and hears what comes until it is closed, which takes so long.
fn hear(app: &Process, said: &str) -> (String, Duration) {
    let mut stream = TcpStream::connect(app.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let start = Instant::now();
    stream.write_all(said.as_bytes()).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    (heard, start.elapsed())
}

#[test]
fn small_answers_leave_at_once_unless_they_may_wait() {
    for method in METHODS {
        for (knobs, answer) in [(&[][..], "Some(true)"), (&["delay"][..], "Some(false)")] {
            let app = start(method, knobs);
            let (heard, _) = hear(&app, "GET /nodelay HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
            assert!(heard.ends_with(answer), "{method} {knobs:?}: {heard}");
            assert!(app.stop().unwrap().success());
        }
    }
}

#[test]
fn each_deadline_is_its_own() {
    for method in METHODS {
        let app = start(method, &["head-ms=300", "idle-ms=900", "body-ms=600"]);
        let cases = [
            ("", 300, ""),
            ("GET / HT", 300, ""),
            ("GET / HTTP/1.1\r\nHost: test\r\n\r\n", 900, "HTTP/1.1 200 "),
            ("POST /take HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nsome", 600, "HTTP/1.1 408 "),
            ("GET / HTTP/1.1\r\nHost: test\r\n\r\n", 900, "HTTP/1.1 200 "),
        ];
        for (said, millis, begins) in cases {
            let limit = Duration::from_millis(millis);
            let (heard, elapsed) = hear(&app, said);
            assert!(
                heard.starts_with(begins) && heard.is_empty() == begins.is_empty(),
                "{method} {said:?}: {heard}"
            );
            // A loaded machine is late; nobody is early.
            assert!(elapsed >= limit && elapsed < PATIENCE / 2, "{method} {said:?}: {elapsed:?}");
        }
        assert!(app.stop().unwrap().success());
    }
}
