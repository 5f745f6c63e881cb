//! What memory processes hold, as the kernel counts it.
use std::{fs, io};

/// In KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Footprint {
    /// Mapped by this process alone: what would come back if it ended.
    pub(crate) private: u64,
    /// Its share of all it maps, a page of n processes counting a n-th in each.
    pub(crate) proportional: u64,
}

impl Footprint {
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        parse(&text).ok_or_else(|| io::Error::other("its smaps_rollup has no Pss and Private lines"))
    }
}

impl std::ops::Add for Footprint {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { private: self.private + other.private, proportional: self.proportional + other.proportional }
    }
}

fn parse(rollup: &str) -> Option<Footprint> {
    let field = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    Some(Footprint {
        private: field("Private_Clean")? + field("Private_Dirty")?,
        proportional: field("Pss")?,
    })
}

/// A process and all that descend from it.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut at = 0;
    while at < family.len() {
        family.extend(children(family[at]));
        at += 1;
    }
    family
}

/// What any thread of a process has started.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let told = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    told.flat_map(|pids| pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn private_is_clean_and_dirty_together() {
        let rollup = "00-ff ---p 00000000 00:00 0 [rollup]\nRss: 900 kB\nPss:   300 kB\nPss_Dirty:  1 kB\n\
                      Shared_Clean: 7 kB\nPrivate_Clean:   20 kB\nPrivate_Dirty:   100 kB\n";
        assert_eq!(parse(rollup), Some(Footprint { private: 120, proportional: 300 }));
        assert_eq!(parse("Rss: 900 kB\n"), None);
    }

    #[test]
    fn this_process_holds_memory() {
        let footprint = Footprint::of(std::process::id()).expect("our own");
        assert!(footprint.private > 0 && footprint.proportional >= footprint.private, "{footprint:?}");
    }

    #[test]
    fn a_family_is_a_process_and_its_children() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat");
        let family = family(std::process::id());
        assert!(family.contains(&std::process::id()) && family.contains(&child.id()), "{family:?}");
        drop(child.stdin.take());
        child.wait().expect("cat ends with its input");
    }
}
