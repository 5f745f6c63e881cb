//! What is to be done once before a generation's workers is done once, and without it there are none.
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use cluster_tests::{Folder, METHODS, Process, connect, end_of, eventually, listen, signal, subject};

const PREPARER: &str = env!("CARGO_BIN_EXE_preparer");

/// One preparation: as whom the first part ran, then the second, on a runtime.
const PREPARED: [&str; 2] = ["sync worker ForkServer", "async"];

/// Where a program writes down what happens, and is told how to misbehave.
struct Site(Folder);

impl Site {
    fn new(mode: &str) -> Self {
        let site = Self(Folder::new("prepare"));
        site.set(mode);
        site
    }

    fn set(&self, mode: &str) {
        fs::write(self.0.path("mode"), mode).unwrap();
    }

    fn command(&self, method: &str) -> Command {
        subject(PREPARER, method, &[&self.0.path("").display().to_string()])
    }

    /// With its standard error in a file.
    fn launch(&self, method: &str) -> Process {
        let mut command = self.command(method);
        command.stderr(fs::File::create(self.0.path("log")).unwrap());
        Process::launch(command).unwrap()
    }

    fn start(&self, method: &str) -> Process {
        let app = self.launch(method);
        app.wait_for_line("all-ready", 0).unwrap();
        app
    }

    fn log(&self) -> String {
        fs::read_to_string(self.0.path("log")).unwrap()
    }

    /// Waits until it is in the log, where a line comes after it is announced to tests.
    fn wait_for_word(&self, word: &str) {
        eventually(word, || self.log().contains(word));
    }

    fn lines(&self) -> Vec<String> {
        let lines = fs::read_to_string(self.0.path("lines")).unwrap_or_default();
        lines.lines().map(str::to_owned).collect()
    }

    /// How often it was begun.
    fn times(&self) -> usize {
        self.lines().iter().filter(|line| line.starts_with("sync ")).count()
    }

    /// Waits until it hangs, for the `nth` time.
    fn wait_until_it_hangs(&self, nth: usize) {
        let children = || self.lines().iter().filter(|line| line.starts_with("child ")).count();
        eventually("it hangs", || children() == nth);
    }
}

