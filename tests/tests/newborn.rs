//! What a worker starts with: state of its own, descriptors of main, signals in order.
use std::collections::HashSet;
use std::io::Read;
use std::os::fd::AsFd;

use nix::pty::openpty;
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use cluster_tests::{METHODS, Process, ask, say, signal, status_field, subject, who};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

#[test]
fn generators_and_hash_seeds_differ_though_main_used_both() {
    for method in METHODS {
        for word in ["random", "hash"] {
            let app = Process::start(subject(SUBJECT, method, &["workers=1", "fast"])).unwrap();
            // The first word of five workers, one after the other: forked from one image.
            let mut first_words = HashSet::new();
            for life in 1..=5 {
                first_words.insert(ask(app.addr(), word).unwrap());
                signal(app.workers()[0].pid, Signal::SIGKILL).unwrap();
                app.wait_for_workers(|workers| workers.iter().any(|worker| worker.id == life + 1)).unwrap();
            }
            assert_eq!(first_words.len(), 5, "{method}: {word}: {first_words:?}");
        }
    }
}

#[test]
fn a_client_that_resets_does_not_kill_its_worker() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=1"])).unwrap();
        for _ in 0..20 {
            let stream = say(app.addr(), "write-to-reset").unwrap();
            // Closed with data unread: the kernel sends a reset (RFC 1122, 4.2.2.13).
            let mut some = [0; 1];
            (&stream).read_exact(&mut some).unwrap();
            drop(stream);
        }
        assert_eq!(who(app.addr()).unwrap().id, 1, "{method}");
    }
}

#[test]
fn a_worker_logs_on_to_a_terminal_that_stops_background_output() {
    for method in METHODS {
        let pty = openpty(None, None).unwrap();
        let mut modes = tcgetattr(pty.slave.as_fd()).unwrap();
        modes.local_flags |= LocalFlags::TOSTOP;
        tcsetattr(pty.slave.as_fd(), SetArg::TCSANOW, &modes).unwrap();
        // Its own session, so that the terminal controls it and workers are in background groups.
        let mut command = std::process::Command::new("setsid");
        command.args(["--ctty", "--wait", SUBJECT, method, "127.0.0.1:0", "workers=1"]);
        command.stdin(pty.slave.try_clone().unwrap());
        command.stdout(pty.slave.try_clone().unwrap()).stderr(pty.slave.try_clone().unwrap());
        let mut master = std::fs::File::from(pty.master);
        let reader = std::thread::spawn(move || {
            let mut shown = Vec::new();
            // A terminal whose last user has gone answers EIO.
            let _ = master.read_to_end(&mut shown);
            String::from_utf8_lossy(&shown).into_owned()
        });
        let app = Process::start(command).unwrap();
        drop(pty.slave);
        assert_eq!(ask(app.addr(), "stderr written from the background").unwrap(), "said", "{method}");
        assert_eq!(ask(app.addr(), "stdout printed from the background").unwrap(), "said", "{method}");
        assert_eq!(who(app.addr()).unwrap().id, 1, "{method}");
        let primary = status_field(app.workers()[0].pid, "PPid").unwrap() as u32;
        signal(primary, Signal::SIGTERM).unwrap();
        app.wait_for_no_process().unwrap();
        drop(app);
        let shown = reader.join().unwrap();
        assert!(shown.contains("written from the background"), "{method}: {shown}");
        assert!(shown.contains("printed from the background"), "{method}: {shown}");
    }
}

#[test]
fn a_log_file_opened_in_main_is_right_in_every_worker() {
    for method in METHODS {
        let log = std::env::temp_dir().join(format!("cluster-log-{}-{method}", std::process::id()));
        let _ = std::fs::remove_file(&log);
        let knob = format!("log={}", log.display());
        let app = Process::start(subject(SUBJECT, method, &["workers=3", "fast", &knob])).unwrap();
        for line in 0..60 {
            assert_eq!(ask(app.addr(), &format!("log {line}")).unwrap(), "logged", "{method}");
            if line % 20 == 10 {
                let victim = app.workers()[0];
                signal(victim.pid, Signal::SIGKILL).unwrap();
                app.wait_for_workers(|now| now.len() == 3 && now[0].id != victim.id).unwrap();
            }
        }
        assert!(app.stop().unwrap().success());
        let text = std::fs::read_to_string(&log).unwrap();
        let expected: Vec<String> = (0..60).map(|line| line.to_string()).collect();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{method}");
        std::fs::remove_file(log).unwrap();
    }
}

#[test]
fn a_worker_has_a_group_a_name_and_an_oom_score_of_its_own() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=2"])).unwrap();
        let own = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", app.pid())).unwrap();
        for worker in app.workers() {
            let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", worker.pid)).unwrap();
            assert_eq!(read("comm").trim(), format!("worker {}", worker.slot), "{method}");
            let group = nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(worker.pid as i32))).unwrap();
            assert_eq!(group.as_raw() as u32, worker.pid, "{method}");
            let raised = (own.trim().parse::<i32>().unwrap() + 200).min(1000);
            assert_eq!(read("oom_score_adj").trim(), raised.to_string(), "{method}");
            assert_eq!(
                status_field(worker.pid, "PPid"),
                Some(u64::from(app.pid())),
                "{method}: the primary's child"
            );
            let stdin = std::fs::read_link(format!("/proc/{}/fd/0", worker.pid)).unwrap();
            assert_eq!(stdin.to_string_lossy(), "/dev/null", "{method}");
        }
    }
}

#[test]
fn a_worker_leaves_at_term_alone_and_at_no_other_signal_of_a_terminal() {
    use Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=1"])).unwrap();
        let worker = app.workers()[0];
        for harmless in [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU, SIGTSTP] {
            signal(worker.pid, harmless).unwrap();
            assert_eq!(who(app.addr()).unwrap().id, 1, "{method}: {harmless}");
        }
    }
}
