//! How fast messages are: many one way, one at a time both ways, one to many.
use std::time::Duration;

use bench_work::{Job, Shape};

use crate::error::Error;
use crate::plot::{Panel, Plot};
use crate::rounds::{Entry, Sample};
use crate::subject::Subject;
use crate::suites::{Lineup, Setting, Suite};
use crate::trial;

pub(crate) const SUITE: Suite = Suite {
    name: "messages",
    about: "messages per second, round trips, processor time",
    explains: "one-way: a worker sends to the primary as fast as it is let; messages that arrived, decoded, per second.\n\
               round-trip: a message to the primary and back, one at a time; the median. Sizes are those of the text\n\
               in a message. broadcast to 8: the primary to 8 workers; messages that arrived, all workers together.\n\
               Ours go to the director and come from it, through the primary; worker->worker pass it too.\n\
               drain while flooding: a worker floods the director, which has it replaced; from that command to the\n\
               worker's own word that it drains, the median.\n\
               CPU: processor time of all processes for each of these messages, deliveries or round trips.\n\
               node-json, node-advanced: process.send between the processes of Node's cluster, by serialization.\n\
               ipc-channel 0.23.1, tokio-unix-ipc 0.4.0: two processes. raw-socket, the limit: bytes through a\n\
               stream socket, a length before each message, many messages to a system call, nothing decoded.",
    examples: &[],
    own: &["core_messages", "ipc_channel", "tokio_unix_ipc", "raw_socket"],
    fixtures: &[],
    cases: || cases(Cast::Cluster, TIMES).into_iter().map(|(case, _)| case).collect(),
    plot: Some(&PLOT),
    ratios: &[],
    line_up,
};

const PLOT: Plot = Plot {
    title: "Messages between processes",
    panels: &[
        Panel { title: "Messages per second (longer is better)", cases: &["one-way", "broadcast"] },
        Panel { title: "Round trip, median (shorter is better)", cases: &["round-trip", "drain"] },
    ],
};

/// The texts in messages.
const SIZES: [(usize, &str); 4] =
    [(SMALLEST, "64 B"), (1 << 10, "1 KiB"), (64 << 10, "64 KiB"), (8 << 20, "8 MiB")];
const SMALLEST: usize = 64;
/// Warming up, then measuring. A compiler that learns while it runs needs most of the first.
const TIMES: [Duration; 2] = [Duration::from_millis(400), Duration::from_millis(500)];
const TIMES_QUICK: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(60)];

/// Who a subject has to send to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cast {
    /// One process has one other.
    Pair,
    /// A primary has workers, who have only the primary.
    Primary,
    /// Workers have each other too.
    Cluster,
}

fn line_up(setting: &Setting) -> Result<Lineup, Error> {
    let times = if setting.quick { TIMES_QUICK } else { TIMES };
    let by = |cast, told: &'static [&'static str]| {
        let mut jobs = cases(cast, times);
        jobs.retain(|(case, _)| setting.filter.wants(case));
        move |subject| entry(subject, told, jobs)
    };
    let mut lineup = Lineup::default();
    lineup.add(Ok(setting.ours("cluster-core", "core_messages")?), by(Cast::Cluster, &[]));
    lineup.add(setting.node("node-json", "node_messages.js"), by(Cast::Primary, &["json"]));
    lineup.add(setting.node("node-advanced", "node_messages.js"), by(Cast::Primary, &["advanced"]));
    lineup.add(Ok(setting.peer("ipc-channel", "ipc_channel")?), by(Cast::Pair, &[]));
    lineup.add(Ok(setting.peer("tokio-unix-ipc", "tokio_unix_ipc")?), by(Cast::Pair, &[]));
    lineup.add(Ok(setting.peer("raw-socket", "raw_socket")?), by(Cast::Pair, &[]));
    Ok(lineup)
}

