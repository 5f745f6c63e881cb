//! A headless Chromium with one page, told what to do by its DevTools protocol.
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::websocket::{FIN, TEXT, WebSocket};
use crate::{Folder, eventually};

/// Where it is, if it is.
const CHROMIUM: &str = "/usr/bin/chromium";

/// A browser with a page.
#[derive(Debug)]
pub struct Browser {
    page: WebSocket,
    asked: u64,
    _running: Running,
    _profile: Folder,
}

/// The process, and all that it has started.
#[derive(Debug)]
struct Running(Child);

impl Browser {
    /// Opens a page; none where this machine has no Chromium.
    pub fn open(url: &str) -> Option<Self> {
        if !Path::new(CHROMIUM).exists() {
            println!("skipped: there is no {CHROMIUM}");
            return None;
        }
        let profile = Folder::new("chromium");
        let running = launch(&profile, url);
        let port = profile.path("DevToolsActivePort");
        let mut told = String::new();
        eventually("the browser listens", || {
            told = fs::read_to_string(&port).unwrap_or_default();
            told.lines().count() == 2
        });
        let port: u16 = told.lines().next().expect("two lines").parse().expect("a port");
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let mut path = None;
        eventually("the page is there", || {
            path = page_of(addr).unwrap_or_default();
            path.is_some()
        });
        let page = WebSocket::connect(addr, &path.expect("it was waited for")).expect("it can be told");
        Some(Self { page, asked: 0, _running: running, _profile: profile })
    }

    /// The value of an expression on the page.
    pub fn eval(&mut self, expression: &str) -> Value {
        self.try_eval(expression).unwrap_or_else(|thrown| panic!("{expression}: {thrown}"))
    }

    /// Waits until an expression is true on the page. While the page is not there yet it throws.
    pub fn until(&mut self, expression: &str) {
        eventually(expression, || self.try_eval(expression) == Ok(Value::Bool(true)));
    }

    /// The value of an expression, or what it throws.
    fn try_eval(&mut self, expression: &str) -> Result<Value, Value> {
        self.asked += 1;
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let question = json!({"id": self.asked, "method": "Runtime.evaluate", "params": params}).to_string();
        self.page.send(FIN | TEXT, question.as_bytes()).expect("the browser is there");
        loop {
            let frame = self.page.next_frame().expect("the browser is there").expect("the page is there");
            let answer: Value = serde_json::from_slice(&frame.payload).expect("it speaks JSON");
            if answer["id"] == self.asked {
                let thrown = &answer["result"]["exceptionDetails"];
                let is_fine = thrown.is_null() && answer["error"].is_null();
                return if is_fine { Ok(answer["result"]["result"]["value"].clone()) } else { Err(answer) };
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has started others, all in its group.
        let _ = killpg(Pid::from_raw(self.0.id() as i32), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

fn launch(profile: &Folder, url: &str) -> Running {
    let process = Command::new(CHROMIUM)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ])
        .args(["--disable-extensions", "--disable-background-networking", "--remote-debugging-port=0"])
        .arg(format!("--user-data-dir={}", profile.path("").display()))
        .arg(url)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    Running(process.expect("it can be started"))
}

/// The path of the page's own socket.
fn page_of(addr: SocketAddr) -> io::Result<Option<String>> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET /json/list HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n")?;
    // It leaves the connection open, whatever it was asked.
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        if let Some(value) = line.strip_prefix("Content-Length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let pages: Vec<Value> = serde_json::from_slice(&body)?;
    let page = pages.iter().find(|page| page["type"] == "page");
    let url = page.and_then(|page| page["webSocketDebuggerUrl"].as_str());
    Ok(url
        .and_then(|url| url.strip_prefix("ws://")?.find('/').map(|at| url["ws://".len() + at..].to_owned())))
}
