//! What is killed and does not die is not waited for. A frozen process is one of those (cgroups(7), the freezer of version
//! 1; that of version 2 lets them die).
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use cluster_tests::{Folder, METHODS, Process, eventually, signal, subject};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");
/// So long a killed process is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A group of processes that stand still, whatever signal they get, until this is dropped.
struct Frozen {
    group: PathBuf,
    pid: u32,
}

impl Frozen {
    /// None where this system has no such groups, or where they are not ours to make.
    fn freeze(pid: u32) -> Option<Self> {
        let group = PathBuf::from(format!("/sys/fs/cgroup/freezer/cluster-test-{pid}"));
        if let Err(err) = fs::create_dir(&group) {
            eprintln!("skipped: {}: {err}", group.display());
            return None;
        }
        let frozen = Self { group, pid };
        frozen.write("cgroup.procs", &pid.to_string());
        frozen.write("freezer.state", "FROZEN");
        eventually("it is frozen", || frozen.state() == "FROZEN");
        Some(frozen)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.group.join(name), text).unwrap();
    }

    fn state(&self) -> String {
        fs::read_to_string(self.group.join("freezer.state")).unwrap_or_default().trim().to_owned()
    }

    fn is_there(&self) -> bool {
        fs::exists(format!("/proc/{}", self.pid)).unwrap()
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = fs::write(self.group.join("freezer.state"), "THAWED");
        // One that lives goes back to where it was: only an empty group can be removed.
        let _ = fs::write("/sys/fs/cgroup/freezer/cgroup.procs", self.pid.to_string());
        let begun = Instant::now();
        while fs::remove_dir(&self.group).is_err() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn ends_without_it(method: &str) {
    let folder = Folder::new("undying");
    let mut command = subject(SUBJECT, method, &["workers=2", "fast"]);
    command.stderr(fs::File::create(folder.path("log")).unwrap());
    let mut app = Process::start(command).unwrap();
    let worker = app.workers()[0];
    let Some(frozen) = Frozen::freeze(worker.pid) else { return };
    signal(app.pid(), Signal::SIGQUIT).unwrap();
    let begun = Instant::now();
    assert_eq!(app.wait_for_primary().unwrap().code(), Some(0), "{method}");
    let took = begun.elapsed();
    assert!((PATIENCE..2 * PATIENCE).contains(&took), "{method}: {took:?}");
    assert!(frozen.is_there(), "{method}: it could not die");
    let log = fs::read_to_string(folder.path("log")).unwrap();
    assert!(log.contains("the kernel does not let it go"), "{method}: {log}");
    drop(frozen);
    app.wait_for_no_process().unwrap();
}

#[test]
fn a_stop_does_not_wait_for_what_cannot_die() {
    std::thread::scope(|scope| {
        METHODS.iter().for_each(|method| drop(scope.spawn(|| ends_without_it(method))))
    });
}
