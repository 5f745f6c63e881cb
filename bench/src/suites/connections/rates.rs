//! How many requests a saturated cluster answers, and what each costs.
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::session::{COST, Figure, Session};
use crate::exchange::Request;
use crate::failures::Failures;
use crate::swarm::Swarm;
use crate::window::Window;

/// Threads that ask. One alone is slower than two workers: the cluster would not be saturated, but the client.
const THREADS: usize = 2;
/// New connections in flight, of all threads.
const IN_FLIGHT: usize = 64;
/// Clients that keep their connections.
const CLIENTS: usize = 32;
/// Warming up, then measuring. A compiler that learns while it runs needs the first.
const TIMES: [Duration; 2] = [Duration::from_millis(400), Duration::from_millis(1000)];
const TIMES_QUICK: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(350)];

/// Each on a new connection: as soon as one is answered and closed, the next is opened.
pub(super) fn new_connections(session: &mut Session) -> io::Result<Vec<Figure>> {
    saturate(session, Request::Hello, IN_FLIGHT, "connections/s")
}

/// On connections that stay open.
pub(super) fn kept_alive(session: &mut Session) -> io::Result<Vec<Figure>> {
    saturate(session, Request::KeptAlive, CLIENTS, "requests/s")
}

fn saturate(
    session: &mut Session,
    request: Request,
    clients: usize,
    unit: &'static str,
) -> io::Result<Vec<Figure>> {
    let [warm_up, length] = if session.quick { TIMES_QUICK } else { TIMES };
    let processes = session.running.processes();
    let window = Window::after(warm_up, length);
    let load = Load { addr: session.running.addr(), request, clients: clients / THREADS, window };
    let (used, outcomes) = thread::scope(|scope| {
        let askers: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| load.ask())).collect();
        let used = window.kept_busy_by(&processes);
        let outcome = |asker: thread::ScopedJoinHandle<'_, _>| asker.join().expect("an asker does not panic");
        (used, askers.into_iter().map(outcome).collect::<Vec<io::Result<Outcome>>>())
    });
    let mut answered = 0;
    for outcome in outcomes {
        let outcome = outcome?;
        answered += outcome.answered;
        session.failures.add(outcome.failures);
    }
    let per_second = answered as f64 / length.as_secs_f64();
    let mut figures = vec![Figure { what: "", unit, value: per_second }];
    match used {
        Ok(used) if answered > 0 => {
            figures.push(Figure { what: COST, unit: "us", value: used * 1e6 / per_second });
        }
        // Of nothing there is no cost.
        Ok(_) => {}
        // Some of its processes have ended meanwhile. That is a failure of its own, and no end of the run.
        Err(err) => session.failures.note(&err),
    }
    Ok(figures)
}

/// What one thread does.
struct Load {
    addr: SocketAddr,
    request: Request,
    clients: usize,
    window: Window,
}

/// What has come of it.
struct Outcome {
    /// Within the window.
    answered: usize,
    failures: Failures,
}

impl Load {
    /// Keeps as many requests in flight as there are clients, until the window ends.
    fn ask(&self) -> io::Result<Outcome> {
        let Self { addr, request, clients, window } = self;
        let (mut swarm, mut failures, mut answered) = (Swarm::new(*addr)?, Failures::default(), 0);
        for _ in 0..*clients {
            swarm.ask(*request);
        }
        while Instant::now() < window.end {
            let ended = swarm.hear(window.end)?;
            for ended in &ended {
                // One that is kept asks again by itself, unless it has failed.
                if *request != Request::KeptAlive || ended.outcome.is_err() {
                    swarm.ask(*request);
                }
            }
            let answers = failures.sort_out(ended);
            answered += answers.iter().filter(|answer| window.has(answer.at)).count();
        }
        match request {
            Request::KeptAlive => swarm.leave(),
            Request::Hello | Request::Block => drop(failures.sort_out(swarm.hear_out()?)),
        }
        Ok(Outcome { answered, failures })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Answers so many connections, then none any more.
    fn server(answers: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("its address");
        thread::spawn(move || {
            for _ in 0..answers {
                let (mut client, _) = listener.accept().expect("a client");
                let asked = client.read(&mut [0; 1024]).expect("a request");
                assert!(asked > 0);
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello (pid 7)\n").expect("it listens");
            }
        });
        addr
    }

    #[test]
    fn answers_count_within_the_window_and_failures_always() {
        let now = Instant::now();
        let window = Window { start: now, end: now + Duration::from_millis(200) };
        let load = Load { addr: server(5), request: Request::Hello, clients: 1, window };
        let outcome = load.ask().expect("it needs a few descriptors only");
        assert_eq!(outcome.answered, 5);
        assert!(outcome.failures.told().is_some(), "nobody listens any more");
    }
}