/// Whom a new connection is served by.
fn pid_of_server(app: &Process) -> u32 {
    let answer = listen(connect(app.addr()).unwrap()).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn pids(app: &Process) -> Vec<u32> {
    app.workers().iter().map(|worker| worker.pid).collect()
}

/// How it may fail, and what is said then.
const FAULTS: [(&str, &str); 3] = [
    ("fails", "there is no such table"),
    ("panics", "panicked: the table is locked"),
    ("exits", "exit code 3"),
];

#[test]
fn a_generation_is_prepared_once_and_before_its_first_worker() {
    for method in METHODS {
        let site = Site::new("fine");
        let app = site.start(method);
        let lines = site.lines();
        assert_eq!(lines[..2], PREPARED, "{method}: {lines:?}");
        assert_eq!(lines[2..], ["worker 1"; 2], "{method}: {lines:?}");

        // Neither for a worker that is replaced nor for a fork server that is.
        if let Some(fork_server) = app.fork_server() {
            signal(fork_server, Signal::SIGKILL).unwrap();
            let lost = app.wait_for_line("fork-server-lost", 0).unwrap();
            app.wait_for_line("fork-server ", lost).unwrap();
        }
        signal(app.workers()[0].pid, Signal::SIGKILL).unwrap();
        app.wait_for_workers(|now| now.len() == 2 && now.iter().any(|worker| worker.id == 3)).unwrap();
        assert_eq!(site.lines()[4..], ["worker 1"], "{method}: one more worker, and nothing else");

        signal(app.pid(), Signal::SIGHUP).unwrap();
        app.wait_for_line("reloaded", 0).unwrap();
        let lines = site.lines();
        assert_eq!(lines[5..7], PREPARED, "{method}: {lines:?}");
        assert_eq!(lines[7..], ["worker 2"; 2], "{method}: {lines:?}");
        assert!(app.stop().unwrap().success());
    }
}

#[test]
fn a_start_that_cannot_be_prepared_ends_at_once_and_says_why() {
    for method in METHODS {
        for (mode, why) in FAULTS {
            let site = Site::new(mode);
            let (code, said) = end_of(site.command(method));
            assert_eq!(code, Some(70), "{method}, {mode}: {said}");
            let line = said.lines().find(|line| line.starts_with("error: gave up: prepare failed: "));
            assert!(line.is_some_and(|line| line.contains(why)), "{method}, {mode}: {said}");
            assert_eq!(site.lines(), PREPARED[..1], "{method}, {mode}: begun once, and nobody after it");
        }
    }
}

#[test]
fn a_reload_that_cannot_be_prepared_changes_nothing() {
    for method in METHODS {
        let site = Site::new("fine");
        let app = site.start(method);
        let before = pids(&app);
        let mut seen = 0;
        for (nth, (mode, why)) in FAULTS.into_iter().enumerate() {
            site.set(mode);
            signal(app.pid(), Signal::SIGHUP).unwrap();
            seen = app.wait_for_line("reload-failed", seen).unwrap();
            site.wait_for_word(&format!("generation {} is given up: prepare failed: ", nth + 2));
            site.wait_for_word(why);
            assert_eq!(pids(&app), before, "{method}, {mode}");
            assert!(before.contains(&pid_of_server(&app)), "{method}, {mode}: the old workers serve on");
        }
        assert!(!site.lines().contains(&"worker 2".to_owned()), "{method}: {:?}", site.lines());
        // The next that can be is not kept from it.
        site.set("fine");
        signal(app.pid(), Signal::SIGHUP).unwrap();
        app.wait_for_line("reloaded", seen).unwrap();
        assert_eq!(site.times(), 5, "{method}");
        assert!(app.stop().unwrap().success());
    }
}

#[test]
fn a_start_whose_preparation_hangs_ends_at_the_boot_timeout_with_all_that_it_started() {
    for method in METHODS {
        let site = Site::new("hangs");
        // The harness checks that nothing is left.
        let (code, said) = end_of(site.command(method));
        assert_eq!(code, Some(70), "{method}: {said}");
        assert!(
            said.contains("prepare failed: it was not done within 3s, the boot timeout"),
            "{method}: {said}"
        );
        assert_eq!(site.times(), 1, "{method}: what was interrupted is not begun anew");
    }
}

#[test]
fn a_reload_whose_preparation_hangs_fails_at_the_boot_timeout_and_leaves_nothing() {
    for method in METHODS {
        let site = Site::new("fine");
        let app = site.start(method);
        let (before, processes) = (pids(&app), app.processes().len());
        site.set("hangs");
        signal(app.pid(), Signal::SIGHUP).unwrap();
        site.wait_until_it_hangs(1);
        assert!(before.contains(&pid_of_server(&app)), "{method}: the old workers serve on");
        app.wait_for_line("reload-failed", 0).unwrap();
        site.wait_for_word("it did not come up within 3s");
        eventually("nothing of it is left", || app.processes().len() == processes);
        eventually("nor a zombie", || children_of(app.pid()) == processes - 1);
        assert_eq!(pids(&app), before, "{method}");
        assert!(app.stop().unwrap().success());
    }
}

#[test]
fn a_stop_does_not_wait_for_a_preparation() {
    for method in METHODS {
        let site = Site::new("hangs");
        let app = site.launch(method);
        site.wait_until_it_hangs(1);
        let begun = Instant::now();
        let stopped = app.stop().unwrap();
        assert_eq!(stopped.code(), Some(0), "{method}: {}", site.log());
        assert!(begun.elapsed() < Duration::from_secs(2), "{method}: {:?}", begun.elapsed());

        site.set("fine");
        let app = site.start(method);
        site.set("hangs");
        signal(app.pid(), Signal::SIGHUP).unwrap();
        site.wait_until_it_hangs(2);
        let stopped = app.stop().unwrap();
        assert_eq!(stopped.code(), Some(0), "{method}: {}", site.log());
    }
}

#[test]
fn a_preparation_does_not_outlive_its_primary() {
    for method in METHODS {
        let site = Site::new("hangs");
        let mut app = site.launch(method);
        site.wait_until_it_hangs(1);
        app.signal(Signal::SIGKILL as i32).unwrap();
        app.wait_for_primary().unwrap();
        let took = app.wait_for_no_process().unwrap();
        assert!(took < Duration::from_secs(2), "{method}: {took:?}");
    }
}

#[test]
fn a_reload_that_is_the_first_with_something_to_prepare_does_it_or_fails() {
    for (method, outcome) in [("fork", "reloaded"), ("await", "reload-failed")] {
        let site = Site::new("fine");
        fs::write(site.0.path("without"), "").unwrap();
        let app = site.start(method);
        assert_eq!(site.lines(), ["worker 1"; 2], "{method}");
        fs::remove_file(site.0.path("without")).unwrap();
        signal(app.pid(), Signal::SIGHUP).unwrap();
        app.wait_for_line(outcome, 0).unwrap();
        let lines = site.lines();
        if method == "fork" {
            assert_eq!(lines[2..4], PREPARED, "{lines:?}");
        } else {
            site.wait_for_word("a reload cannot begin with it");
            assert_eq!(lines.len(), 2, "no worker of it has begun: {lines:?}");
        }
        assert!(app.stop().unwrap().success());
    }
}

/// How many children a process has, zombies among them.
fn children_of(pid: u32) -> usize {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lists =
        tasks.flatten().map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    lists.map(|list| list.split_whitespace().count()).sum()
}
