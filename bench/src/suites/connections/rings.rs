//! How many workers are woken for a connection.
use std::io;

use super::session::{Figure, Session};
use crate::exchange::Request;

const CONNECTIONS: u64 = 400;

/// One connection after the other to idle workers.
pub(super) fn of_idle_workers(session: &mut Session) -> io::Result<Vec<Figure>> {
    match per_connection(session) {
        Ok(value) => Ok(vec![Figure { what: "", unit: "rings", value }]),
        Err(err) => {
            // Told as a failure: what it does not count is no reason to end the run.
            session.failures.note(&err);
            Ok(Vec::new())
        }
    }
}

fn per_connection(session: &mut Session) -> io::Result<f64> {
    let before = session.counters()?;
    for _ in 0..CONNECTIONS {
        session.swarm.ask(Request::Hello);
        session.hear_out(|_| {})?;
    }
    let after = session.counters()?;
    let rings = after.rings.saturating_sub(before.rings);
    let connections = after.connections.saturating_sub(before.connections);
    if connections < CONNECTIONS {
        let text = format!("its counters know of {connections} connections, and there were {CONNECTIONS}");
        return Err(io::Error::other(text));
    }
    Ok(rings as f64 / connections as f64)
}