/// These cases of one subject, which is told `told` before each job.
fn entry(subject: Subject, told: &'static [&'static str], jobs: Vec<(String, Job)>) -> Entry {
    let name = subject.name;
    let measure = move || {
        let (mut figures, mut costs) = (Vec::new(), Vec::new());
        for (case, job) in jobs.clone() {
            let args: Vec<String> = told.iter().map(|word| (*word).to_owned()).chain(job.args()).collect();
            let found = trial::run(&subject, &args)?;
            let (unit, value) = match found.outcome.p50_us {
                Some(p50_us) => ("us", p50_us),
                None if job.shape == Shape::Broadcast => ("deliveries/s", found.outcome.per_second),
                None => ("messages/s", found.outcome.per_second),
            };
            let cost = |value| Sample { case: format!("CPU, {case}"), unit: "us", value };
            costs.extend(found.cpu_us.map(cost));
            figures.push(Sample { case, unit, value });
        }
        figures.append(&mut costs);
        Ok(figures)
    };
    Entry { subject: name, group: "", measure: Box::new(measure) }
}

/// What is measured, as the table names it.
fn cases(cast: Cast, [warm_up, window]: [Duration; 2]) -> Vec<(String, Job)> {
    let job = |shape, bytes| Job { shape, bytes, warm_up, window };
    let mut cases = Vec::new();
    for (bytes, size) in SIZES {
        cases.push((format!("one-way {size}"), job(Shape::OneWay, bytes)));
    }
    if cast == Cast::Cluster {
        cases.push(("one-way 64 B worker->worker".to_owned(), job(Shape::OneWayBetweenWorkers, SMALLEST)));
    }
    if cast != Cast::Pair {
        cases.push(("broadcast to 8 64 B".to_owned(), job(Shape::Broadcast, SMALLEST)));
    }
    for (bytes, size) in SIZES {
        cases.push((format!("round-trip {size}"), job(Shape::RoundTrip, bytes)));
    }
    if cast == Cast::Cluster {
        let shape = Shape::RoundTripBetweenWorkers;
        cases.push(("round-trip 64 B worker->worker".to_owned(), job(shape, SMALLEST)));
        cases.push(("drain while flooding".to_owned(), job(Shape::Drain, SMALLEST)));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(cast: Cast) -> Vec<String> {
        cases(cast, TIMES).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn cases_have_the_names_that_were_promised() {
        assert_eq!(
            names(Cast::Cluster),
            [
                "one-way 64 B",
                "one-way 1 KiB",
                "one-way 64 KiB",
                "one-way 8 MiB",
                "one-way 64 B worker->worker",
                "broadcast to 8 64 B",
                "round-trip 64 B",
                "round-trip 1 KiB",
                "round-trip 64 KiB",
                "round-trip 8 MiB",
                "round-trip 64 B worker->worker",
                "drain while flooding",
            ]
        );
        let has = |cast, part: &str| names(cast).iter().any(|name| name.contains(part));
        assert!(has(Cast::Primary, "broadcast") && !has(Cast::Primary, "worker->worker"));
        assert!(!has(Cast::Pair, "broadcast") && !has(Cast::Pair, "worker->worker"));
    }

    #[test]
    fn sizes_are_as_their_names_say() {
        let kib = 1024;
        assert_eq!(SIZES.map(|(bytes, _)| bytes), [64, kib, 64 * kib, 8 * kib * kib]);
    }

    #[test]
    fn the_versions_that_are_named_are_those_that_are_built() {
        let manifest = include_str!("../../Cargo.toml");
        for (name, version) in [("ipc-channel", "0.23.1"), ("tokio-unix-ipc", "0.4.0")] {
            assert!(manifest.contains(&format!("{name} = \"={version}\"")), "{name} is not at {version}");
            assert!(SUITE.explains.contains(&format!("{name} {version}")), "{name} is another in the table");
        }
    }

    #[test]
    fn every_case_but_those_of_cost_is_drawn_once() {
        for name in names(Cast::Cluster) {
            let drawn = PLOT.panels.iter().filter(|panel| panel.shows(&name)).count();
            assert_eq!(drawn, 1, "{name}");
            assert!(!PLOT.panels.iter().any(|panel| panel.shows(&format!("CPU, {name}"))), "CPU, {name}");
        }
    }
}
