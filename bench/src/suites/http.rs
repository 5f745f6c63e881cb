//! What a web application answers, and at what cost, in the frameworks alone and in clusters of theirs.
mod crowd;
mod h2load;

use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use bench_work::site;

use crate::error::Error;
use crate::failures::Failures;
use crate::plot::{Panel, Plot};
use crate::ratio::Ratio;
use crate::report::Skipped;
use crate::rounds::{Entry, FAILURES, Sample};
use crate::subject::{Running, Subject};
use crate::suites::tls::{Certificate, Visit};
use crate::suites::{Lineup, Setting, Suite};
use crate::window::Window;
use crowd::Crowd;
use h2load::H2load;

pub(crate) const SUITE: Suite = Suite {
    name: "http",
    about: "requests per second and what each costs, in the frameworks alone and in clusters",
    explains: "2 workers, or 2 threads; 64 connections that stay open, from two threads on the same processors. Each asks\n\
               again as soon as it is answered, and each answer is compared with the one that is right.\n\
               hello: 13 bytes of text. json: a catalogue of 10 KiB, written anew for each request. h2: hello by HTTP/2\n\
               without TLS (prior knowledge), 10 streams on each connection, asked by h2load. TLS: new handshakes of TLS 1.3\n\
               (P-256) by 16 clients that remember no session, a request on each; axum with tokio-rustls.\n\
               cpu: processor time of all the subject's processes for each. by X: the ratio in each round.\n\
               A row `failed` is there where a request was refused, reset, closed early or answered otherwise.\n\
               cluster-axum, cluster-actix: plain main (fork). -await: async main (exec), which differs from the\n\
               framework's own program in a line. axum: axum::serve on Tokio's multi-thread runtime. prefork: axum::serve\n\
               on a current-thread runtime in each of several processes with SO_REUSEPORT sockets, by hand and with no\n\
               supervision. actix-web: its own server. node, bun: cluster and http, the same script.",
    examples: &[],
    own: &[
        "http_cluster_axum",
        "http_axum",
        "http_prefork",
        "http_cluster_actix",
        "http_actix",
        "tls_cluster_axum",
        "tls_axum",
    ],
    fixtures: &[],
    cases: || CASES.iter().flat_map(|case| [case.rate, case.cost]).map(str::to_owned).collect(),
    plot: Some(&PLOT),
    ratios: &[
        Ratio {
            cases: &["hello", "json", "h2", "TLS"],
            of: &["cluster-axum", "cluster-axum-await"],
            to: "axum",
        },
        Ratio { cases: &["hello", "json", "h2"], of: &["cluster-axum", "cluster-axum-await"], to: "prefork" },
        Ratio {
            cases: &["hello", "json", "h2"],
            of: &["cluster-actix", "cluster-actix-await"],
            to: "actix-web",
        },
        Ratio { cases: &["hello", "json"], of: OURS, to: "node" },
        Ratio { cases: &["hello", "json"], of: OURS, to: "bun" },
    ],
    line_up,
};

const OURS: &[&str] = &["cluster-axum", "cluster-actix"];

const PLOT: Plot = Plot {
    title: "A web application on two workers",
    panels: &[
        Panel {
            title: "Per second (longer is better)",
            cases: &["hello requests/s", "json requests/s", "h2 requests/s", "TLS handshakes/s"],
        },
        Panel {
            title: "Processor time for each (shorter is better)",
            cases: &["hello cpu", "json cpu", "h2 cpu", "TLS cpu"],
        },
    ],
};

/// Of rates. What is counted, the names of the rows say.
const UNIT: &str = "/s";
const WORKERS: usize = 2;
const CONNECTIONS: usize = 64;
/// Threads that ask. One alone is slower than two workers: the client would be saturated, and not the server.
const THREADS: usize = 2;
/// Streams at a time on a connection of HTTP/2.
const STREAMS: usize = 10;
/// Warming up, then measuring. A compiler that learns while it runs needs the first.
const TIMES: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1000)];
const TIMES_QUICK: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(250)];

