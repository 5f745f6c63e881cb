//! A process that breaks the protocols costs itself and nobody else.
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use cluster_tests::{
    METHODS, Process, WorkerProcess, ask, descriptors, eventually, is_stopped, signal, subject, subject_at,
};

const GARBLER: &str = env!("CARGO_BIN_EXE_garbler");

/// What a process may do to its message socket, and what the event says of it.
const WRONGS: [(&str, &str); 18] = [
    ("noise", "broke the message protocol (a frame of 2863311534 bytes"),
    ("endless-noise", "broke the message protocol (a frame of "),
    ("version", "broke the message protocol (a frame of version 9, where 1 is spoken)"),
    ("kind", "broke the message protocol (a frame of unknown kind 77)"),
    ("flags", "broke the message protocol (a frame with unknown flags 0x4)"),
    ("length", "broke the message protocol (a frame of 2147483651 bytes"),
    ("short", "broke the message protocol (a frame of 5 bytes"),
    ("address", "broke the message protocol (a frame with an address that means nothing"),
    ("forged", "broke the message protocol (a frame in the name of worker 4711)"),
    ("notice", "broke the message protocol (a Notice frame to the worker of slot 0)"),
    ("word", "broke the message protocol (a "),
    ("report", "broke the message protocol (the body of a Report frame"),
    ("credit", "broke the message protocol (the body of a Credit frame"),
    ("refusal", "broke the message protocol (the body of a Refusal frame"),
    ("half", "broke the message protocol (what it wrote ended in the midst of a frame)"),
    ("stray", "broke the message protocol (descriptors came that belong to no frame)"),
    ("many-strays", "broke the message protocol (descriptors came that belong to no frame)"),
    ("no-descriptor", "broke the message protocol (a parcel came without its descriptor)"),
];

/// A program whose standard error is kept.
struct App {
    process: Process,
    log: PathBuf,
}

impl App {
    fn start(test: &str, method: &str) -> Self {
        Self::start_with(test, method, subject(GARBLER, method, &[]))
    }

    fn start_with(test: &str, method: &str, mut command: Command) -> Self {
        let log = std::env::temp_dir().join(format!("cluster-{test}-{}-{method}", std::process::id()));
        command.stderr(std::fs::File::create(&log).unwrap());
        let process = Process::start(command).unwrap();
        process.wait_for_director(None).unwrap();
        Self { process, log }
    }

    fn ask(&self, line: &str) -> String {
        ask(self.process.addr(), line).unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for a line with these two texts.
    fn says(&self, who: &str, what: &str) {
        eventually(&format!("the log says of {who} `{what}`: {}", self.log()), || {
            self.log().lines().any(|line| line.contains(who) && line.contains(what))
        });
    }

    fn held(&self) -> usize {
        descriptors(self.process.pid()).unwrap().len()
    }

    /// Waits until the primary holds what it held: the last of a process goes a moment after its successor is
    /// ready.
    fn holds(&self, before: usize) {
        eventually(&format!("descriptors: {before}, now {:?}", descriptors(self.process.pid())), || {
            self.held() == before
        });
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.log);
    }
}

/// Has a worker do something wrong; answers with who that was, and who else there was.
fn garble(app: &App, case: &str) -> (u64, Vec<WorkerProcess>) {
    let before = app.process.wait_for_workers(|workers| workers.len() == 3).unwrap();
    let who = app.ask(case).parse().unwrap();
    (who, before.into_iter().filter(|worker| worker.id != who).collect())
}

fn is_replaced_alone(app: &App, case: &str, why: &str) {
    let (who, others) = garble(app, case);
    app.says(&format!("worker {who} "), why);
    let replaced = |now: &[WorkerProcess]| now.len() == 3 && now.iter().all(|worker| worker.id != who);
    let now = app.process.wait_for_workers(replaced).unwrap();
    assert!(others.iter().all(|other| now.contains(other)), "{case}: {others:?} serve on, now {now:?}");
    assert_eq!(app.ask("round -"), "all", "{case}: messages flow");
}

#[test]
fn a_worker_that_breaks_the_message_protocol_is_replaced_alone() {
    for method in METHODS {
        let app = App::start("wrongs", method);
        let director = app.process.director();
        is_replaced_alone(&app, "noise", "and was killed");
        let before = app.held();
        for (case, why) in WRONGS {
            is_replaced_alone(&app, case, why);
        }
        app.holds(before);
        assert_eq!(app.process.director(), director, "{method}: the director serves on");
    }
}

#[test]
fn whoever_writes_mutated_frames_is_replaced_alone() {
    const BROKE: &str = "broke the message protocol (";
    for method in METHODS {
        let app = App::start("mutated", method);
        // What is made at the first end is there before it is counted.
        is_replaced_alone(&app, "noise", "and was killed");
        let (mut director, mut number, before) = (app.process.director().unwrap(), 1, app.held());
        for seed in 0..40 {
            is_replaced_alone(&app, &format!("mutated {seed}"), BROKE);
            assert_eq!(app.process.director(), Some(director), "{method}: {seed}: the director serves on");
            let workers = app.process.workers();
            assert_eq!(app.ask(&format!("director {number} mutated {seed}")), "sent", "{method}: {seed}");
            app.says(&format!("the director (pid {director}) "), BROKE);
            (director, number) = (app.process.wait_for_director(Some(director)).unwrap(), number + 1);
            assert_eq!(app.ask("round -"), "all", "{method}: {seed}: messages flow");
            assert_eq!(app.process.workers(), workers, "{method}: {seed}: all workers serve on");
        }
        app.holds(before);
        assert!(!app.log().contains("panicked"), "{method}: {}", app.log());
    }
}

