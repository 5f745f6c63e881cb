//! What a worker costs in memory, and whether what `main` has loaded is shared.
use std::collections::BTreeMap;

use crate::error::Error;
use crate::footprint::Footprint;
use crate::rounds::{Entry, Sample};
use crate::subject::Subject;
use crate::suites::{Lineup, Setting, Suite};

pub(crate) const SUITE: Suite = Suite {
    name: "memory",
    about: "private memory per worker; memory shared by fork",
    explains: "private, N workers: Private_Clean + Private_Dirty (/proc/PID/smaps_rollup) of all processes, when each\n\
               worker has answered. per extra worker: that of 8 workers less that of 2, divided by 6.\n\
               PSS, 8 workers: of all processes of `preload`, whose main builds a table of 256 MiB before the fork.\n\
               PSS by ideal: that, divided by the table and the private memory of a worker that is the only one.",
    examples: &["hello_axum", "hello_axum_await", "preload"],
    own: &[],
    fixtures: &[],
    cases: || private_cases().chain(preload_cases()).collect(),
    plot: None,
    ratios: &[],
    line_up,
};

/// Clusters of these sizes are measured; what a worker costs is the slope between the last two named.
const SIZES: [usize; 4] = [1, FEW, 4, MANY];
const FEW: usize = 2;
const MANY: usize = 8;
const SLOPE: &str = "private per extra worker";
const IDEAL: &str = "PSS by ideal";
/// The table of the example `preload`.
const TABLE_KIB: u64 = 256 << 10;

fn line_up(setting: &Setting) -> Result<Lineup, Error> {
    let mut lineup = Lineup::default();
    if private_cases().any(|case| setting.filter.wants(&case)) {
        lineup.add(Ok(setting.ours("cluster-axum", "hello_axum")?), private);
        lineup.add(Ok(setting.ours("cluster-axum-await", "hello_axum_await")?), private);
        lineup.add(setting.node("node", "node_cluster.js"), private);
    }
    if preload_cases().any(|case| setting.filter.wants(&case)) {
        lineup.add(Ok(setting.ours("cluster-axum-preload", "preload")?), preload);
    }
    Ok(lineup)
}

fn private_cases() -> impl Iterator<Item = String> {
    SIZES.into_iter().map(private_case).chain([SLOPE.to_owned()])
}

fn preload_cases() -> impl Iterator<Item = String> {
    [format!("PSS, {MANY} workers"), IDEAL.to_owned()].into_iter()
}

fn private_case(workers: usize) -> String {
    let plural = if workers == 1 { "" } else { "s" };
    format!("private, {workers} worker{plural}")
}

/// Private memory by number of workers, and its slope.
fn private(subject: Subject) -> Entry {
    let name = subject.name;
    let measure = move || {
        let mut samples = Vec::new();
        let mut by_size = BTreeMap::new();
        for workers in SIZES {
            let private = Held::by(&subject, workers)?.total.private;
            by_size.insert(workers, private as f64);
            samples.push(mebibytes(private_case(workers), private as f64));
        }
        let slope = (by_size[&MANY] - by_size[&FEW]) / (MANY - FEW) as f64;
        samples.push(mebibytes(SLOPE.into(), slope));
        Ok(samples)
    };
    Entry { subject: name, group: "", measure: Box::new(measure) }
}

/// How near to one table in all processes a cluster comes.
fn preload(subject: Subject) -> Entry {
    let name = subject.name;
    let measure = move || {
        let alone = Held::by(&subject, 1)?.by_a_worker.private;
        let total = Held::by(&subject, MANY)?.total.proportional;
        let ratio = total as f64 / (TABLE_KIB + alone) as f64;
        Ok(vec![
            mebibytes(format!("PSS, {MANY} workers"), total as f64),
            Sample { case: IDEAL.into(), unit: "x", value: ratio },
        ])
    };
    Entry { subject: name, group: "", measure: Box::new(measure) }
}

/// What a running subject held.
struct Held {
    /// All its processes together.
    total: Footprint,
    by_a_worker: Footprint,
}

impl Held {
    /// Starts the subject, hears from each worker, looks, stops it.
    fn by(subject: &Subject, workers: usize) -> Result<Self, Error> {
        let running = subject.start(workers)?;
        let worker = running.hear_from_all(workers)?;
        let footprints = running.footprints()?;
        running.stop()?;
        let total = footprints.iter().fold(Footprint::default(), |sum, (_, footprint)| sum + *footprint);
        let by_a_worker = footprints.iter().find(|(pid, _)| *pid == worker).map(|(_, footprint)| *footprint);
        Ok(Self { total, by_a_worker: by_a_worker.unwrap_or_default() })
    }
}

fn mebibytes(case: String, kibibytes: f64) -> Sample {
    Sample { case, unit: "MiB", value: kibibytes / 1024.0 }
}