/// What is asked for.
#[derive(Debug)]
struct Case {
    /// The names of its rows.
    rate: &'static str,
    cost: &'static str,
    path: &'static str,
    manner: Manner,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    Http1,
    /// Only some speak it without TLS.
    Http2,
    /// New connections: the two that have a program for it.
    Tls,
}

const CASES: &[Case] = &[
    Case { rate: "hello requests/s", cost: "hello cpu us/request", path: site::HELLO, manner: Manner::Http1 },
    Case {
        rate: "json requests/s",
        cost: "json cpu us/request",
        path: site::CATALOGUE,
        manner: Manner::Http1,
    },
    Case { rate: "h2 requests/s", cost: "h2 cpu us/request", path: site::HELLO, manner: Manner::Http2 },
    Case { rate: "TLS handshakes/s", cost: "TLS cpu us/handshake", path: "/", manner: Manner::Tls },
];

impl Case {
    fn is_wanted(&self, setting: &Setting) -> bool {
        [self.rate, self.cost].iter().any(|row| setting.filter.wants(row))
    }

    /// Who takes part, told what it has to be told for it.
    fn has(&self, mut subject: Subject) -> Option<Subject> {
        match (self.manner, subject.name) {
            (Manner::Http1, _)
            | (Manner::Http2, "cluster-axum" | "cluster-axum-await" | "axum" | "prefork") => {}
            // Only where it is asked to.
            (Manner::Http2, "cluster-actix" | "cluster-actix-await" | "actix-web") => {
                subject.told.push("h2c".to_owned());
            }
            (Manner::Http2 | Manner::Tls, _) => return None,
        }
        Some(subject)
    }

    /// What has to be the answer.
    fn body(&self) -> String {
        match self.path {
            site::CATALOGUE => site::catalogue().json(),
            _ => site::HELLO_TEXT.to_owned(),
        }
    }
}

/// Who asks.
#[derive(Clone)]
enum Asker {
    Crowd,
    H2load(H2load),
    Visitors(Arc<Visit>),
}

/// What has come of it.
#[derive(Debug, Default)]
struct Outcome {
    per_second: f64,
    failures: Failures,
}

fn line_up(setting: &Setting) -> Result<Lineup, Error> {
    let (present, skipped) = subjects(setting)?;
    let mut lineup = Lineup { entries: Vec::new(), skipped };
    let times = if setting.quick { TIMES_QUICK } else { TIMES };
    for case in CASES.iter().filter(|case| case.is_wanted(setting)) {
        let asker = match (case.manner, &setting.installed.h2load) {
            (Manner::Http1, _) => Asker::Crowd,
            (Manner::Http2, Some(h2load)) => Asker::H2load(H2load::at(h2load)),
            (Manner::Http2, None) => {
                lineup.skipped.push(Skipped { subject: "h2", why: "h2load is not installed" });
                continue;
            }
            (Manner::Tls, _) => {
                lineup.entries.extend(secured(setting, case, times)?);
                continue;
            }
        };
        for subject in present.iter().cloned().filter_map(|subject| case.has(subject)) {
            lineup.entries.push(entry(subject, case, asker.clone(), times));
        }
    }
    Ok(lineup)
}

/// Those that serve TLS, with a certificate made for the run.
fn secured(setting: &Setting, case: &'static Case, times: [Duration; 2]) -> Result<[Entry; 2], Error> {
    let no_certificate = |source| Error::Start { subject: "certificate", source, said: String::new() };
    let shown = Arc::new(Certificate::make().map_err(no_certificate)?);
    let visit = Arc::new(Visit::of_strangers(shown.clone(), times));
    let entry = |subject: Subject| {
        entry(Subject { told: shown.files(), ..subject }, case, Asker::Visitors(visit.clone()), times)
    };
    Ok([entry(setting.ours("cluster-axum", "tls_cluster_axum")?), entry(setting.peer("axum", "tls_axum")?)])
}

