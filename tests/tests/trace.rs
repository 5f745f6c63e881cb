//! A process that hangs says where, and is killed in time also where it cannot.
use std::fs;
use std::time::{Duration, Instant};

use cluster_tests::{Folder, METHODS, Process, ask, eventually, say, signal, subject_at};
use nix::sys::signal::Signal;

const HANGER: &str = env!("CARGO_BIN_EXE_hanger");

/// A cluster of one worker, with the limit of a second.
struct Hanger {
    app: Process,
    folder: Folder,
    method: &'static str,
}

/// The end of a process that hung: what is said of it, and its trace.
struct End {
    line: String,
    trace: Vec<String>,
}

impl Hanger {
    fn start(method: &'static str, knobs: &[&str]) -> Self {
        let folder = Folder::new("hanger");
        let file = folder.path("exits").display().to_string();
        let mut command = subject_at(HANGER, method, &file, knobs);
        command.stderr(fs::File::create(folder.path("stderr")).unwrap());
        Self { app: Process::start(command).unwrap(), folder, method }
    }

    /// Has the worker do something for ever.
    fn hang(&self, how: &str) -> End {
        let _stream = say(self.app.addr(), how).unwrap();
        self.end()
    }

    /// What the first that ended said.
    fn end(&self) -> End {
        let mut text = String::new();
        eventually("it has ended", || {
            text = fs::read_to_string(self.folder.path("exits")).unwrap_or_default();
            text.contains("\nend\n")
        });
        let mut lines = text.lines().map(str::to_owned).take_while(|line| line != "end");
        let line = lines.next().unwrap();
        assert!(line.contains(" hung and was killed (SIGKILL) after "), "{}: {line}", self.method);
        End { line, trace: lines.collect() }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path("stderr")).unwrap()
    }
}

impl End {
    /// The line names the function, and the place in it where the program has debug information.
    fn check_culprit(&self, function: &str, method: &str) {
        let said = self.line.split_once("; it was in ").map(|(_, said)| said).unwrap_or_default();
        let place = said.strip_prefix(function).unwrap_or_else(|| panic!("{method}: {}", self.line));
        let with_place = place.starts_with(" at ") && place.contains("main.rs:");
        assert!(place.is_empty() || with_place, "{method}: {}", self.line);
    }

    /// Where in its trace this is named first.
    fn position(&self, name: &str) -> usize {
        let named = self.trace.iter().position(|line| line.contains(name));
        named.unwrap_or_else(|| panic!("{name}: {}\n{}", self.line, self.trace.join("\n")))
    }
}

#[test]
fn a_worker_that_loops_says_where() {
    for method in METHODS {
        let app = Hanger::start(method, &[]);
        let end = app.hang("spin");
        end.check_culprit("hanger::spin_for_ever", method);
        assert!(end.trace[0].starts_with("thread "), "{method}: {:?}", end.trace);
        assert!(end.trace[1].starts_with("   0: hanger::spin_for_ever"), "{method}: {:?}", end.trace);
        // Who called it, up to the runtime.
        assert!(end.position("hanger::spin_for_ever") < end.position("hanger::hang"));
        assert!(end.position("hanger::hang") < end.position("hanger::obey::{{closure}}"));
        assert_eq!(end.position(" more of its runtime"), 4, "{method}: {:?}", end.trace);
        // The log has it whole, a moment later.
        let whole = format!("{}\n  {}\n", end.line, end.trace.join("\n  "));
        eventually(&whole, || app.log().contains(&whole));
    }
}

#[test]
fn the_director_says_where_too() {
    for method in METHODS {
        let app = Hanger::start(method, &[]);
        assert_eq!(ask(app.app.addr(), "director spin").unwrap(), "passed on");
        let end = app.end();
        assert!(end.line.starts_with("the director (pid "), "{method}: {}", end.line);
        end.check_culprit("hanger::spin_for_ever", method);
        assert!(end.position("hanger::spin_for_ever") < end.position("hanger::hang"));
    }
}

#[test]
fn all_threads_of_a_runtime_say_where() {
    for method in METHODS {
        let app = Hanger::start(method, &["threads"]);
        let end = app.hang("everywhere spin");
        let in_it = end.trace.iter().filter(|line| line.contains("hanger::spin_for_ever")).count();
        assert_eq!(in_it, 2, "{method}: {:#?}", end.trace);
        end.check_culprit("hanger::spin_for_ever", method);
        assert!(end.trace.iter().filter(|line| line.starts_with("thread ")).count() >= 2, "{method}");
    }
}

#[test]
fn one_that_sleeps_in_the_kernel_says_in_which_call() {
    for method in METHODS {
        let end = Hanger::start(method, &[]).hang("sleep");
        assert!(end.position("nanosleep") < end.position("hanger::sleep_for_ever"), "{method}");
        end.check_culprit("hanger::sleep_for_ever", method);
    }
}

#[test]
fn one_that_holds_the_lock_of_standard_error_says_where() {
    for method in METHODS {
        let end = Hanger::start(method, &[]).hang("stderr");
        assert!(end.position("spin_for_ever") < end.position("spin_with_the_lock_of_stderr"), "{method}");
    }
}

#[test]
fn the_innermost_functions_are_told_of_one_that_is_very_deep() {
    for method in METHODS {
        let end = Hanger::start(method, &[]).hang("deep");
        let calls = end.trace.iter().filter(|line| line.contains("hanger::recurse")).count();
        assert_eq!(calls, 63, "{method}: {:#?}", end.trace);
        assert_eq!(end.position("64: .. and more"), 65, "{method}");
    }
}

/// The limit, two looks, and the time that it has to say where.
const IN_TIME: Duration = Duration::from_secs(20);

#[test]
fn one_that_holds_the_lock_of_the_allocator_is_killed_in_time_and_says_where_without_names() {
    for method in METHODS {
        let app = Hanger::start(method, &[]);
        let begun = Instant::now();
        let end = app.hang("allocator");
        assert!(begun.elapsed() < IN_TIME, "{method}: {:?}", begun.elapsed());
        assert_eq!(end.position("   0: hanger+0x"), 1, "{method}: {:?}", end.trace);
        assert_eq!(end.trace.last().unwrap(), "(looking for names took too long)", "{method}");
    }
}

#[test]
fn one_that_is_stuck_while_it_says_where_ends_also_without_its_primary() {
    for method in METHODS {
        let mut app = Hanger::start(method, &[]);
        let worker = app.app.workers()[0].pid;
        let _stream = say(app.app.addr(), "allocator").unwrap();
        // Its threads are put behind all others when it looks where they are.
        eventually("it says where", || niceness(worker).contains(&19));
        signal(app.app.pid(), Signal::SIGKILL).unwrap();
        app.app.wait_for_primary().unwrap();
        let took = app.app.wait_for_no_process().unwrap();
        assert!(took < IN_TIME, "{method}: {took:?}");
    }
}

/// Of each thread of a process (proc_pid_stat(5)).
fn niceness(pid: u32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let stats = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    // Behind the name, which may have spaces, the 17th.
    stats.filter_map(|stat| stat.rsplit_once(')')?.1.split_whitespace().nth(16)?.parse().ok()).collect()
}

#[test]
fn one_that_blocks_signals_is_killed_in_time_and_it_says_so() {
    for method in METHODS {
        let app = Hanger::start(method, &[]);
        let begun = Instant::now();
        let end = app.hang("deaf");
        assert!(begun.elapsed() < IN_TIME, "{method}: {:?}", begun.elapsed());
        end.position("no trace: it blocks SIGURG, by which it would be interrupted");
    }
}
