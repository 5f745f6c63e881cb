//! Clients that come again and again, and what each of their connections has seen: `subject` with the knob `greets`.
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::{Who, parse_who};

/// How long a client waits for anything before it says that it has timed out.
const TIME_OUT: Duration = Duration::from_secs(20);
/// Between an answer and the next connection: the cluster has idle workers.
const PAUSE: Duration = Duration::from_millis(2);
/// How often the machine is tried.
const TRY_EVERY: Duration = Duration::from_millis(2);
/// How much longer than on an idle machine a connection may wait on one where threads wait for a processor. Who is stuck
/// waits for the next kill or restart: for seconds.
const STARVED: Duration = Duration::from_millis(900);
/// Threads wait for a processor at that time if one did so much before or after it.
const AROUND: Duration = Duration::from_millis(20);

/// Clients under way.
#[derive(Debug)]
pub struct Load {
    ends: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Visit>>>,
    machine: Vec<JoinHandle<Vec<(Instant, Duration)>>>,
}

/// What all connections have seen.
#[derive(Debug)]
pub struct Visits {
    /// Each of them.
    pub all: Vec<Visit>,
    /// When a processor was late to run a thread that wanted nothing but to run, and by how much.
    late: Vec<(Instant, Duration)>,
}

/// One connection.
#[derive(Debug, Clone)]
pub struct Visit {
    /// When the client began to connect.
    pub began: Instant,
    /// When it was greeted, and by whom: a worker has taken it.
    pub greeted: Option<(Instant, Who)>,
    /// When it was over.
    pub ended: Instant,
    /// How.
    pub end: End,
}

/// How a connection has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With the answer, and the end after it.
    Answered,
    /// It could not connect.
    Refused(String),
    /// It was told nothing for long.
    TimedOut,
    /// Before the answer.
    Lost,
}

impl Load {
    /// So many clients begin, each with one connection after the other.
    pub fn begin(addr: SocketAddr, clients: usize) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let until_end = |ends: Arc<AtomicBool>, addr, number: usize| {
            move || {
                let mut visits = Vec::new();
                while !ends.load(Ordering::Relaxed) {
                    // Half of them are in a worker's hands for a while.
                    let line = if (visits.len() + number).is_multiple_of(2) { "who\n" } else { "slow 5\n" };
                    visits.push(visit(addr, line));
                    thread::sleep(PAUSE);
                }
                visits
            }
        };
        let clients =
            (0..clients).map(|number| thread::spawn(until_end(ends.clone(), addr, number))).collect();
        let machine = processors()
            .map(|processor| {
                let ends = ends.clone();
                thread::spawn(move || watch(processor, &ends))
            })
            .collect();
        Self { ends, clients, machine }
    }

    /// They finish what they have begun.
    pub fn end(self) -> Visits {
        self.ends.store(true, Ordering::Relaxed);
        let clients =
            self.clients.into_iter().flat_map(|client| client.join().expect("a client says how it was"));
        let all = clients.collect();
        let late = self.machine.into_iter().flat_map(|watch| watch.join().expect("it only sleeps"));
        Visits { all, late: late.collect() }
    }
}

impl Visits {
    /// How long one waited to be taken, beyond what the machine is to blame for. Where even a thread that wants nothing
    /// but to run came late in that time, those that do the work may have come later: up to `STARVED`.
    pub fn waited(&self, visit: &Visit) -> Duration {
        let taken = visit.greeted.map_or(visit.ended, |(at, _)| at);
        let starved =
            self.late.iter().any(|(at, late)| *at + AROUND > visit.began && *at - *late < taken + AROUND);
        (taken - visit.began).saturating_sub(if starved { STARVED } else { Duration::ZERO })
    }

    /// Those that ended like this.
    pub fn ended(&self, end: impl Fn(&End) -> bool) -> Vec<&Visit> {
        self.all.iter().filter(|visit| end(&visit.end)).collect()
    }
}

impl Visit {
    /// The process that had it in hand.
    pub fn pid(&self) -> Option<u32> {
        self.greeted.map(|(_, who)| who.pid)
    }
}

fn visit(addr: SocketAddr, line: &str) -> Visit {
    let began = Instant::now();
    let mut greeted = None;
    let end = match TcpStream::connect_timeout(&addr, TIME_OUT) {
        Ok(stream) => converse(stream, line, &mut greeted).unwrap_or_else(|err| ended_by(&err)),
        Err(err) => End::Refused(err.to_string()),
    };
    Visit { began, greeted, ended: Instant::now(), end }
}

fn converse(mut stream: TcpStream, line: &str, greeted: &mut Option<(Instant, Who)>) -> io::Result<End> {
    stream.set_read_timeout(Some(TIME_OUT))?;
    stream.write_all(line.as_bytes())?;
    let mut stream = BufReader::new(stream);
    let mut greeting = String::new();
    stream.read_line(&mut greeting)?;
    if !greeting.ends_with('\n') {
        return Ok(End::Lost);
    }
    *greeted = Some((Instant::now(), parse_who(greeting.trim_end())?));
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(if answer.ends_with('\n') { End::Answered } else { End::Lost })
}

fn ended_by(err: &io::Error) -> End {
    match err.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => End::TimedOut,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => End::Lost,
        _ => panic!("what no kernel says to a client: {err}"),
    }
}

/// Those that this process may run on.
fn processors() -> impl Iterator<Item = usize> {
    let may = sched_getaffinity(Pid::from_raw(0)).expect("a process may know that");
    (0..CpuSet::count()).filter(move |processor| may.is_set(*processor).unwrap_or(false))
}

/// How late a thread comes that wants to run every other millisecond, on one processor: a host that takes one away from
/// its guest leaves the others running.
fn watch(processor: usize, ends: &AtomicBool) -> Vec<(Instant, Duration)> {
    let mut only = CpuSet::new();
    only.set(processor).expect("there is such a processor");
    // It may have been taken away meanwhile: then another one is watched twice.
    let _ = sched_setaffinity(Pid::from_raw(0), &only);
    let mut late = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        let due = Instant::now() + TRY_EVERY;
        thread::sleep(TRY_EVERY);
        let now = Instant::now();
        if now > due + TRY_EVERY {
            late.push((now, now - due));
        }
    }
    late
}
