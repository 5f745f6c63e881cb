//! Slow clients are closed by their deadlines, cost the others nothing, and leave no memory behind.
//!
//! The large run: `SLOW_CLIENTS=1000 cargo test --release -p cluster-tests --test slow_clients -- --nocapture
//! --test-threads=1`. So many clients send a byte per second, with the deadlines that hold by default, for a minute; it
//! prints what it has measured, and wants the others' 99th percentile within 20 %.
use std::env;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use cluster_tests::{Process, eventually, status_field, subject_at};

const WEB: &str = env!("CARGO_BIN_EXE_web");

/// What a framework does by default.
struct Framework {
    name: &'static str,
    /// So long has the head of a connection's first request.
    head: Duration,
    /// What its client is told then.
    told: &'static str,
    /// So long may closing take, with a client that goes on sending.
    closing: Duration,
}

const FRAMEWORKS: [Framework; 2] = [
    Framework { name: "axum", head: Duration::from_secs(30), told: "", closing: Duration::from_secs(1) },
    Framework {
        name: "actix",
        head: Duration::from_secs(5),
        told: TIMED_OUT,
        closing: Duration::from_secs(1),
    },
];
/// So long has a body, with both.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const TIMED_OUT: &str = "HTTP/1.1 408 ";

/// What is tried.
struct Trial {
    clients: usize,
    /// Between two bytes of one client.
    pace: Duration,
    /// What heads and bodies have; none: as by default.
    limit: Option<Duration>,
    /// How long it goes on.
    lasts: Duration,
    knobs: Vec<String>,
    is_large: bool,
}

impl Trial {
    fn of_this_run() -> Self {
        let wanted = env::var("SLOW_CLIENTS").ok().map(|number| number.parse().expect("a number"));
        let second = Duration::from_secs(1);
        match wanted {
            Some(clients) => Self {
                clients,
                pace: second,
                limit: None,
                lasts: 60 * second,
                knobs: Vec::new(),
                is_large: true,
            },
            None => Self {
                clients: 50,
                pace: second / 20,
                limit: Some(second),
                lasts: 3 * second,
                knobs: vec!["head-ms=1000".into(), "body-ms=1000".into()],
                is_large: false,
            },
        }
    }
}

/// What slow clients begin with, before they send byte after byte.
const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nX: ";
const BODY: &[u8] = b"POST /take HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n";

/// A client that sends a byte now and then.
struct Slow {
    stream: TcpStream,
    begun: Instant,
    heard: Vec<u8>,
    closed: Option<Duration>,
}

impl Slow {
    fn begin(addr: SocketAddr, with: &[u8]) -> Self {
        let mut stream = TcpStream::connect(addr).unwrap();
        let begun = Instant::now();
        stream.write_all(with).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, begun, heard: Vec::new(), closed: None }
    }

    /// Sends a byte, if nobody has closed; hears what there is.
    fn turn(&mut self) {
        let mut some = [0; 1024];
        loop {
            match self.stream.read(&mut some) {
                Ok(read @ 1..) => self.heard.extend(&some[..read]),
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => break,
                Ok(0) | Err(_) => {
                    self.closed.get_or_insert_with(|| self.begun.elapsed());
                    return;
                }
            }
        }
        // An error is told by the next read.
        let _ = self.stream.write(b"x");
    }
}

/// Has so many slow clients until the trial is over; answers with them.
fn slow(trial: &Trial, addr: SocketAddr, with: &[u8]) -> Vec<Slow> {
    let end = Instant::now() + trial.lasts;
    let mut clients: Vec<Slow> = (0..trial.clients).map(|_| Slow::begin(addr, with)).collect();
    // They do not send in step: between two bytes of one, each of the others has its turn.
    for next in (0..trial.clients).cycle() {
        let turn = Instant::now();
        if turn >= end {
            break;
        }
        if clients[next].closed.is_none() {
            clients[next].turn();
        }
        thread::sleep((trial.pace / trial.clients as u32).saturating_sub(turn.elapsed()));
    }
    clients
}

/// Somebody who is in no way slow, and asks on one connection every few milliseconds.
struct Other {
    ends: Arc<AtomicBool>,
    asking: JoinHandle<Vec<Duration>>,
}

impl Other {
    fn begin(addr: SocketAddr) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let until = ends.clone();
        let asking = thread::spawn(move || {
            let mut taken = Vec::new();
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            while !until.load(Ordering::Relaxed) {
                let begun = Instant::now();
                stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
                let mut heard = Vec::new();
                while !heard.ends_with(b"asks worker 0") && !heard.ends_with(b"asks worker 1") {
                    let mut some = [0; 1024];
                    let read = stream.read(&mut some).unwrap();
                    assert_ne!(read, 0, "the others are served");
                    heard.extend(&some[..read]);
                }
                taken.push(begun.elapsed());
                thread::sleep(Duration::from_millis(2));
            }
            taken
        });
        Self { ends, asking }
    }

    /// The 99th percentile.
    fn end(self) -> Duration {
        self.ends.store(true, Ordering::Relaxed);
        let mut taken = self.asking.join().unwrap();
        taken.sort_unstable();
        taken[taken.len() * 99 / 100]
    }
}

