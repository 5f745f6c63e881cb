//! The fork server: lost, stuck or replaced on disk, it costs no request.
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use cluster_tests::{Process, signal, status_field, subject, who};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

/// A copy of the program under test in a folder of its own.
struct Copy(PathBuf);

impl Copy {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cluster-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        // By another process: what this one has open for writing is in whatever other tests fork at that moment, and
        // cannot be executed (execve(2), ETXTBSY).
        let copied = std::process::Command::new("cp").arg(SUBJECT).arg(folder.join("subject")).status();
        assert!(copied.unwrap().success());
        Self(folder)
    }

    fn program(&self) -> String {
        self.0.join("subject").display().to_string()
    }

    /// Puts another program in its place, as a deployment does: by rename.
    fn replace(&self) {
        let new = self.0.join("new");
        std::fs::write(&new, "#!/bin/sh\nexit 1\n").unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(new, self.program()).unwrap();
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn invariant_6_the_fork_server_has_one_thread() {
    let app = Process::start(subject(SUBJECT, "fork", &["workers=2"])).unwrap();
    let fork_server = app.fork_server().unwrap();
    assert_eq!(status_field(fork_server, "Threads"), Some(1));
    signal(app.workers()[0].pid, Signal::SIGKILL).unwrap();
    app.wait_for_workers(|workers| workers.iter().any(|worker| worker.id == 3)).unwrap();
    assert_eq!(status_field(fork_server, "Threads"), Some(1));
}

#[test]
fn a_lost_fork_server_is_replaced_from_the_same_executable() {
    let copy = Copy::new("lost");
    let app = Process::start(subject(&copy.program(), "fork", &["workers=2"])).unwrap();
    copy.replace();
    let fork_server = app.fork_server().unwrap();
    signal(fork_server, Signal::SIGKILL).unwrap();
    app.wait_for_line("fork-server-lost", 0).unwrap();
    assert!(who(app.addr()).is_ok(), "workers serve on");
    signal(app.workers()[0].pid, Signal::SIGKILL).unwrap();
    let workers =
        app.wait_for_workers(|now| now.len() == 2 && now.iter().any(|worker| worker.id == 3)).unwrap();
    let running = std::fs::read_link(format!("/proc/{}/exe", workers[0].pid)).unwrap();
    assert!(running.to_string_lossy().ends_with("subject (deleted)"), "{running:?}");
    for _ in 0..100 {
        who(app.addr()).unwrap();
    }
    assert_ne!(app.fork_server(), Some(fork_server));
    assert!(app.stop().unwrap().success());
}

#[test]
fn a_worker_of_the_await_method_is_replaced_from_the_same_executable() {
    let copy = Copy::new("await");
    let app = Process::start(subject(&copy.program(), "await", &["workers=2"])).unwrap();
    copy.replace();
    signal(app.workers()[0].pid, Signal::SIGKILL).unwrap();
    app.wait_for_workers(|now| now.len() == 2 && now.iter().any(|worker| worker.id == 3)).unwrap();
    assert!(app.stop().unwrap().success());
}

#[test]
fn a_stuck_fork_server_is_replaced() {
    let app = Process::start(subject(SUBJECT, "fork", &["workers=2"])).unwrap();
    signal(app.fork_server().unwrap(), Signal::SIGSTOP).unwrap();
    signal(app.workers()[0].pid, Signal::SIGKILL).unwrap();
    // The request has a deadline of 5 s; meanwhile the other worker serves.
    for _ in 0..100 {
        who(app.addr()).unwrap();
    }
    app.wait_for_workers(|now| now.len() == 2 && now.iter().all(|worker| worker.id != 1)).unwrap();
    assert!(app.stop().unwrap().success());
}

#[test]
fn a_fork_server_that_cannot_be_replaced_is_tried_again_and_costs_no_request() {
    let app = Process::start(subject(SUBJECT, "fork", &["workers=2", "exit-unless-primary=4"])).unwrap();
    signal(app.fork_server().unwrap(), Signal::SIGKILL).unwrap();
    let first = app.wait_for_line("fork-server-lost", 0).unwrap();
    let second = app.wait_for_line("fork-server-lost", first).unwrap();
    app.wait_for_line("fork-server-lost", second).unwrap();
    assert!(who(app.addr()).is_ok());
    let stopped = app.stop().unwrap();
    assert!(stopped.success());
}

#[test]
fn a_fork_server_lost_in_the_middle_of_forks_costs_no_slot() {
    for round in 0..12 {
        let app = Process::start(subject(SUBJECT, "fork", &["workers=4", "fast"])).unwrap();
        let fork_server = app.fork_server().unwrap();
        for worker in app.workers() {
            signal(worker.pid, Signal::SIGKILL).unwrap();
        }
        // Anywhere in the forks that this starts, from before the first to after the last.
        std::thread::sleep(std::time::Duration::from_micros(round * 400));
        signal(fork_server, Signal::SIGKILL).unwrap();
        let workers =
            app.wait_for_workers(|now| now.len() == 4 && now.iter().all(|worker| worker.id > 4)).unwrap();
        let slots: Vec<u16> = workers.iter().map(|worker| worker.slot).collect();
        assert_eq!(slots, [0, 1, 2, 3], "round {round}");
        for _ in 0..50 {
            who(app.addr()).unwrap();
        }
        assert!(app.stop().unwrap().success(), "round {round}");
    }
}

#[test]
fn a_fork_server_lost_again_and_again_leaves_no_descriptor() {
    let app = Process::start(subject(SUBJECT, "fork", &["workers=2", "fast"])).unwrap();
    let lose = |app: &Process| {
        let (fork_server, workers) = (app.fork_server().unwrap(), app.workers());
        signal(fork_server, Signal::SIGSTOP).unwrap();
        for worker in &workers {
            signal(worker.pid, Signal::SIGKILL).unwrap();
        }
        // Both forks have been asked for, and are never answered.
        cluster_tests::eventually("both have been buried", || app.workers().is_empty());
        signal(fork_server, Signal::SIGKILL).unwrap();
        let newest = workers.iter().map(|worker| worker.id).max().unwrap();
        app.wait_for_workers(|now| now.len() == 2 && now.iter().all(|worker| worker.id > newest)).unwrap();
    };
    lose(&app);
    let before = cluster_tests::descriptors(app.pid()).unwrap().len();
    (0..3).for_each(|_| lose(&app));
    assert_eq!(cluster_tests::descriptors(app.pid()).unwrap().len(), before);
    assert!(app.stop().unwrap().success());
}

#[test]
fn a_stopped_fork_server_does_not_outlive_its_primary() {
    let mut app = Process::start(subject(SUBJECT, "fork", &["workers=1"])).unwrap();
    let fork_server = app.fork_server().unwrap();
    signal(fork_server, Signal::SIGSTOP).unwrap();
    cluster_tests::eventually("it has stopped", || cluster_tests::is_stopped(fork_server));
    app.signal(Signal::SIGKILL as i32).unwrap();
    app.wait_for_primary().unwrap();
    app.wait_for_no_process().unwrap();
}

#[test]
fn what_is_executed_starts_where_the_program_was_started() {
    let folder = std::env::temp_dir().join(format!("cluster-chdir-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("below")).unwrap();
    // The change is relative: done once more from where it led, it fails.
    let mut command = subject(SUBJECT, "fork", &["workers=1", "chdir=below"]);
    command.current_dir(&folder);
    let app = Process::start(command).unwrap();
    signal(app.fork_server().unwrap(), Signal::SIGKILL).unwrap();
    let lost = app.wait_for_line("fork-server-lost", 0).unwrap();
    app.wait_for_line("fork-server ", lost).unwrap();
    drop(app);
    let mut command = subject(SUBJECT, "await", &["workers=2", "chdir=below"]);
    command.current_dir(&folder);
    let app = Process::start(command).unwrap();
    assert!(app.stop().unwrap().success());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_child_of_a_worker_of_a_successor_is_an_ordinary_program() {
    let app = Process::start(subject(SUBJECT, "fork", &["workers=1"])).unwrap();
    signal(app.fork_server().unwrap(), Signal::SIGKILL).unwrap();
    let lost = app.wait_for_line("fork-server-lost", 0).unwrap();
    app.wait_for_line("fork-server ", lost).unwrap();
    signal(app.workers()[0].pid, Signal::SIGKILL).unwrap();
    app.wait_for_workers(|workers| workers.iter().any(|worker| worker.id == 2)).unwrap();
    // Its environment names a role, which was another process's.
    assert!(cluster_tests::ask(app.addr(), "env CLUSTER_ROLE").unwrap().starts_with("fork-server,"));
    assert_eq!(cluster_tests::ask(app.addr(), "child").unwrap(), "role Primary");
    assert!(app.stop().unwrap().success());
}
