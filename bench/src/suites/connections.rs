//! Who gets a connection, how soon, and at what cost.
mod evenness;
mod rates;
mod rings;
mod session;
mod stalls;

use crate::error::Error;
use crate::plot::{Panel, Plot};
use crate::ratio::Ratio;
use crate::rounds::{Entry, FAILURES, Sample};
use crate::status::StatusSocket;
use crate::subject::Subject;
use crate::suites::{Lineup, Setting, Suite};
use session::{Figure, Session};

pub(crate) const SUITE: Suite = Suite {
    name: "connections",
    about: "how evenly, how soon and at what cost connections come to workers",
    explains: "4 workers where nothing else is said. Each request has a connection of its own, which the server closes.\n\
               400 sequential: one after the other; connections of the worker that got the most and the fewest, and the\n\
               largest distance from 100. burst of 64: all opened at once, then nothing until all is idle; of the bursts\n\
               of a round the most and the fewest of any, and the median and the worst of (most - fewest).\n\
               blocked loop: every 2 ms a request, while one loop after the other is blocked for 500 ms by a request of its\n\
               own; what the other requests took, whoever answered. nginx has no way to block a loop. stopped worker: the\n\
               same, with one worker after the other stopped by SIGSTOP for 500 ms. begun: requests that a worker had\n\
               when it was stopped; nobody else can answer them, and they are not in the times.\n\
               new connections: 64 in flight, from two threads, as many as are served. keep-alive: 32 clients, each of\n\
               which asks again when it is answered. CPU: processor time of all the subject's processes for each.\n\
               rings per connection: how often a worker was woken, for 400 sequential ones, by the counters of ours.\n\
               by prefork, by node-rr: the ratio in each round.\n\
               A row `failed` is there where a request was refused, reset, closed early or not answered in 5 s.\n\
               prefork: by hand, a SO_REUSEPORT socket per worker, the same answers as ours. node-rr, node-none: Node's\n\
               cluster by its two policies. bun: the same script. nginx: `return 200`.",
    examples: &[],
    own: &["core_hello", "prefork"],
    fixtures: &[],
    cases: || CASES.iter().map(|case| case.name.to_owned()).collect(),
    plot: Some(&PLOT),
    ratios: &[
        Ratio { cases: &["new connections"], of: OURS, to: "prefork" },
        Ratio { cases: &["new connections"], of: OURS, to: "node-rr" },
    ],
    line_up,
};

const OURS: &[&str] = &["shared", "round-robin", "least-connections"];

const PLOT: Plot = Plot {
    title: "Connections to workers",
    panels: &[
        Panel {
            title: "Most of a worker (100 and 16 are even)",
            cases: &["400 sequential, most", "burst of 64, most"],
        },
        Panel {
            title: "Slowest other (shorter is better)",
            cases: &["blocked loop, max", "stopped worker, max"],
        },
        Panel { title: "Per second (longer is better)", cases: &["new connections", "keep-alive"] },
    ],
};

/// What is measured of a running subject.
struct Case {
    /// The start of the names of its rows.
    name: &'static str,
    workers: usize,
    of: Whom,
    measure: fn(&mut Session) -> std::io::Result<Vec<Figure>>,
}

/// Who takes part in a case.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Whom {
    All,
    /// nginx has no way to block a loop.
    ThatCanBlock,
    /// Only there workers are rung for. It tells what it has counted.
    ThatRings,
}

impl Whom {
    fn has(self, subject: &Subject) -> bool {
        match self {
            Self::All => true,
            Self::ThatCanBlock => subject.name != "nginx",
            Self::ThatRings => subject.name == "shared",
        }
    }
}

const RINGS: &str = "rings per connection, 16 workers";

const CASES: &[Case] = &[
    Case { name: "400 sequential", workers: 4, of: Whom::All, measure: evenness::sequential },
    Case { name: "burst of 64", workers: 4, of: Whom::All, measure: evenness::bursts },
    Case { name: "blocked loop", workers: 4, of: Whom::ThatCanBlock, measure: stalls::blocked },
    Case { name: "stopped worker", workers: 4, of: Whom::All, measure: stalls::stopped },
    Case { name: "new connections, 2 workers", workers: 2, of: Whom::All, measure: rates::new_connections },
    Case { name: "new connections, 4 workers", workers: 4, of: Whom::All, measure: rates::new_connections },
    Case { name: "new connections, 16 workers", workers: 16, of: Whom::All, measure: rates::new_connections },
    Case { name: RINGS, workers: 16, of: Whom::ThatRings, measure: rings::of_idle_workers },
    Case { name: "keep-alive, 32 clients", workers: 4, of: Whom::All, measure: rates::kept_alive },
];

