//! Whether the machine has other things to do: figures of time are then those of a queue.
use std::time::Duration;
use std::{fs, thread};

/// How long nothing is done to see it.
const LOOK: Duration = Duration::from_millis(500);
/// What any machine does beside, in percent.
const USUAL: f64 = 10.0;

/// A warning, where the processors are busy while this program does nothing.
pub(crate) fn warning() -> Option<String> {
    let before = Ticks::now()?;
    thread::sleep(LOOK);
    let busy = Ticks::now()?.busy_since(&before);
    let text = format!(
        "other programs keep the processors {busy:.0} % busy: what takes time will seem to take longer"
    );
    (busy > USUAL).then_some(text)
}

/// What all processors have done since the machine started, in ticks of the clock.
#[derive(Debug, PartialEq)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl Ticks {
    fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// The first line: user nice system idle iowait irq softirq steal (proc_stat(5)).
    fn parse(stat: &str) -> Option<Self> {
        let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
        let fields: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Self { idle: fields.get(3)? + fields.get(4)?, all: fields.iter().sum() })
    }

    /// In percent.
    fn busy_since(&self, before: &Self) -> f64 {
        let (idle, all) = (self.idle.saturating_sub(before.idle), self.all.saturating_sub(before.all));
        if all == 0 { 0.0 } else { 100.0 * all.saturating_sub(idle) as f64 / all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_all_but_idle_and_waiting_for_disks() {
        let before = Ticks::parse("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3\n").expect("a first line");
        assert_eq!(before, Ticks { idle: 850, all: 1000 });
        let after = Ticks { idle: 900, all: 1200 };
        assert_eq!(after.busy_since(&before), 75.0);
        assert_eq!(before.busy_since(&before), 0.0);
    }

    #[test]
    fn what_is_no_such_file_gives_no_warning() {
        assert_eq!(Ticks::parse("intr 1 2 3\n"), None);
        assert_eq!(Ticks::parse("cpu  100 0\n"), None);
    }
}
