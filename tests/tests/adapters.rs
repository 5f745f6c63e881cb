//! What both adapters lend to handlers of requests: free functions, the worker as an argument, errors as answers.
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use cluster_tests::{METHODS, Process, eventually};

const MESSENGER: &str = env!("CARGO_BIN_EXE_messenger");
const FRAMEWORKS: [&str; 2] = ["axum", "actix"];

struct App {
    process: Process,
    file: PathBuf,
}

impl App {
    fn start(test: &str, framework: &str, method: &str) -> Self {
        Self::start_with(test, framework, method, &[])
    }

    fn start_with(test: &str, framework: &str, method: &str, variables: &[(&str, &str)]) -> Self {
        let name = format!("cluster-{test}-{}-{framework}-{method}", std::process::id());
        let file = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&file);
        let mut command = Command::new(MESSENGER);
        command.args([framework, method]).arg(&file).envs(variables.iter().copied());
        for variable in ["CLUSTER_WORKERS", "WEB_CONCURRENCY", "CLUSTER_ROLE"] {
            command.env_remove(variable);
        }
        Self { process: Process::start(command).unwrap(), file }
    }

    /// The status and the body of an answer.
    fn get(&self, path: &str) -> (u16, String) {
        get(self.process.addr(), path).unwrap_or_else(|err| panic!("{path}: {err}"))
    }

    /// The lines that begin like this, without that.
    fn noted(&self, start: &str) -> Vec<String> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().filter_map(|line| line.strip_prefix(start)).map(str::to_owned).collect()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

fn get(addr: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, body.to_owned()))
}

fn each(test: &str, check: impl Fn(&App, &str)) {
    for framework in FRAMEWORKS {
        for method in METHODS {
            let app = App::start(test, framework, method);
            check(&app, &format!("{framework}, {method}"));
        }
    }
}

#[test]
fn an_error_of_sending_answers_503_and_an_answer_that_does_not_come_504() {
    each("answers", |app, which| {
        assert_eq!(app.get("/gone"), (503, "worker 4711 is gone".to_owned()), "{which}");
        let (status, body) = app.get("/unknown");
        assert_eq!(status, 503, "{which}");
        assert!(body.ends_with("has no on_ask handler for Unknown"), "{which}: {body}");
        let (status, body) = app.get("/slow");
        assert_eq!(status, 504, "{which}");
        assert!(body.ends_with("did not answer within 50ms"), "{which}: {body}");
    });
}

#[test]
fn the_free_send_reaches_the_primary_side() {
    each("send", |app, which| {
        (0..10).for_each(|_| assert_eq!(app.get("/tell").0, 200, "{which}"));
        eventually("all have come", || app.noted("director: ").len() >= 10);
        let heard = app.noted("director: ");
        assert_eq!(heard.len(), 10, "{which}: {heard:?}");
        assert!(heard.iter().all(|line| ["1 told", "2 told", "3 told"].contains(&line.as_str())), "{which}");
    });
}

#[test]
fn what_main_registers_hears_the_free_broadcast_once_in_each_other_worker_and_nowhere_else() {
    each("broadcast", |app, which| {
        for round in 1..=10 {
            let (status, body) = app.get("/say");
            let (speaker, reached) = body.split_once(": ").unwrap();
            assert_eq!((status, reached), (200, "2"), "{which}: {body}");
            let id: u64 = speaker.strip_prefix("worker ").unwrap().parse().unwrap();
            // Two handlers in each of two workers.
            eventually("all have heard it", || app.noted("worker ").len() >= 4 * round);
            let all = app.noted("worker ");
            let mut now = all[4 * (round - 1)..].to_vec();
            now.sort();
            let others: Vec<u64> = (1..=3).filter(|other| *other != id).collect();
            let expected = others
                .iter()
                .flat_map(|other| [format!("{other}: from Some(WorkerId({id}))"), format!("{other}: said")]);
            assert_eq!(now, expected.collect::<Vec<_>>(), "{which}");
        }
    });
}

#[test]
fn a_worker_that_a_request_makes_hang_is_replaced_and_the_others_serve_on() {
    for (framework, method) in
        FRAMEWORKS.iter().flat_map(|framework| METHODS.map(|method| (framework, method)))
    {
        let app = App::start_with("hang", framework, method, &[("MESSENGER_HANG", "2000")]);
        let mut stuck = TcpStream::connect(app.process.addr()).unwrap();
        stuck.write_all(b"GET /loop HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        while app.noted("exit: ").is_empty() {
            assert_eq!(app.get("/tell").0, 200, "{framework}, {method}");
        }
        let exits = app.noted("exit: ");
        assert!(exits.len() == 1 && exits[0].ends_with(" Hung"), "{framework}, {method}: {exits:?}");
        assert_eq!(stuck.read(&mut [0; 1]).unwrap_or(0), 0, "{framework}, {method}: its own request is lost");
        app.process.wait_for_workers(|now| now.iter().any(|worker| worker.id == 4)).unwrap();
    }
}

#[test]
fn the_free_send_and_broadcast_outside_a_worker_are_errors() {
    each("early", |app, which| {
        let said = app.noted("early: ");
        assert!(!said.is_empty(), "{which}");
        assert!(said.iter().all(|line| line == "Some(Err(NoWorker))"), "{which}: {said:?}");
    });
}