fn line_up(setting: &Setting) -> Result<Lineup, Error> {
    let subjects = subjects(setting)?;
    let mut lineup = Lineup::default();
    for case in CASES.iter().filter(|case| setting.filter.wants(case.name)) {
        for subject in subjects.present.iter().filter(|subject| case.of.has(subject)) {
            lineup.entries.push(entry(subject.clone(), case, setting.quick));
        }
    }
    lineup.skipped = subjects.skipped;
    Ok(lineup)
}

/// Who can be measured here, and who cannot.
#[derive(Default)]
struct Subjects {
    present: Vec<Subject>,
    skipped: Vec<crate::report::Skipped>,
}

fn subjects(setting: &Setting) -> Result<Subjects, Error> {
    const SCRIPT: &str = "node_cluster.js";
    // Schedulings have the names that the program knows.
    let ours = |name: &'static str| {
        Ok::<_, Error>(Subject { told: vec![name.to_owned()], ..setting.ours(name, "core_hello")? })
    };
    let node = |name, environment| Ok(Subject { environment, ..setting.node(name, SCRIPT)? });
    let mut subjects = Subjects::default();
    for subject in [
        Ok(ours("shared")?),
        Ok(ours("round-robin")?),
        Ok(ours("least-connections")?),
        Ok(setting.peer("prefork", "prefork")?),
        node("node-rr", &[("NODE_CLUSTER_SCHED_POLICY", "rr")]),
        node("node-none", &[("NODE_CLUSTER_SCHED_POLICY", "none")]),
        setting.bun("bun", SCRIPT),
        setting.nginx("nginx"),
    ] {
        match subject {
            Ok(subject) => subjects.present.push(subject),
            Err(skipped) => subjects.skipped.push(skipped),
        }
    }
    Ok(subjects)
}

fn entry(subject: Subject, case: &'static Case, quick: bool) -> Entry {
    let name = subject.name;
    let measure = move || measure(subject.clone(), case, quick);
    Entry { subject: name, group: case.name, measure: Box::new(measure) }
}

fn measure(mut subject: Subject, case: &Case, quick: bool) -> Result<Vec<Sample>, Error> {
    let (name, case_name) = (subject.name, case.name);
    let failed = |source, said| Error::Load { subject: name, case: case_name, source, said };
    let status = match case.of {
        Whom::ThatRings => Some(StatusSocket::new().map_err(|err| failed(err, String::new()))?),
        Whom::All | Whom::ThatCanBlock => None,
    };
    subject.told.extend(status.as_ref().map(|status| status.path().to_string_lossy().into_owned()));
    let running = subject.start(case.workers)?;
    let failed = |source| failed(source, running.last_lines());
    let mut session = Session::begin(&running, case.workers, quick, status).map_err(failed)?;
    let figures = (case.measure)(&mut session).map_err(failed)?;
    if let Some(failures) = session.failures.told() {
        eprintln!("bench: {name}, {case_name}: {failures}");
    }
    let mut samples: Vec<Sample> = figures.into_iter().map(|figure| figure.sample(case_name)).collect();
    let value = session.failures.count as f64;
    samples.push(Sample { case: format!("{case_name}, failed"), unit: FAILURES, value });
    drop(session);
    running.stop()?;
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_case_is_part_of_another() {
        for case in CASES {
            let found = CASES.iter().filter(|other| other.name.contains(case.name)).count();
            assert_eq!(found, 1, "--only `{}` is ambiguous", case.name);
        }
    }

    #[test]
    fn what_is_drawn_is_measured_and_costs_and_failures_are_not_drawn() {
        for start in PLOT.panels.iter().flat_map(|panel| panel.cases) {
            let start = start.split(',').next().expect("a first part");
            assert!(CASES.iter().any(|case| case.name.starts_with(start)), "{start}");
        }
        for case in CASES {
            let cost = format!("CPU, {}", case.name);
            assert!(!PLOT.panels.iter().any(|panel| panel.shows(&cost)), "{cost}");
        }
    }
}
