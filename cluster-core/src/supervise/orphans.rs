//! Children of the primary that it did not start: what workers left behind.
//!
//! The primary is a subreaper (prctl(2)), so a worker's orphans become its children, and would stay zombies.
//! Children that the user's code started are not touched: that code waits for them itself.
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::killpg;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::birth::forkserver::PROCESS_NAME;
use crate::birth::newborn::DIRECTOR_NAME;
use crate::birth::prepare::PROCESS_NAME as PREPARE_NAME;

/// As the first process of a container we reap everybody, this long after we first saw them dead: until
/// then it may be a child that somebody waits for.
const PATIENCE_OF_PID_1: Duration = Duration::from_secs(30);
/// So long what a fork server was making when it died may take to end, and so many processes that may be: it makes one at
/// a time, by way of another.
const HALF_BORN_FOR: Duration = Duration::from_secs(60);
const HALF_BORN: u32 = 2;
/// Groups of past workers that are remembered at the most.
const PAST_GROUPS: usize = 4096;

pub(crate) struct Orphans {
    /// Groups of workers that have ended but may have left processes.
    past: VecDeque<Pid>,
    /// Unknown zombies, since when (as PID 1).
    unknown: HashMap<Pid, Instant>,
    own_pid: Pid,
    /// A fork server was lost, perhaps in the middle of a fork: so many may live that nobody knows.
    half_born: u32,
    /// They have ended by then.
    half_born_until: Option<Instant>,
}

/// What `/proc/PID/stat` says of a child.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    zombie: bool,
    group: Pid,
    session: Pid,
}

impl Orphans {
    pub(crate) fn new() -> Self {
        Self::of(nix::unistd::getpid())
    }

    /// Those of this process, seen as if it had the pid `own_pid`.
    fn of(own_pid: Pid) -> Self {
        Self { past: VecDeque::new(), unknown: HashMap::new(), own_pid, half_born: 0, half_born_until: None }
    }

    /// A fork server is gone that was perhaps in the middle of a fork.
    pub(crate) fn may_be_half_born(&mut self, now: Instant) {
        self.half_born += HALF_BORN;
        self.half_born_until = Some(now + HALF_BORN_FOR);
    }

    /// A worker's process has been reaped.
    pub(crate) fn worker_ended(&mut self, pid: Pid) {
        self.past.push_back(pid);
        // This one, too: the number of a group without processes may be another's next.
        self.past.retain(|group| is_there(*group));
        if self.past.len() > PAST_GROUPS {
            self.past.pop_front();
        }
    }

    /// Whether anything of what workers have left is still there. It was killed with them, and takes its time to die.
    pub(crate) fn are_left(&mut self) -> bool {
        self.past.retain(|group| is_there(*group));
        !self.past.is_empty()
    }

    /// Reaps zombies that workers left. `ours` are the processes that somebody else in here reaps. Answers
    /// with the time of the next look, if one is due without a signal.
    pub(crate) fn reap(&mut self, now: Instant, ours: &dyn Fn(Pid) -> bool) -> Option<Instant> {
        if self.half_born_until.is_some_and(|until| until <= now) {
            (self.half_born, self.half_born_until) = (0, None);
        }
        let mut seen = HashMap::new();
        for pid in children().into_iter().filter(|pid| !ours(*pid)) {
            let Some(stat) = stat(pid).filter(|stat| stat.zombie) else { continue };
            let of_a_worker = |group: Pid| ours(group) || self.past.contains(&group);
            let of_ours = of_a_worker(stat.group) || of_a_worker(stat.session);
            let half_born = !of_ours && self.half_born > 0 && stat.may_be_half_born(pid);
            self.half_born -= u32::from(half_born);
            let left_behind = of_ours || half_born;
            let since = *self.unknown.get(&pid).unwrap_or(&now);
            if left_behind || (self.own_pid.as_raw() == 1 && now - since >= PATIENCE_OF_PID_1) {
                let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            } else if self.own_pid.as_raw() == 1 {
                seen.insert(pid, since);
            }
        }
        self.unknown = seen;
        self.unknown.values().min().map(|since| *since + PATIENCE_OF_PID_1)
    }
}

/// Whether a group has processes. They may be of another user, and not ours to signal.
fn is_there(group: Pid) -> bool {
    killpg(group, None) != Err(Errno::ESRCH)
}

/// All children, whichever of our threads is their parent.
fn children() -> Vec<Pid> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()
        })
        .map(Pid::from_raw)
        .collect()
}

