//! What a service manager is told, over a socket of the test's own, and what of its variables is kept from workers.
use std::fs;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::time::ClockId;

use cluster_tests::{
    Folder, METHODS, Process, ask, begin, eventually, is_stopped, listen, signal, subject, subject_at, who,
};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

/// What a service manager gives its child besides the socket, as a shell says it.
const NO_WATCHDOG: &str = "";

/// A service manager, as its service sees it.
struct Manager {
    socket: UnixDatagram,
    name: String,
    /// The socket's place, where it is a file.
    _folder: Folder,
}

impl Manager {
    fn new() -> Self {
        let folder = Folder::new("manager");
        let path = folder.path("notify");
        let name = path.display().to_string();
        Self { socket: UnixDatagram::bind(path).unwrap(), name, _folder: folder }
    }

    /// One whose socket has a name and no file.
    fn abstract_one() -> Self {
        let folder = Folder::new("manager");
        let name = folder.path("notify").display().to_string();
        let addr = SocketAddr::from_abstract_name(&name).unwrap();
        Self { socket: UnixDatagram::bind_addr(&addr).unwrap(), name: format!("@{name}"), _folder: folder }
    }

    /// The command, as its child; `variables` are further ones.
    fn child(&self, variables: &str, method: &str, knobs: &[&str]) -> Command {
        self.child_of(Path::new(SUBJECT), variables, method, knobs)
    }

    fn child_of(&self, program: &Path, variables: &str, method: &str, knobs: &[&str]) -> Command {
        let program = program.to_str().unwrap();
        let script = format!("NOTIFY_SOCKET='{}' {variables} exec \"$0\" \"$@\"", self.name);
        subject_at("sh", "-c", &script, &[&[program, method, "127.0.0.1:0"], knobs].concat())
    }

    /// The next message, if it comes in time.
    fn hear_for(&self, time: Duration) -> Option<String> {
        let mut message = [0; 4096];
        self.socket.set_read_timeout(Some(time)).unwrap();
        match self.socket.recv(&mut message) {
            Ok(len) => Some(String::from_utf8(message[..len].to_vec()).unwrap()),
            Err(err) if err.kind() == ErrorKind::WouldBlock => None,
            Err(err) => panic!("{err}"),
        }
    }

