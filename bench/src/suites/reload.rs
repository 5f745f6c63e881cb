//! What a reload costs those who ask meanwhile: nothing, where the protocol lets us.
use std::thread;
use std::time::{Duration, Instant};

use cluster_load::{Kind, Load, Tally};

use crate::error::Error;
use crate::rounds::{Entry, Sample};
use crate::stats::median;
use crate::subject::Subject;
use crate::suites::{Lineup, Setting, Suite};

pub(crate) const SUITE: Suite = Suite {
    name: "reload",
    about: "requests that fail while all workers are replaced every 2 s",
    explains: "4 workers, of which all are replaced every 2 s, or as soon as the last reload is done: a cluster by SIGHUP to\n\
               its primary, PM2 by `pm2 reload all`. A round takes 10 s.\n\
               failed: requests, of a round, that were begun and not answered with 200: refused, closed or reset before the\n\
               answer was whole, or not answered in 10 s. A client that finds its idle connection closed before it has\n\
               sent anything, or that GOAWAY tells that its request was not taken, asks again, as all clients do: that is\n\
               no failure. reload: until all successors were ready. slowest answer: of all, from the wish to ask on.\n\
               every 0.9 s: clients that are idle nearly all the time. HTTP/1 leaves them a race: a request that is on its way\n\
               while its idle connection is closed (RFC 9112, 9.3.1). HTTP/2: hyper's client, which obeys GOAWAY.\n\
               axum, actix: plain main (fork), Scheduling::Shared. -await: async main (exec). pm2: cluster mode of Node.",
    examples: &[],
    own: &[],
    fixtures: &[PROGRAM],
    cases: || CASES.iter().map(|case| case.name.to_owned()).collect(),
    plot: None,
    ratios: &[],
    line_up,
};

/// Serves by either adapter, started in either way.
const PROGRAM: &str = "drainer";
const WORKERS: usize = 4;
/// From one reload to the next.
const EVERY: Duration = Duration::from_secs(2);
/// Before the first.
const WARM_UP: Duration = Duration::from_secs(1);
const TIME: Duration = Duration::from_secs(10);
const TIME_QUICK: Duration = Duration::from_secs(4);

/// A kind of load.
struct Case {
    name: &'static str,
    kind: Kind,
    clients: usize,
}

const CASES: &[Case] = &[
    Case { name: "keep-alive, 64 clients", kind: Kind::KeepAlive, clients: 64 },
    Case { name: "Connection: close, 16 clients", kind: Kind::Close, clients: 16 },
    Case { name: "HTTP/2, 8 connections", kind: Kind::Http2 { streams: 8 }, clients: 8 },
    Case { name: "every 0.9 s, 64 clients", kind: Kind::Every(Duration::from_millis(900)), clients: 64 },
];

/// Who is reloaded: its name, and what the program is told.
const OURS: &[(&str, &[&str])] = &[
    ("axum", &["axum", "fork"]),
    ("axum-await", &["axum", "await"]),
    ("axum-round-robin", &["axum", "fork", "scheduling=round-robin"]),
    ("axum-least", &["axum", "fork", "scheduling=least"]),
    ("actix", &["actix", "fork"]),
    ("actix-await", &["actix", "await"]),
    ("actix-round-robin", &["actix", "fork", "scheduling=round-robin"]),
    ("actix-least", &["actix", "fork", "scheduling=least"]),
];

impl Case {
    /// Only axum speaks HTTP/2.
    fn is_for(&self, subject: &str) -> bool {
        match self.kind {
            Kind::Http2 { .. } => subject.starts_with("axum"),
            Kind::KeepAlive | Kind::Close | Kind::Every(_) => true,
        }
    }
}

fn line_up(setting: &Setting) -> Result<Lineup, Error> {
    let mut lineup = Lineup::default();
    let time = if setting.quick { TIME_QUICK } else { TIME };
    for case in CASES.iter().filter(|case| setting.filter.wants(case.name)) {
        for (name, told) in OURS.iter().filter(|(name, _)| case.is_for(name)) {
            let told = told.iter().map(|word| (*word).to_owned()).collect();
            let subject = Subject { told, ..setting.ours(name, PROGRAM)? };
            lineup.entries.push(entry(subject, case, time));
        }
        if case.is_for("pm2") {
            lineup.add(setting.pm2("pm2", "pm2_hello.js"), |subject| entry(subject, case, time));
        }
    }
    lineup.skipped.dedup();
    Ok(lineup)
}

fn entry(subject: Subject, case: &'static Case, time: Duration) -> Entry {
    let name = subject.name;
    let measure = move || measure(&subject, case, time);
    Entry { subject: name, group: case.name, measure: Box::new(measure) }
}

fn measure(subject: &Subject, case: &Case, time: Duration) -> Result<Vec<Sample>, Error> {
    let running = subject.start(WORKERS)?;
    let failed = |source| Error::Load { subject: subject.name, case: case.name, source, said: String::new() };
    let load = Load::begin(running.addr(), case.kind, case.clients).map_err(failed)?;
    let start = Instant::now();
    let (mut due, mut reloads) = (start + WARM_UP, Vec::new());
    while due < start + time {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        reloads.push(running.reload()?.as_secs_f64() * 1000.0);
        due = (due + EVERY).max(Instant::now());
    }
    thread::sleep((start + time).saturating_duration_since(Instant::now()));
    let tally = load.end();
    let elapsed = start.elapsed();
    if tally.failed() > 0 {
        eprintln!("bench: {}, {}: {tally}", subject.name, case.name);
    }
    running.stop()?;
    Ok(samples(case.name, &tally, elapsed, median(&reloads)))
}

fn samples(case: &str, tally: &Tally, elapsed: Duration, reload_ms: f64) -> Vec<Sample> {
    let sample = |what: &str, unit, value| Sample { case: format!("{case}{what}"), unit, value };
    vec![
        sample("", "requests/s", tally.answered as f64 / elapsed.as_secs_f64()),
        // Not as other suites count failures: that there is none is what is to be seen.
        sample(", failed", "requests", tally.failed() as f64),
        sample(", slowest answer", "ms", tally.slowest.as_secs_f64() * 1000.0),
        sample(", reload", "ms", reload_ms),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_nothing_failed_is_shown_as_a_figure() {
        let tally = Tally { answered: 50, ..Tally::default() };
        let samples = samples("keep-alive", &tally, Duration::from_secs(5), 7.0);
        let failed = samples.iter().find(|sample| sample.case == "keep-alive, failed").expect("a row");
        assert_eq!((failed.unit, failed.value), ("requests", 0.0));
        assert_eq!(samples[0].value, 10.0);
    }

    #[test]
    fn no_case_is_part_of_another() {
        for case in CASES {
            assert_eq!(
                CASES.iter().filter(|other| other.name.contains(case.name)).count(),
                1,
                "{}",
                case.name
            );
        }
    }
}
