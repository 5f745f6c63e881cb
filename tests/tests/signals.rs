//! Signals to the primary: a terminal that goes, workers more and fewer, log files, what was ignored at the start.
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::thread::JoinHandle;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use cluster_tests::{
    Folder, METHODS, Process, ask, begin, eventually, has_in, is_stopped, listen, signal, status_field,
    subject, who,
};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

/// A terminal, and a program that it controls.
struct Terminal {
    /// The user's end: as with a window that is closed, the terminal is gone when this is dropped.
    master: OwnedFd,
    slave: OwnedFd,
    reader: JoinHandle<String>,
}

impl Terminal {
    fn open() -> Self {
        // Closed on exec: programs of other tests that run meanwhile would keep it open.
        let pty = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&pty).unwrap();
        unlockpt(&pty).unwrap();
        let path = ptsname_r(&pty).unwrap();
        let flags = OFlag::O_NOCTTY.bits();
        let slave = File::options().read(true).write(true).custom_flags(flags).open(path).unwrap();
        let master = OwnedFd::from(pty);
        let mut shown_on = File::from(master.try_clone().unwrap());
        let reader = std::thread::spawn(move || {
            let mut shown = Vec::new();
            // A terminal whose last user has gone answers EIO.
            let _ = shown_on.read_to_end(&mut shown);
            String::from_utf8_lossy(&shown).into_owned()
        });
        Self { master, slave: slave.into(), reader }
    }

    /// A command that leads a session with this as its controlling terminal.
    fn leads(&self, words: &[&str]) -> Command {
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(words);
        command.stdin(self.slave.try_clone().unwrap());
        command.stdout(self.slave.try_clone().unwrap()).stderr(self.slave.try_clone().unwrap());
        command
    }

    /// Whether what writes from the background is stopped.
    fn stop_background(&self, stops: bool) {
        let mut modes = tcgetattr(self.slave.as_fd()).unwrap();
        modes.local_flags.set(LocalFlags::TOSTOP, stops);
        tcsetattr(self.slave.as_fd(), SetArg::TCSANOW, &modes).unwrap();
    }

    /// Waits until nobody uses it any more; what was shown on it.
    fn close(self) -> String {
        drop((self.slave, self.master));
        self.reader.join().unwrap()
    }
}

/// The parent of its workers.
fn primary(app: &Process) -> u32 {
    status_field(app.workers()[0].pid, "PPid").unwrap() as u32
}

#[test]
fn a_terminal_whose_shell_leaves_stops_the_cluster_gracefully() {
    for method in METHODS {
        let terminal = Terminal::open();
        // In one group with its shell, as in a script: the kernel sends HUP to both when the shell is gone.
        let script = "\"$0\" \"$@\"; true";
        let command = terminal.leads(&["sh", "-c", script, SUBJECT, method, "127.0.0.1:0", "workers=2"]);
        let mut app = Process::start(command).unwrap();
        let slow = begin(&app, "slow 2000");
        app.signal(Signal::SIGKILL as i32).unwrap();
        app.wait_for_primary().unwrap();
        assert!(listen(slow).unwrap().starts_with("late "), "{method}: what was begun is finished");
        app.wait_for_no_process().unwrap();
        drop(app);
        let shown = terminal.close();
        assert!(shown.contains("the terminal is gone"), "{method}: {shown}");
    }
}

#[test]
fn a_hang_up_at_a_terminal_that_is_there_is_a_reload() {
    for method in METHODS {
        let terminal = Terminal::open();
        let app = Process::start(terminal.leads(&[SUBJECT, method, "127.0.0.1:0", "workers=2"])).unwrap();
        let pid = primary(&app);
        signal(pid, Signal::SIGHUP).unwrap();
        app.wait_for_line("reloaded 2", 0).unwrap();
        assert!(who(app.addr()).is_ok(), "{method}");
        signal(pid, Signal::SIGTERM).unwrap();
        app.wait_for_no_process().unwrap();
        drop(app);
        let shown = terminal.close();
        assert!(!shown.contains("the terminal is gone"), "{method}: {shown}");
    }
}

