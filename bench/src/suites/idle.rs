//! What a cluster costs that nobody asks anything.
use std::thread;
use std::time::{Duration, Instant};

use crate::cpu;
use crate::error::Error;
use crate::footprint::Footprint;
use crate::rounds::{Entry, Sample};
use crate::subject::Subject;
use crate::suites::{Lineup, Setting, Suite};

pub(crate) const SUITE: Suite = Suite {
    name: "idle",
    about: "processor time and memory of 8 workers that nobody asks; how long a reload of them takes",
    explains: "8 workers that have each answered once, and then nobody asks for 10 s.\n\
               CPU: what all processes have used in that time, as a part of one core. primary, private: Private_Clean +\n\
               Private_Dirty of the first process. reload: SIGHUP until all successors are ready, without the second for which\n\
               the first of them has to serve; nothing is open, so nobody has to drain.",
    examples: &["hello_axum", "hello_axum_await"],
    own: &[],
    fixtures: &[],
    cases: || CASES.iter().map(|case| (*case).to_owned()).collect(),
    plot: None,
    ratios: &[],
    line_up,
};

const CASES: &[&str] = &[CPU, PRIVATE, RELOAD];
const CPU: &str = "CPU";
const PRIVATE: &str = "primary, private";
const RELOAD: &str = "reload";
const WORKERS: usize = 8;
/// What is made when it is needed first is made by then.
const SETTLE: Duration = Duration::from_secs(2);
const TIME: Duration = Duration::from_secs(10);
const TIME_QUICK: Duration = Duration::from_secs(3);
/// For so long the first worker of a new generation has to serve (`Builder::reload_health`).
const HEALTH: Duration = Duration::from_secs(1);

fn line_up(setting: &Setting) -> Result<Lineup, Error> {
    let mut lineup = Lineup::default();
    let time = if setting.quick { TIME_QUICK } else { TIME };
    for (name, program) in [("cluster-axum", "hello_axum"), ("cluster-axum-await", "hello_axum_await")] {
        let subject = setting.ours(name, program)?;
        lineup.add(Ok(subject), |subject| measured(subject, time, true));
    }
    lineup.add(setting.node("node", "node_cluster.js"), |subject| measured(subject, time, false));
    Ok(lineup)
}

fn measured(subject: Subject, time: Duration, reloads: bool) -> Entry {
    let name = subject.name;
    let measure = move || {
        let running = subject.start(WORKERS)?;
        running.hear_from_all(WORKERS)?;
        thread::sleep(SETTLE);
        let processes = running.processes();
        let failed = |source| Error::Cpu { subject: name, source };
        let (before, start) = (cpu::used_by(&processes).map_err(failed)?, Instant::now());
        thread::sleep(time);
        let used = cpu::used_by(&processes).map_err(failed)? - before;
        let part = used.as_secs_f64() / start.elapsed().as_secs_f64();
        let mut samples = vec![Sample { case: CPU.into(), unit: "%", value: 100.0 * part }];
        if let Some(primary) = running.footprints()?.first() {
            let (_, Footprint { private, .. }) = primary;
            samples.push(Sample { case: PRIVATE.into(), unit: "MiB", value: *private as f64 / 1024.0 });
        }
        if reloads {
            let took = running.reload()?.saturating_sub(HEALTH);
            samples.push(Sample { case: RELOAD.into(), unit: "ms", value: 1000.0 * took.as_secs_f64() });
        }
        running.stop()?;
        Ok(samples)
    };
    Entry { subject: name, group: "", measure: Box::new(measure) }
}