/// Who can be measured here, and who cannot.
fn subjects(setting: &Setting) -> Result<(Vec<Subject>, Vec<Skipped>), Error> {
    const SCRIPT: &str = "node_http.js";
    let in_async_main = |name, program| {
        Ok::<_, Error>(Subject { told: vec!["await".to_owned()], ..setting.ours(name, program)? })
    };
    // Scripts are told what the catalogue is.
    let told = |subject: Subject| Subject { told: vec![site::catalogue().json()], ..subject };
    let (mut present, mut skipped) = (Vec::new(), Vec::new());
    for subject in [
        Ok(setting.ours("cluster-axum", "http_cluster_axum")?),
        Ok(in_async_main("cluster-axum-await", "http_cluster_axum")?),
        Ok(setting.peer("axum", "http_axum")?),
        Ok(setting.peer("prefork", "http_prefork")?),
        Ok(setting.ours("cluster-actix", "http_cluster_actix")?),
        Ok(in_async_main("cluster-actix-await", "http_cluster_actix")?),
        Ok(setting.peer("actix-web", "http_actix")?),
        setting.node("node", SCRIPT).map(told),
        setting.bun("bun", SCRIPT).map(told),
    ] {
        match subject {
            Ok(subject) => present.push(subject),
            Err(missing) => skipped.push(missing),
        }
    }
    Ok((present, skipped))
}

fn entry(subject: Subject, case: &'static Case, asker: Asker, times: [Duration; 2]) -> Entry {
    let name = subject.name;
    let measure = move || {
        let running = subject.start(WORKERS)?;
        let samples = measure(&running, case, &asker, times).map_err(|source| Error::Load {
            subject: name,
            case: case.rate,
            source,
            said: running.last_lines(),
        })?;
        running.stop()?;
        Ok(samples)
    };
    Entry { subject: name, group: case.rate, measure: Box::new(measure) }
}

fn measure(running: &Running, case: &Case, asker: &Asker, times: [Duration; 2]) -> io::Result<Vec<Sample>> {
    let addr = running.addr();
    match asker {
        Asker::Visitors(visit) => Ok(visit.measure(running)?.samples(case.rate, case.cost, UNIT)),
        Asker::Crowd => {
            let crowd = Crowd::new(addr, case.path, case.body());
            saturated(running, case, times, |window| crowd.ask(window))
        }
        Asker::H2load(program) => saturated(running, case, times, |_| program.ask(addr, case.path, times)),
    }
}

/// What is found while somebody asks, who is told when it counts.
fn saturated(
    running: &Running,
    case: &Case,
    [warm_up, length]: [Duration; 2],
    ask: impl FnOnce(&Window) -> io::Result<Outcome> + Send,
) -> io::Result<Vec<Sample>> {
    let processes = running.processes();
    let window = Window::after(warm_up, length);
    let (busy, outcome) = thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&window));
        (window.kept_busy_by(&processes), asking.join().expect("who asks does not panic"))
    });
    let (busy, Outcome { per_second, failures }) = (busy?, outcome?);
    if let Some(failures) = failures.told() {
        eprintln!("bench: {}, {}: {failures}", running.name(), case.rate);
    }
    let failed = (format!("{}, failed", case.rate), FAILURES, failures.count as f64);
    let mut found = vec![(case.rate.to_owned(), UNIT, per_second), failed];
    // Of nothing there is no cost.
    if per_second > 0.0 {
        found.push((case.cost.to_owned(), "us", busy * 1e6 / per_second));
    }
    Ok(found.into_iter().map(|(case, unit, value)| Sample { case, unit, value }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_is_part_of_another() {
        let rows = (SUITE.cases)();
        for row in &rows {
            assert_eq!(rows.iter().filter(|other| other.contains(row.as_str())).count(), 1, "`{row}`");
        }
    }

    #[test]
    fn all_is_drawn_and_each_panel_has_one_unit() {
        for case in CASES {
            for (row, panel) in [case.rate, case.cost].iter().zip(PLOT.panels) {
                assert!(panel.shows(row), "{row}");
            }
            assert!(!PLOT.panels[0].shows(case.cost) && !PLOT.panels[1].shows(case.rate));
        }
    }

    #[test]
    fn all_that_is_compared_is_measured() {
        for start in SUITE.ratios.iter().flat_map(|ratio| ratio.cases) {
            assert!(CASES.iter().any(|case| case.rate.starts_with(start)), "{start}");
        }
    }
}