#[test]
fn a_hang_up_that_was_ignored_at_the_start_stays_ignored_and_so_do_others() {
    use Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};
    let ignored = [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU];
    for method in METHODS {
        let script = "trap '' HUP INT QUIT USR1 USR2 TTIN TTOU TERM; exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, SUBJECT, method, "127.0.0.1:0", "workers=2"]);
        let app = Process::start(command).unwrap();
        for one in ignored {
            assert!(has_in(app.pid(), "SigIgn", one), "{method}: {one}");
            assert!(!has_in(app.pid(), "SigCgt", one), "{method}: {one}");
            signal(app.pid(), one).unwrap();
        }
        assert!(has_in(app.workers()[0].pid, "SigIgn", SIGHUP), "{method}: in workers, too");
        assert!(
            has_in(app.pid(), "SigCgt", SIGTERM),
            "{method}: whoever ignores this cannot be asked to end"
        );
        assert_eq!(app.workers().len(), 2);
        assert!(who(app.addr()).is_ok(), "{method}");
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn ttin_and_ttou_are_one_worker_more_and_fewer_and_never_none() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=2"])).unwrap();
        signal(app.pid(), Signal::SIGTTIN).unwrap();
        app.wait_for_workers(|workers| workers.len() == 3).unwrap();
        let mut seen = app.wait_for_line("scaled 3", 0).unwrap();
        for left in [2, 1] {
            signal(app.pid(), Signal::SIGTTOU).unwrap();
            seen = app.wait_for_line(&format!("scaled {left}"), seen).unwrap();
            app.wait_for_workers(|workers| workers.len() == left).unwrap();
        }
        signal(app.pid(), Signal::SIGTTOU).unwrap();
        // One that comes with the other is balanced by it: when a successor is ready the first has been heard.
        let last = app.workers()[0];
        signal(last.pid, Signal::SIGKILL).unwrap();
        app.wait_for_workers(|workers| workers.iter().any(|worker| worker.id > last.id)).unwrap();
        signal(app.pid(), Signal::SIGTTIN).unwrap();
        let next = app.wait_for_line("scaled", seen).unwrap();
        assert_eq!(next, app.wait_for_line("scaled 2", seen).unwrap(), "{method}: there was never none");
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn a_terminal_that_stops_background_output_stops_the_primary_and_scales_nothing() {
    for method in METHODS {
        let terminal = Terminal::open();
        // Job control: the program is in a group of its own, in the background. Whoever has started it stays: else
        // the kernel would send HUP to a group that is stopped and nobody's.
        let script = "set -m; \"$0\" \"$@\" & exec sleep 600";
        let command = terminal.leads(&["sh", "-c", script, SUBJECT, method, "127.0.0.1:0", "workers=2"]);
        let app = Process::start(command).unwrap();
        let pid = primary(&app);
        terminal.stop_background(true);
        // It answers this one with a line.
        signal(pid, Signal::SIGUSR2).unwrap();
        eventually("its line stops it", || is_stopped(pid));
        terminal.stop_background(false);
        signal(pid, Signal::SIGCONT).unwrap();
        // BEHIND whatever the other may have done.
        signal(pid, Signal::SIGTTIN).unwrap();
        app.wait_for_line("scaled 3", 0).unwrap();
        app.wait_for_workers(|workers| workers.len() == 3).unwrap();
        signal(pid, Signal::SIGTERM).unwrap();
        eventually("all but the shell have ended", || app.processes().len() == 1);
        app.signal(Signal::SIGKILL as i32).unwrap();
        app.wait_for_no_process().unwrap();
        drop(app);
        let shown = terminal.close();
        assert_eq!(shown.matches("scaling").count(), 1, "{method}: {shown}");
        assert!(shown.contains("SIGUSR2 means nothing yet"), "{method}: {shown}");
    }
}

#[test]
fn usr1_reaches_every_worker_also_one_that_drains() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=2", "director"])).unwrap();
        let reopened = |times: &str| {
            eventually("all have heard it", || (0..8).all(|_| ask(app.addr(), "reopened").unwrap() == times));
        };
        signal(app.pid(), Signal::SIGUSR1).unwrap();
        app.wait_for_line("reopen-logs", 0).unwrap();
        reopened("1");
        signal(app.pid(), Signal::SIGUSR1).unwrap();
        reopened("2");
        let drains = begin(&app, "when-reopened 3");
        signal(app.pid(), Signal::SIGTERM).unwrap();
        app.wait_for_line("stopping", 0).unwrap();
        signal(app.pid(), Signal::SIGUSR1).unwrap();
        assert_eq!(listen(drains).unwrap(), "now", "{method}");
        assert!(app.wait().unwrap().success(), "{method}");
    }
}

#[test]
fn usr2_and_a_worker_s_own_usr1_change_nothing() {
    for method in METHODS {
        let folder = Folder::new("usr2");
        let said = folder.path("said");
        let mut command = subject(SUBJECT, method, &["workers=2"]);
        command.stderr(File::create(&said).unwrap());
        let app = Process::start(command).unwrap();
        signal(app.workers()[0].pid, Signal::SIGUSR1).unwrap();
        signal(app.pid(), Signal::SIGUSR2).unwrap();
        eventually("it says so", || {
            std::fs::read_to_string(&said).unwrap().contains("SIGUSR2 means nothing yet and is ignored")
        });
        for _ in 0..8 {
            assert_eq!(ask(app.addr(), "reopened").unwrap(), "0", "{method}");
        }
        assert!(app.stop().unwrap().success(), "{method}");
    }
}
