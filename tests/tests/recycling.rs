//! Workers that have served for long enough are replaced, and nobody who asks them meets an end.
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use cluster_tests::{METHODS, Process, subject_at};

const WEB: &str = env!("CARGO_BIN_EXE_web");

fn get(addr: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_worker_is_recycled_when_it_has_answered_enough_and_no_request_is_lost() {
    for framework in ["axum", "actix"] {
        for method in METHODS {
            let command = subject_at(WEB, framework, method, &["127.0.0.1:0", "max-requests=20"]);
            let app = Process::start(command).unwrap();
            app.wait_for_line("all-ready", 0).unwrap();
            let first: Vec<u64> = app.workers().into_iter().map(|worker| worker.id).collect();
            // What workers have answered is looked at every 5 s; until both are recycled somebody asks.
            let mut asked = 0;
            while app.workers().iter().any(|worker| first.contains(&worker.id)) || app.workers().len() < 2 {
                let answer = get(app.addr()).unwrap();
                assert!(answer.contains("asks worker"), "{framework}, {method}: {answer}");
                asked += 1;
            }
            assert!(asked >= 20, "{framework}, {method}: not before: {asked}");
            assert!(app.stop().unwrap().success(), "{framework}, {method}");
        }
    }
}