/// Memory of all workers, in KiB.
fn memory(app: &Process) -> u64 {
    app.workers().iter().filter_map(|worker| status_field(worker.pid, "RssAnon")).sum()
}

/// As many descriptors as this process may have.
fn raise_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// While nobody is slow.
fn usual(trial: &Trial, addr: SocketAddr) -> Duration {
    let other = Other::begin(addr);
    thread::sleep(trial.lasts / 3);
    other.end()
}

fn try_it(trial: &Trial, of: &Framework, (what, with): (&str, &[u8]), deadline: Duration, says: &str) {
    let framework = of.name;
    raise_limit();
    let deadline = trial.limit.unwrap_or(deadline);
    let knobs: Vec<&str> =
        ["127.0.0.1:0"].into_iter().chain(trial.knobs.iter().map(String::as_str)).collect();
    let app = Process::start(subject_at(WEB, framework, "fork", &knobs)).unwrap();
    let memory_at_first = memory(&app);
    let slack = trial.pace * 2 + Duration::from_millis(500);
    let most = deadline + of.closing + slack;
    // Once, so that what is made once is made, and what is kept for the next ones is kept.
    drop(slow(&Trial { lasts: most, knobs: Vec::new(), ..*trial }, app.addr(), with));
    let before = usual(trial, app.addr());
    let memory_before = memory(&app);
    let other = Other::begin(app.addr());
    let clients = slow(trial, app.addr(), with);
    let meanwhile = other.end();
    let closed: Vec<Duration> = clients.iter().map(|client| client.closed.expect("all are closed")).collect();
    let (first, last) = (closed.iter().min().unwrap(), closed.iter().max().unwrap());
    assert!(*first + slack >= deadline && *last <= most, "{what}: from {first:?} to {last:?}");
    for client in &clients {
        let heard = String::from_utf8_lossy(&client.heard);
        assert!(heard.starts_with(says) && heard.is_empty() == says.is_empty(), "{what}: {heard}");
    }
    let memory_at_most = memory(&app);
    drop(clients);
    println!(
        "{framework}, {} slow {what}: closed after {first:.1?} to {last:.1?}; 99th percentile of the others {before:.0?} \
         before, {meanwhile:.0?} meanwhile; memory of both workers {memory_at_first} KiB at first, {memory_before} KiB \
         before, {memory_at_most} KiB when the last was closed",
        trial.clients,
    );
    // Pages are given back whole: some of what lives on is elsewhere than before.
    let allowance = 1024 + memory_before / 10;
    eventually("memory is back", || memory(&app) <= memory_before + allowance);
    println!("{framework}, {what}: memory {} KiB after", memory(&app));
    if trial.is_large {
        assert!(meanwhile < before.mul_f64(1.2), "{what}: {before:?} became {meanwhile:?}");
    }
    assert!(app.stop().unwrap().success());
}

#[test]
fn slow_heads_are_closed_and_cost_the_others_nothing() {
    let trial = Trial::of_this_run();
    for framework in &FRAMEWORKS {
        try_it(&trial, framework, ("heads", HEAD), framework.head, framework.told);
    }
}

#[test]
fn slow_bodies_are_answered_with_408_and_cost_the_others_nothing() {
    let trial = Trial::of_this_run();
    for framework in &FRAMEWORKS {
        try_it(&trial, framework, ("bodies", BODY), BODY_TIMEOUT, TIMED_OUT);
    }
}

/// Other allocators than glibc's have ways of their own.
#[cfg(target_env = "gnu")]
#[test]
fn what_a_peak_of_connections_has_left_goes_back_to_the_system() {
    const CLIENTS: usize = 1000;
    /// A heartbeat comes every second: they are seen.
    const STAYS: Duration = Duration::from_secs(3);
    raise_limit();
    for framework in &FRAMEWORKS {
        let app = Process::start(subject_at(WEB, framework.name, "fork", &["127.0.0.1:0"])).unwrap();
        let at_first = memory(&app);
        let clients: Vec<Slow> = (0..CLIENTS).map(|_| Slow::begin(app.addr(), BODY)).collect();
        eventually("all have cost memory", || memory(&app) >= at_first + 10 * CLIENTS as u64);
        thread::sleep(STAYS);
        let at_most = memory(&app);
        drop(clients);
        eventually("half of it is back", || memory(&app) <= at_first + (at_most - at_first) / 2);
        assert!(app.stop().unwrap().success());
    }
}
