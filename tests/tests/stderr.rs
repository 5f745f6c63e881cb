//! Standard error that nobody reads, or that is put elsewhere, stalls nobody.
use std::io::Read;

use nix::sys::signal::Signal;

use cluster_tests::{METHODS, Process, ask, processor_time, signal, subject, who};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

#[test]
fn invariant_3_a_full_pipe_as_stderr_blocks_neither_primary_nor_sentinel() {
    for method in METHODS {
        let (mut read, write) = std::io::pipe().unwrap();
        // As full as it gets, before the program says its first word.
        nix::fcntl::fcntl(&write, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        std::io::Write::write_all(&mut (&write), &[b'.'; 4096]).unwrap();
        let mut command = subject(SUBJECT, method, &["workers=2", "fast"]);
        command.stderr(write);
        let app = Process::start(command).unwrap();
        for life in 1..=20 {
            let victim = app.workers()[0];
            signal(victim.pid, Signal::SIGKILL).unwrap();
            let newest = 2 + life;
            app.wait_for_workers(|now| now.len() == 2 && now.iter().any(|worker| worker.id == newest))
                .unwrap();
            who(app.addr()).unwrap();
        }
        assert_eq!(ask(app.addr(), "stderr nobody reads this").unwrap(), "said", "{method}");
        assert!(app.stop().unwrap().success(), "{method}");
        let mut text = Vec::new();
        read.read_to_end(&mut text).unwrap();
    }
}

#[test]
fn a_worker_that_puts_its_stderr_elsewhere_costs_no_processor_time() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=1"])).unwrap();
        assert_eq!(ask(app.addr(), "relog /dev/null").unwrap(), "logging there");
        let (pid, start) = (app.workers()[0].pid, std::time::Instant::now());
        let before = processor_time(pid);
        while start.elapsed() < std::time::Duration::from_millis(500) {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let used = processor_time(pid) - before;
        assert!(used < 25, "{method}: {used} ticks of 50 in half a second");
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn a_worker_that_leaves_as_soon_as_it_comes_does_not_pile_up() {
    for method in METHODS {
        let app =
            Process::launch(subject(SUBJECT, method, &["workers=1", "retires", "drain=60000"])).unwrap();
        // Three boots that came to nothing, and it gives up; what they left hangs until it is told to stop.
        app.wait_for_line("stopping", 0).unwrap();
        assert!(app.processes().len() < 10, "{method}: {:?}", app.processes());
        app.signal(Signal::SIGQUIT as i32).unwrap();
        assert_eq!(app.wait().unwrap().code(), Some(70), "{method}");
    }
}