    /// Hears until a line is this one; all lines until then.
    fn hear_until(&self, line: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !lines.iter().any(|heard| heard == line) {
            let message = self
                .hear_for(deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
            let message = message.unwrap_or_else(|| panic!("`{line}` was not told: {lines:?}"));
            lines.extend(message.lines().map(str::to_owned));
        }
        lines
    }

    /// What has been said and not heard.
    fn rest(&self) -> Vec<String> {
        std::iter::from_fn(|| self.hear_for(Duration::from_millis(1)))
            .flat_map(|message| message.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }
}

fn has(lines: &[String], line: &str) -> bool {
    lines.iter().any(|heard| heard == line)
}

#[test]
fn ready_is_told_when_all_workers_are_and_not_before() {
    for method in METHODS {
        for manager in [Manager::new(), Manager::abstract_one()] {
            let folder = Folder::new("ready");
            let flag = folder.path("flag");
            let knob = format!("ready-when={}", flag.display());
            let knobs = ["workers=2", "wait-for-ready", &knob];
            let app = Process::launch(manager.child(NO_WATCHDOG, method, &knobs)).unwrap();
            let before = manager.hear_until("STATUS=starting: 0 of 2 workers serve");
            eventually("both boot", || app.processes().len() >= 3);
            assert!(!has(&before, "READY=1") && !has(&manager.rest(), "READY=1"), "{method}: {before:?}");
            fs::write(&flag, "").unwrap();
            let lines = manager.hear_until("READY=1");
            assert!(has(&lines, "STATUS=2 of 2 workers serve, generation 1"), "{method}: {lines:?}");
            assert!(app.stop().unwrap().success(), "{method}");
            let lines = manager.rest();
            assert!(has(&lines, "STOPPING=1") && !has(&lines, "READY=1"), "{method}: {lines:?}");
        }
    }
}

#[test]
fn the_status_follows_workers_that_end_and_that_are_added() {
    for method in METHODS {
        let manager = Manager::new();
        let app = Process::start(manager.child(NO_WATCHDOG, method, &["workers=2"])).unwrap();
        manager.hear_until("READY=1");
        signal(app.workers()[0].pid, Signal::SIGKILL).unwrap();
        manager.hear_until("STATUS=1 of 2 workers serve, generation 1");
        manager.hear_until("STATUS=2 of 2 workers serve, generation 1");
        signal(app.pid(), Signal::SIGTTIN).unwrap();
        manager.hear_until("STATUS=3 of 3 workers serve, generation 1");
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn stopping_is_told_before_the_drain_ends_and_with_the_reason_where_it_gives_up() {
    for method in METHODS {
        let manager = Manager::new();
        let app = Process::start(manager.child(NO_WATCHDOG, method, &["workers=2"])).unwrap();
        let slow = begin(&app, "slow 2000");
        signal(app.pid(), Signal::SIGTERM).unwrap();
        manager.hear_until("STOPPING=1");
        assert!(!app.processes().is_empty(), "{method}: while requests are finished");
        assert!(listen(slow).unwrap().starts_with("late "), "{method}");
        assert!(app.wait().unwrap().success(), "{method}");
        let app =
            Process::launch(manager.child(NO_WATCHDOG, method, &["workers=1", "factory-exits"])).unwrap();
        assert_eq!(app.wait().unwrap().code(), Some(70), "{method}");
        let lines = manager.rest();
        assert!(!has(&lines, "READY=1") && has(&lines, "STOPPING=1"), "{method}: {lines:?}");
        let why = |line: &String| {
            line.starts_with("STATUS=stopping (") && line.contains("no worker was ever ready")
        };
        assert!(lines.iter().any(why), "{method}: {lines:?}");
    }
}

#[test]
fn a_reload_is_told_with_the_time_that_systemd_compares_and_ends_in_ready() {
    let now = || Duration::from(ClockId::CLOCK_MONOTONIC.now().unwrap()).as_micros();
    for method in METHODS {
        let manager = Manager::new();
        let app = Process::start(manager.child(NO_WATCHDOG, method, &["workers=2"])).unwrap();
        manager.hear_until("STATUS=2 of 2 workers serve, generation 1");
        for generation in [2, 3] {
            let asked = now();
            signal(app.pid(), Signal::SIGHUP).unwrap();
            let lines = manager.hear_until("READY=1");
            let at = lines.iter().position(|line| line == "RELOADING=1").expect("before it is ready again");
            // In the same message, or systemd does not take it for the answer to its signal.
            let moment: u128 = lines[at + 1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
            assert!((asked..=now()).contains(&moment), "{method}: {moment}, asked at {asked}");
            let status = format!("STATUS=2 of 2 workers serve, generation {generation}");
            if !has(&lines, &status) {
                manager.hear_until(&status);
            }
        }
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn a_reload_that_fails_ends_in_ready_too_and_says_why() {
    for method in METHODS {
        let (manager, folder) = (Manager::new(), Folder::new("deployed"));
        let program = folder.path("program");
        fs::copy(SUBJECT, &program).unwrap();
        let app = Process::start(manager.child_of(&program, NO_WATCHDOG, method, &["workers=2"])).unwrap();
        manager.hear_until("READY=1");
        fs::rename(folder.path("program"), folder.path("old")).unwrap();
        signal(app.pid(), Signal::SIGHUP).unwrap();
        let lines = manager.hear_until("READY=1");
        assert!(has(&lines, "RELOADING=1"), "{method}: {lines:?}");
        let why = |line: &String| {
            line.starts_with("STATUS=the reload to generation 2 failed (cannot execute")
                && line.contains("No such file")
                && line.ends_with("; 2 of 2 workers serve, generation 1")
        };
        assert!(manager.rest().iter().chain(&lines).any(why), "{method}: {lines:?}");
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn the_watchdog_is_told_while_the_primary_turns_and_a_worker_lives() {
    let every = Duration::from_millis(100);
    let watchdog = "WATCHDOG_USEC=200000 WATCHDOG_PID=$$";
    for method in METHODS {
        let manager = Manager::new();
        let knobs = ["workers=1", "restart-delay=600000"];
        let app = Process::start(manager.child(watchdog, method, &knobs)).unwrap();
        manager.hear_until("READY=1");
        let begun = Instant::now();
        for _ in 0..5 {
            manager.hear_until("WATCHDOG=1");
        }
        assert!(begun.elapsed() >= 4 * every, "{method}: not more often than twice in its time");
        signal(app.pid(), Signal::SIGSTOP).unwrap();
        eventually("it has stopped", || is_stopped(app.pid()));
        manager.rest();
        assert_eq!(manager.hear_for(5 * every), None, "{method}: it does not turn");
        signal(app.pid(), Signal::SIGCONT).unwrap();
        manager.hear_until("WATCHDOG=1");
        // The first is replaced at once; its successor is not for long.
        signal(app.workers()[0].pid, Signal::SIGKILL).unwrap();
        let second = app.wait_for_workers(|workers| workers.iter().any(|worker| worker.id == 2)).unwrap();
        signal(second.last().unwrap().pid, Signal::SIGKILL).unwrap();
        app.wait_for_workers(<[_]>::is_empty).unwrap();
        manager.rest();
        assert_eq!(manager.hear_for(5 * every), None, "{method}: nobody serves, and nobody boots");
        signal(app.pid(), Signal::SIGTERM).unwrap();
        assert!(app.wait().unwrap().success(), "{method}");
    }
}

#[test]
fn a_watchdog_of_another_process_is_not_told() {
    for method in METHODS {
        let manager = Manager::new();
        let app = Process::start(manager.child("WATCHDOG_USEC=20000 WATCHDOG_PID=1", method, &["workers=1"]))
            .unwrap();
        // It would be due fifty times meanwhile.
        assert!(ask(app.addr(), "slow 500").is_ok(), "{method}");
        assert!(app.stop().unwrap().success(), "{method}");
        let lines = manager.rest();
        assert!(has(&lines, "READY=1") && !has(&lines, "WATCHDOG=1"), "{method}: {lines:?}");
    }
}

#[test]
fn variables_of_the_service_manager_reach_neither_workers_nor_what_they_start() {
    let variables =
        "WATCHDOG_USEC=30000000 WATCHDOG_PID=$$ LISTEN_PID=$$ LISTEN_FDS=0 LISTEN_FDNAMES= LISTEN_PIDFDID=7";
    let kept = [
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "LISTEN_PID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "LISTEN_PIDFDID",
        "NOTIFY_SOCKET",
    ];
    for method in METHODS {
        let manager = Manager::new();
        let app = Process::start(manager.child(
            &format!("OTHER=there {variables}"),
            method,
            &["workers=1", "fast"],
        ))
        .unwrap();
        let environ = fs::read_to_string(format!("/proc/{}/environ", app.pid())).unwrap();
        for life in 1..=2 {
            assert_eq!(ask(app.addr(), "env OTHER").unwrap(), "there", "{method}");
            for variable in kept {
                assert!(environ.contains(&format!("{variable}=")), "the primary has it: {variable}");
                let own = ask(app.addr(), &format!("env {variable}")).unwrap();
                assert!(own.contains("not found"), "{method}, life {life}: {variable}={own}");
                let child = ask(app.addr(), &format!("child-env {variable}")).unwrap();
                assert_eq!(child, "not there", "{method}, life {life}: {variable}");
            }
            // The next is from a fork server that was executed.
            if let Some(fork_server) = app.fork_server().filter(|_| life == 1) {
                signal(fork_server, Signal::SIGKILL).unwrap();
                let lost = app.wait_for_line("fork-server-lost", 0).unwrap();
                app.wait_for_line("fork-server ", lost).unwrap();
            }
            signal(app.workers()[0].pid, Signal::SIGKILL).unwrap();
            app.wait_for_workers(|workers| workers.iter().any(|worker| worker.id == life + 1)).unwrap();
        }
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn invariant_3_a_service_manager_that_reads_nothing_holds_up_nothing_and_learns_the_end_of_it() {
    for method in METHODS {
        let manager = Manager::new();
        let app = Process::start(manager.child(NO_WATCHDOG, method, &["workers=1", "fast"])).unwrap();
        // More words than a socket holds (net.unix.max_dgram_qlen).
        for id in 2..60 {
            signal(app.workers()[0].pid, Signal::SIGKILL).unwrap();
            app.wait_for_workers(|workers| workers.iter().any(|worker| worker.id == id)).unwrap();
        }
        assert!(who(app.addr()).is_ok(), "{method}");
        let scaled = "STATUS=2 of 2 workers serve, generation 1";
        signal(app.pid(), Signal::SIGTTIN).unwrap();
        let lines = manager.hear_until(scaled);
        assert!(has(&lines, "READY=1"), "{method}: {lines:?}");
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn invariant_8_a_socket_that_is_none_is_named_and_ends_nothing() {
    for method in METHODS {
        for (name, why) in
            [("/nowhere/notify", "cannot tell the service manager"), ("notify", "no path, and no @name")]
        {
            let folder = Folder::new("nobody");
            let said = folder.path("said");
            let mut command = subject(SUBJECT, method, &["workers=1"]);
            command.env("NOTIFY_SOCKET", name).stderr(fs::File::create(&said).unwrap());
            let app = Process::start(command).unwrap();
            assert!(who(app.addr()).is_ok(), "{method}");
            assert!(app.stop().unwrap().success(), "{method}");
            let said = fs::read_to_string(said).unwrap();
            assert_eq!(said.matches(why).count(), 1, "{method}: {said}");
        }
    }
}
