//! How many requests a saturated cluster answers, and what each costs.
use std::io;
use std::time::{Duration, Instant};

use super::session::{COST, Figure, Session};
use crate::exchange::Request;

/// New connections in flight.
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
    let [warm_up, window] = if session.quick { TIMES_QUICK } else { TIMES };
    let processes = session.running.processes();
    for _ in 0..clients {
        session.swarm.ask(request);
    }
    ask_on(session, request, Instant::now() + warm_up)?;
    let (start, before) = (Instant::now(), session.processor_time(&processes)?);
    let answered = ask_on(session, request, start + window)?;
    let (elapsed, after) = (start.elapsed(), session.processor_time(&processes)?);
    finish(session, request)?;
    let used = after.saturating_sub(before);
    let mut figures = vec![Figure { what: "", unit, value: answered as f64 / elapsed.as_secs_f64() }];
    // Of nothing there is no cost; that nothing was answered is told.
    if answered > 0 {
        let each = used.as_secs_f64() * 1e6 / answered as f64;
        figures.push(Figure { what: COST, unit: "us", value: each });
    }
    Ok(figures)
}

/// Keeps as many in flight as there are; answers with how many were answered.
fn ask_on(session: &mut Session, request: Request, until: Instant) -> io::Result<usize> {
    let mut answered = 0;
    while Instant::now() < until {
        let ended = session.swarm.hear(until)?;
        for ended in &ended {
            // One that is kept asks again by itself, unless it has failed.
            if request != Request::KeptAlive || ended.outcome.is_err() {
                session.swarm.ask(request);
            }
        }
        answered += session.failures.sort_out(ended).len();
    }
    Ok(answered)
}

fn finish(session: &mut Session, request: Request) -> io::Result<()> {
    match request {
        Request::KeptAlive => session.swarm.leave(),
        Request::Hello | Request::Block => session.hear_out(|_| {})?,
    }
    Ok(())
}