fn stat(pid: Pid) -> Option<Stat> {
    Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

impl Stat {
    /// A fork server killed in the middle of a fork leaves the process in between, or a newborn.
    fn may_be_half_born(&self, pid: Pid) -> bool {
        let is_peer =
            self.name.starts_with("worker ") || [DIRECTOR_NAME, PREPARE_NAME].contains(&&*self.name);
        self.name == PROCESS_NAME || (is_peer && self.group == pid)
    }

    /// `PID (NAME) STATE PPID PGRP SESSION ..`; the name may itself hold parentheses and blanks (proc(5)).
    fn parse(line: &str) -> Option<Self> {
        let (start, end) = (line.find('(')?, line.rfind(')')?);
        let mut fields = line.get(end + 1..)?.split_ascii_whitespace();
        let state = fields.next()?;
        let mut pid = |skip| fields.nth(skip)?.parse().ok().map(Pid::from_raw);
        let (group, session) = (pid(1)?, pid(0)?);
        Some(Self { name: line.get(start + 1..end)?.to_owned(), zombie: state == "Z", group, session })
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// A child that has ended and that nobody has waited for yet, in a session of its own.
    fn zombie() -> (Child, Pid) {
        let child = Command::new("setsid").args(["sh", "-c", "exit 7"]).spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        while !stat(pid).unwrap().zombie {
            std::thread::yield_now();
        }
        (child, pid)
    }

    #[test]
    fn as_pid_1_unknown_zombies_are_reaped_after_30_seconds_and_not_before() {
        let (mut child, pid) = zombie();
        // Other tests have children, too.
        let ours = |other| other != pid;
        let (mut orphans, now) = (Orphans::of(Pid::from_raw(1)), Instant::now());
        let due = now + Duration::from_secs(30);
        assert_eq!(orphans.reap(now, &ours), Some(due));
        assert_eq!(
            orphans.reap(due - Duration::from_nanos(1), &ours),
            Some(due),
            "counted from the first look"
        );
        assert!(stat(pid).is_some_and(|stat| stat.zombie), "somebody may still wait for it");
        assert_eq!(orphans.reap(due, &ours), None);
        assert!(child.wait().is_err(), "it has been reaped");
    }

    #[test]
    fn a_child_that_somebody_waits_for_is_left_to_them() {
        let (mut child, pid) = zombie();
        let ours = |other| other != pid;
        let (mut orphans, now) = (Orphans::new(), Instant::now());
        assert_eq!(orphans.reap(now, &ours), None, "not PID 1: for ever");
        assert_eq!(orphans.reap(now + Duration::from_secs(3600), &ours), None);
        assert_eq!(child.wait().unwrap().code(), Some(7));
    }

    #[test]
    fn what_a_worker_left_behind_is_reaped_at_once() {
        let (mut child, pid) = zombie();
        let ours = |other| other != pid;
        let mut orphans = Orphans::of(Pid::from_raw(1));
        // It is in the group of a worker that has ended.
        orphans.past.push_back(stat(pid).unwrap().group);
        assert_eq!(orphans.reap(Instant::now(), &ours), None);
        assert!(child.wait().is_err(), "it has been reaped");
    }

    #[test]
    fn what_a_worker_has_left_is_there_until_it_is_dead_and_reaped() {
        use std::os::unix::process::CommandExt;
        let mut child = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let group = Pid::from_raw(child.id() as i32);
        let mut orphans = Orphans::new();
        assert!(!orphans.are_left());
        orphans.worker_ended(group);
        assert!(orphans.are_left());
        killpg(group, nix::sys::signal::Signal::SIGKILL).unwrap();
        while orphans.are_left() {
            // Whatever else has ended is somebody else's.
            orphans.reap(Instant::now(), &|pid| pid != group);
        }
        assert!(stat(group).is_none());
        assert!(child.wait().is_err(), "it has been reaped");
    }

    /// A child of that name that has ended, as users may have one.
    fn zombie_named(folder: &std::path::Path, name: &str) -> (Child, Pid) {
        let program = folder.join(name);
        if !program.exists() {
            // No copy: what is open for writing anywhere cannot be executed (execve(2)), and other tests fork.
            std::os::unix::fs::symlink("/bin/true", &program).unwrap();
        }
        let child = Command::new("setsid").arg(&program).spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        while !stat(pid).unwrap().zombie {
            std::thread::yield_now();
        }
        (child, pid)
    }

    #[test]
    fn what_was_half_born_is_reaped_and_users_children_of_the_same_name_are_not() {
        let folder = std::env::temp_dir().join(format!("cluster-orphans-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (mut orphans, now) = (Orphans::new(), Instant::now());
        let reap = |orphans: &mut Orphans, at, name| {
            let (mut child, pid) = zombie_named(&folder, name);
            orphans.reap(at, &|other| other != pid);
            child.wait().is_err()
        };
        assert!(!reap(&mut orphans, now, PROCESS_NAME), "no fork server was lost");
        orphans.may_be_half_born(now);
        assert!(!reap(&mut orphans, now, "true"), "it has another name");
        assert!(reap(&mut orphans, now, PROCESS_NAME), "the one in between");
        assert!(reap(&mut orphans, now, PROCESS_NAME), "the newborn, which has no name of its own yet");
        assert!(!reap(&mut orphans, now, PROCESS_NAME), "there were no more");
        orphans.may_be_half_born(now);
        assert!(!reap(&mut orphans, now + HALF_BORN_FOR, PROCESS_NAME), "those have ended long ago");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let stat = Stat::parse("42 (a) Z (b) Z 7 43 44 0 -1 4228").unwrap();
        let expected = Stat {
            name: "a) Z (b".into(),
            zombie: true,
            group: Pid::from_raw(43),
            session: Pid::from_raw(44),
        };
        assert_eq!(stat, expected);
        assert_eq!(Stat::parse("garbage"), None);
        assert_eq!(Stat::parse(")("), None);
    }
}
