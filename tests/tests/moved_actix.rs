//! Ten programs that were written for actix-web's own server do what they did.
use std::io::{Read, Write};

use cluster_tests::{Process, connect};

const MOVED: &str = env!("CARGO_BIN_EXE_moved_actix");

struct App(Process);

impl App {
    fn start(program: &str) -> Self {
        let mut command = std::process::Command::new(MOVED);
        command.args([program, "127.0.0.1:0"]).env("CLUSTER_WORKERS", "2").env_remove("WEB_CONCURRENCY");
        Self(Process::start(command).unwrap())
    }

    /// The answer to a request with these lines of a head, and this body.
    fn ask(&self, line: &str, head: &[&str], body: &str) -> String {
        let mut stream = connect(self.0.addr()).unwrap();
        let head: String = head.iter().map(|line| format!("{line}\r\n")).collect();
        let length = body.len();
        let fixed = format!("Host: test\r\nConnection: close\r\nContent-Length: {length}\r\n");
        write!(stream, "{line} HTTP/1.1\r\n{fixed}{head}\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The answer has this status, and ends so.
    fn expect(&self, (line, head, body): (&str, &[&str], &str), status: u16, end: &str) -> String {
        let answer = self.ask(line, head, body);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
        assert!(answer.ends_with(end), "{line}: {answer}");
        answer
    }

    fn get(&self, path: &str, status: u16, end: &str) -> String {
        self.expect((&format!("GET {path}"), &[], ""), status, end)
    }
}

impl App {
    fn stop(self) {
        assert!(self.0.stop().unwrap().success());
    }
}

#[test]
fn basics() {
    let app = App::start("basics");
    app.get("/user/anna", 200, "hello anna, you asked for /user/anna");
    assert!(app.get("/", 302, "").contains("location: /user/nobody"));
    app.get("/nothing", 404, "no such page");
    app.get("/favicon", 200, "\0\0\x01\0");
    app.stop();
}

#[test]
fn json() {
    let app = App::start("json");
    let typed = ["Content-Type: application/json"];
    let order = r#"{"item":"tea","count":2}"#;
    app.expect(("POST /order", &typed, order), 200, r#"{"item":"tea","count":3}"#);
    app.expect(("POST /order", &typed, "{"), 422, "");
    let long = format!(r#"{{"item":"{}","count":2}}"#, "t".repeat(200));
    app.expect(("POST /order", &typed, &long), 422, "");
    app.stop();
}

#[test]
fn form() {
    let app = App::start("form");
    let typed = ["Content-Type: application/x-www-form-urlencoded"];
    app.expect(("POST /signup", &typed, "name=Anna&years=33"), 200, "welcome, Anna of 33 years");
    app.expect(("POST /signup", &typed, "name=Anna&years=old"), 400, "");
    app.get("/search?word=tea%20pot", 200, r#"{"word": "tea pot"}"#);
    app.get("/", 200, "action=/signup>");
    app.stop();
}

#[test]
fn middleware() {
    let app = App::start("middleware");
    app.get("/cave", 401, "no key");
    let answer = app.expect(("GET /cave/", &["X-Key: sesame"], ""), 200, "gold");
    assert!(answer.contains("x-opened: yes") && answer.contains("x-version: 1"), "{answer}");
    app.stop();
}

#[test]
fn error_handling() {
    let app = App::start("error_handling");
    app.get("/item/1", 200, "an item");
    assert!(app.get("/item/2", 503, "busy").contains("retry-after: 1"));
    app.get("/item/7", 404, "there is no 7");
    app.stop();
}

#[test]
fn scopes() {
    let app = App::start("scopes");
    app.expect(("GET /api/sum/100", &["X-Api: 1"], ""), 200, "5050");
    app.get("/api/sum/100", 404, "");
    app.stop();
}

#[test]
fn streaming() {
    let app = App::start("streaming");
    let body = "x".repeat(300_000);
    app.expect(("POST /length", &[], &body), 200, "300000");
    // Chunks, the last of which is empty.
    let answer = app.get("/count", 200, "0\r\n\r\n");
    assert!((1..=5).all(|number| answer.contains(&format!("{number} \r\n"))), "{answer}");
    app.stop();
}

#[test]
fn on_connect() {
    let app = App::start("on_connect");
    let answer = app.get("/", 200, " true");
    assert!(answer.contains("127.0.0.1:"), "{answer}");
    app.stop();
}

#[test]
fn state() {
    let app = App::start("state");
    let answers: Vec<_> = (0..50).map(|_| app.get("/", 200, "")).collect();
    // Not one number for all, which is what its page says of it.
    assert!(answers.iter().filter(|answer| answer.ends_with("request number 1")).count() > 1);
    app.stop();
}

#[test]
fn shutdown() {
    let app = App::start("shutdown");
    app.expect(("POST /stop", &[], ""), 204, "");
    assert!(app.0.wait().unwrap().success());
}
