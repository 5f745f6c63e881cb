//! A signal of the program's own stops the cluster, and is waited for in one process.
use std::io::{Read, Write};
use std::net::TcpStream;

use cluster_tests::{Folder, METHODS, Process, subject_at};

const WEB: &str = env!("CARGO_BIN_EXE_web");

#[test]
fn a_signal_stops_the_cluster_gracefully_and_is_polled_in_the_director_alone() {
    for method in METHODS {
        let folder = Folder::new("signal");
        let log = folder.path("log");
        let mut command = subject_at(WEB, "axum", method, &["127.0.0.1:0", "stop-by-message"]);
        command.stderr(std::fs::File::create(&log).unwrap());
        let app = Process::start(command).unwrap();
        let director = app.wait_for_director(None).unwrap();
        let mut slow = TcpStream::connect(app.addr()).unwrap();
        slow.write_all(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let mut stop = TcpStream::connect(app.addr()).unwrap();
        stop.write_all(b"GET /stop HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        for (mut stream, end) in [(stop, "as you wish"), (slow, "late")] {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(end), "{method}: {answer}");
        }
        assert!(app.wait().unwrap().success(), "{method}");
        let said = std::fs::read_to_string(&log).unwrap();
        let polled: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("waited for in ")).collect();
        assert_eq!(polled, [director.to_string()], "{method}");
    }
}
