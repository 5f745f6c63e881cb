//! How long a crash is felt: SIGKILL of the only worker to an answer from its successor.
use std::time::Duration;

use crate::error::Error;
use crate::rounds::{Entry, Sample};
use crate::stats::median;
use crate::subject::Subject;
use crate::suites::{Lineup, Setting, Suite};

pub(crate) const SUITE: Suite = Suite {
    name: "restart",
    about: "SIGKILL of a worker to an answer from its successor",
    explains: "kill to answer: from the kill of the only worker to the answer of its successor. The client connects and\n\
               asks right after the kill, and again every 5 ms on a further connection until one is answered.\n\
               Each kill meets a program that was just started, because a first crash is replaced without a delay;\n\
               a round is the median of several.",
    examples: &["hello_axum", "hello_axum_await"],
    own: &["core_hello"],
    fixtures: &[],
    cases: || vec![CASE.to_owned()],
    plot: None,
    ratios: &[],
    line_up,
};

const CASE: &str = "kill to answer";
/// Kills in each round.
const KILLS: usize = 10;
const KILLS_QUICK: usize = 5;

fn line_up(setting: &Setting) -> Result<Lineup, Error> {
    let kills = if setting.quick { KILLS_QUICK } else { KILLS };
    let entry = |subject| entry(subject, kills);
    let mut lineup = Lineup::default();
    lineup.add(Ok(setting.ours("cluster-core", "core_hello")?), entry);
    lineup.add(Ok(setting.ours("cluster-axum", "hello_axum")?), entry);
    lineup.add(Ok(setting.ours("cluster-axum-await", "hello_axum_await")?), entry);
    lineup.add(setting.node("node", "node_cluster.js"), entry);
    Ok(lineup)
}

fn entry(subject: Subject, kills: usize) -> Entry {
    let name = subject.name;
    let measure = move || {
        let felt = (0..kills).map(|_| kill_once(&subject)).collect::<Result<Vec<f64>, Error>>()?;
        Ok(vec![Sample { case: CASE.into(), unit: "ms", value: median(&felt) }])
    };
    Entry { subject: name, group: "", measure: Box::new(measure) }
}

/// In milliseconds.
fn kill_once(subject: &Subject) -> Result<f64, Error> {
    let running = subject.start(1)?;
    let victim = running.hear_from_all(1)?;
    let took: Duration = running.kill_and_await_successor(victim)?;
    running.stop()?;
    Ok(took.as_secs_f64() * 1000.0)
}