#[test]
fn a_worker_that_breaks_the_control_protocol_is_replaced_alone() {
    for method in METHODS {
        let app = App::start("control", method);
        is_replaced_alone(&app, "control-noise", "and was killed");
        let before = app.held();
        for case in ["control-noise", "control-empty", "control-long", "control-descriptors"] {
            is_replaced_alone(&app, case, "broke the control protocol and was killed");
        }
        app.holds(before);
    }
}

#[test]
fn however_much_workers_say_the_primary_hears_signals_and_others() {
    for method in METHODS {
        let mut app = App::start("flood", method);
        app.process.wait_for_workers(|workers| workers.len() == 3).unwrap();
        let mut flooding = std::collections::HashSet::new();
        while flooding.len() < 2 {
            flooding.insert(app.ask("control-flood"));
        }
        assert_eq!(app.ask("round -"), "all", "{method}: messages flow");
        let third =
            app.process.workers().into_iter().find(|worker| !flooding.contains(&worker.id.to_string()));
        signal(third.expect("one is silent").pid, Signal::SIGKILL).unwrap();
        app.process
            .wait_for_workers(|now| now.len() == 3 && now.iter().any(|worker| worker.id == 4))
            .unwrap();
        signal(app.process.pid(), Signal::SIGTTIN).unwrap();
        app.process.wait_for_workers(|now| now.len() == 4).unwrap();
        signal(app.process.pid(), Signal::SIGTERM).unwrap();
        assert_eq!(app.process.wait_for_primary().unwrap().code(), Some(0), "{method}: {}", app.log());
        app.process.wait_for_no_process().unwrap();
    }
}

#[test]
fn a_director_that_breaks_the_message_protocol_is_replaced_alone() {
    for method in METHODS {
        let app = App::start("director", method);
        let (workers, mut pid) = (app.process.workers(), app.process.director().unwrap());
        let before = app.held();
        for (number, (case, why)) in (1..).zip(WRONGS) {
            assert_eq!(app.ask(&format!("director {number} {case}")), "sent", "{method}: {case}");
            app.says(&format!("the director (pid {pid}) "), why);
            pid = app.process.wait_for_director(Some(pid)).unwrap();
            assert_eq!(app.ask("round -"), "all", "{method}: {case}: messages flow");
        }
        assert_eq!(app.process.workers(), workers, "{method}: all workers serve on");
        app.holds(before);
    }
}

#[test]
fn what_is_for_nobody_is_told_and_nobody_is_replaced() {
    let cases = [
        ("to-nobody", "there is no such worker"),
        ("to-no-slot", "nobody has its place any more"),
        ("parcel-to-nobody", "there is no such worker"),
        ("parcel-not-sealed", "its parcel could not be opened"),
        ("parcel-other-length", "its parcel could not be opened"),
        ("parcel-no-memory", "its parcel could not be opened"),
        ("parcel-of-holes", "its parcel could not be opened"),
    ];
    for ((case, why), method) in cases.iter().zip(METHODS.iter().cycle()) {
        let app = App::start(case, method);
        let (director, before) = (app.process.director(), app.held());
        let (who, others) = garble(&app, case);
        app.says(&format!("message of type `Nonsense` from worker {who} did not arrive"), why);
        assert_eq!(app.ask("round -"), "all", "{case}: messages flow");
        let now = app.process.workers();
        assert!(now.len() == 3 && others.iter().all(|other| now.contains(other)), "{case}: {now:?}");
        assert_eq!(app.process.director(), director, "{case}");
        app.holds(before);
    }
}

#[test]
fn a_worker_that_asks_and_does_not_listen_stalls_itself_alone() {
    for method in METHODS {
        let app = App::start("questions", method);
        let (who, others) = garble(&app, "questions");
        app.says("nobody takes questions any more", "");
        let slot = app.process.workers().iter().find(|worker| worker.id == who).unwrap().slot;
        for _ in 0..10 {
            assert_eq!(app.ask(&format!("round {slot}")), "all", "{method}: the others' messages flow");
        }
        let now = app.process.workers();
        assert!(others.iter().all(|other| now.contains(other)), "{method}: {now:?}");
    }
}

#[test]
fn parcels_for_one_that_is_stopped_leave_the_primary_its_descriptors() {
    for method in METHODS {
        // `subject` puts the address second: it is the shell's script here, and the program's address a knob.
        let script = "ulimit -n 400; exec \"$0\" \"$@\"";
        let command = subject_at("/bin/sh", "-c", script, &[GARBLER, method, "127.0.0.1:0"]);
        let app = App::start_with("parcels", method, command);
        let workers = app.process.workers();
        let stopped = workers[2];
        signal(stopped.pid, Signal::SIGSTOP).unwrap();
        eventually("all its threads have stopped", || is_stopped(stopped.pid));
        garble(&app, "parcels 2");
        app.says("all parcels are taken", "");
        app.says("did not arrive", "it takes nothing, and as much as may wait for it does");
        let held = app.held();
        assert!(held < 300, "{method}: the primary holds {held} descriptors");
        signal(stopped.pid, Signal::SIGCONT).unwrap();
        assert_eq!(app.ask("round -"), "all", "{method}: messages flow");
        assert_eq!(app.process.workers(), workers, "{method}: nobody is replaced");
    }
}
