//! As the first process of a container: in a PID namespace of its own, where every orphan is its child.
use std::fs::{self, File};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use cluster_tests::{Folder, METHODS, Process, ask, begin, eventually, ignores, listen, signal, who};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

/// A command under which a program is PID 1; none where this machine does not permit that.
fn namespace() -> Option<Vec<&'static str>> {
    let plain = vec!["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let as_root =
        vec!["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"];
    [plain, as_root].into_iter().find(|words| {
        let tried = Command::new(words[0]).args(&words[1..]).arg("true").stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    })
}

/// The program as PID 1, under `words`; what it says goes into a file.
struct Container {
    app: Process,
    folder: Folder,
}

impl Container {
    fn command(folder: &Folder, words: &[&str], method: &str, knobs: &[&str]) -> Command {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args([SUBJECT, method, "127.0.0.1:0"]).args(knobs);
        let said = File::create(folder.path("said")).unwrap();
        command.stdout(said.try_clone().unwrap()).stderr(said);
        command
    }

    fn start(words: &[&str], method: &str, knobs: &[&str]) -> Self {
        let folder = Folder::new("pid-1");
        let app = Process::start(Self::command(&folder, words, method, knobs)).unwrap();
        Self { app, folder }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path("said")).unwrap()
    }

    /// Its first process, as it is numbered out here.
    fn first(&self) -> u32 {
        let unshare = self.app.pid();
        let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap();
        children.trim().parse().expect("it has one child")
    }

    /// A file of `/proc` as it is in there.
    fn proc(&self, pid: &str, file: &str) -> Option<String> {
        fs::read_to_string(format!("/proc/{}/root/proc/{pid}/{file}", self.first())).ok()
    }

    /// The children of PID 1 that have ended and that nobody has waited for, by name.
    fn zombies(&self) -> Vec<String> {
        let inside = format!("/proc/{}/root/proc", self.first());
        let stats = children(&format!("{inside}/1")).into_iter().filter_map(|pid| self.proc(&pid, "stat"));
        stats.filter(|stat| stat.contains(") Z 1 ")).collect()
    }
}

macro_rules! or_skip {
    ($namespace:expr) => {
        match $namespace {
            Some(words) => words,
            None => return println!("skipped: unshare(1) makes no PID namespace here"),
        }
    };
}

#[test]
fn pid_1_reaps_what_workers_leave_behind_and_no_child_of_its_own_main() {
    let words = or_skip!(namespace());
    for method in METHODS {
        let container = Container::start(&words, method, &["workers=2", "own-child"]);
        let addr = container.app.addr();
        assert_eq!(container.proc("1", "comm").as_deref(), Some("subject\n"), "{method}");
        let (quick, slow) = (ask(addr, "orphan").unwrap(), ask(addr, "stray 600").unwrap());
        eventually("what ended while its worker lives is reaped", || {
            container.proc(&quick, "stat").is_none()
        });
        assert!(container.proc(&slow, "stat").is_some(), "{method}: this one runs yet");
        for worker in container.app.workers() {
            // Numbered as in there: the primary's namespace is the last of them.
            signal(outside(&container, worker.pid), Signal::SIGKILL).unwrap();
        }
        eventually("it ended with its worker's group, and is reaped", || {
            container.proc(&slow, "stat").is_none()
        });
        container
            .app
            .wait_for_workers(|workers| workers.iter().filter(|worker| worker.id > 2).count() == 2)
            .unwrap();
        let left = container.zombies();
        assert!(left.len() == 1 && left[0].contains("(sh)"), "{method}: only main's own child: {left:?}");
        signal(container.first(), Signal::SIGTERM).unwrap();
        eventually("it has ended", || container.said().contains("the child of main"));
        assert!(container.said().contains("the child of main: Ok(Some(7))"), "{}", container.said());
        assert_eq!(container.app.wait().unwrap().code(), Some(0), "{method}");
    }
}

/// The number out here of a process in there.
fn outside(container: &Container, inside: u32) -> u32 {
    let first = container.first();
    let is_it = |pid: &String| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        line.and_then(|line| line.split_whitespace().last()) == Some(&inside.to_string())
    };
    let here = children(&format!("/proc/{first}"));
    here.into_iter().find(is_it).expect("it is a child of PID 1").parse().unwrap()
}

/// The children of all threads of a process, which is a folder of a `/proc`.
fn children(process: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("{process}/task")).unwrap();
    let lists =
        threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn term_and_ctrl_c_stop_pid_1_gracefully_with_code_0() {
    let words = or_skip!(namespace());
    for method in METHODS {
        // To the kernel PID 1 is special: a signal that it does not handle is not even delivered.
        for stop in [Signal::SIGTERM, Signal::SIGINT] {
            if ignores(stop) {
                continue;
            }
            let container = Container::start(&words, method, &["workers=2"]);
            let slow = begin(&container.app, "slow 1000");
            signal(container.first(), stop).unwrap();
            assert!(listen(slow).unwrap().starts_with("late "), "{method}: {stop}");
            assert_eq!(container.app.wait().unwrap().code(), Some(0), "{method}: {stop}");
        }
    }
}

#[test]
fn a_stop_of_pid_1_that_is_asked_for_twice_is_at_once() {
    let words = or_skip!(namespace());
    for method in METHODS {
        let container = Container::start(&words, method, &["workers=2"]);
        let slow = begin(&container.app, "slow 600000");
        let first = container.first();
        signal(first, Signal::SIGTERM).unwrap();
        eventually("the second insists", || {
            let _ = signal(first, Signal::SIGTERM);
            container.app.processes().is_empty()
        });
        assert!(listen(slow).is_err(), "{method}");
        assert_eq!(container.app.wait().unwrap().code(), Some(0), "{method}");
    }
}

#[test]
fn pid_1_that_gives_up_exits_with_70() {
    let words = or_skip!(namespace());
    for method in METHODS {
        let folder = Folder::new("pid-1");
        let knobs = ["workers=1", "factory-exits"];
        let app = Process::launch(Container::command(&folder, &words, method, &knobs)).unwrap();
        assert_eq!(app.wait().unwrap().code(), Some(70), "{method}");
    }
}

#[test]
fn without_a_terminal_and_with_standard_input_closed_it_serves_and_reloads_at_a_hang_up() {
    let words = or_skip!(namespace());
    for method in METHODS {
        // As `docker run -d`: a session of its own that no terminal controls.
        let detached = [&["setsid", "--wait", "sh", "-c", "exec \"$0\" \"$@\" 0<&-"], &words[..]].concat();
        let container = Container::start(&detached, method, &["workers=2"]);
        signal(container.first(), Signal::SIGHUP).unwrap();
        container.app.wait_for_line("reloaded 2", 0).unwrap();
        assert!(who(container.app.addr()).is_ok(), "{method}");
        signal(container.first(), Signal::SIGTERM).unwrap();
        assert_eq!(container.app.wait().unwrap().code(), Some(0), "{method}");
    }
}
