//! How evenly connections come to the workers of an idle cluster.
use std::collections::BTreeMap;
use std::io;

use super::session::{Figure, Session};
use crate::exchange::Request;
use crate::stats::median;

const SEQUENTIAL: usize = 400;
const BURST: usize = 64;
/// In each round.
const BURSTS: usize = 8;
const BURSTS_QUICK: usize = 3;

/// One connection after the other: each is opened when the one before has been answered and closed.
pub(super) fn sequential(session: &mut Session) -> io::Result<Vec<Figure>> {
    let mut counts = Counts::default();
    for _ in 0..SEQUENTIAL {
        session.swarm.ask(Request::Hello);
        session.hear_out(|answer| counts.add(answer.pid))?;
    }
    let spread = counts.spread(session.workers);
    let even = SEQUENTIAL / session.workers;
    Ok(vec![
        connections("most", spread.most),
        connections("fewest", spread.fewest),
        connections("off", spread.distance_from(even)),
    ])
}

/// All at once, then nothing until all is idle, several times.
pub(super) fn bursts(session: &mut Session) -> io::Result<Vec<Figure>> {
    let count = if session.quick { BURSTS_QUICK } else { BURSTS };
    let mut spreads = Vec::with_capacity(count);
    for _ in 0..count {
        let mut counts = Counts::default();
        for _ in 0..BURST {
            session.swarm.ask(Request::Hello);
        }
        session.hear_out(|answer| counts.add(answer.pid))?;
        spreads.push(counts.spread(session.workers));
        session.idle();
    }
    let widths: Vec<f64> = spreads.iter().map(|spread| (spread.most - spread.fewest) as f64).collect();
    Ok(vec![
        connections("most", spreads.iter().map(|spread| spread.most).max().unwrap_or_default()),
        connections("fewest", spreads.iter().map(|spread| spread.fewest).min().unwrap_or_default()),
        Figure { what: "spread", unit: UNIT, value: median(&widths) },
        Figure { what: "worst spread", unit: UNIT, value: widths.iter().copied().fold(0.0, f64::max) },
    ])
}

const UNIT: &str = "connections";

fn connections(what: &'static str, count: usize) -> Figure {
    Figure { what, unit: UNIT, value: count as f64 }
}

/// How many connections each worker has answered, by process id.
#[derive(Debug, Default)]
struct Counts(BTreeMap<u32, usize>);

impl Counts {
    fn add(&mut self, pid: u32) {
        *self.0.entry(pid).or_default() += 1;
    }

    /// Of so many workers; who has answered nobody is one of them.
    fn spread(&self, workers: usize) -> Spread {
        let fewest = if self.0.len() < workers { None } else { self.0.values().min().copied() };
        let most = self.0.values().max().copied();
        Spread { fewest: fewest.unwrap_or_default(), most: most.unwrap_or_default() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    fewest: usize,
    most: usize,
}

impl Spread {
    fn distance_from(self, even: usize) -> usize {
        self.most.abs_diff(even).max(self.fewest.abs_diff(even))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(pids: &[u32], workers: usize) -> Spread {
        let mut counts = Counts::default();
        pids.iter().for_each(|pid| counts.add(*pid));
        counts.spread(workers)
    }

    #[test]
    fn who_gets_nothing_counts() {
        assert_eq!(spread(&[1, 1, 1, 2], 2), Spread { fewest: 1, most: 3 });
        assert_eq!(spread(&[1, 1, 1, 2], 3), Spread { fewest: 0, most: 3 });
        assert_eq!(spread(&[], 3), Spread { fewest: 0, most: 0 });
    }

    #[test]
    fn the_distance_is_the_larger_of_both() {
        assert_eq!(Spread { fewest: 90, most: 101 }.distance_from(100), 10);
        assert_eq!(Spread { fewest: 99, most: 130 }.distance_from(100), 30);
        assert_eq!(Spread { fewest: 100, most: 100 }.distance_from(100), 0);
    }
}
