//! Bad input: an error that names the thing, a non-zero exit, and no process left.
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use cluster_tests::{METHODS, Process, ask, eventually, fails, subject, subject_at, who};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

#[test]
fn invariant_8_an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for method in METHODS {
        fails(subject_at(SUBJECT, method, &addr, &["workers=2"]), 1, &[&addr, "in use"]);
    }
}

#[test]
fn a_cluster_that_could_not_start_may_be_tried_again() {
    for method in METHODS {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        let file =
            |name| std::env::temp_dir().join(format!("cluster-{name}-{}-{method}", std::process::id()));
        let (log, free) = (file("again"), file("free"));
        let again = format!("again-when={}", free.display());
        let mut command = subject_at(SUBJECT, method, &addr.to_string(), &["workers=2", &again]);
        command.stderr(std::fs::File::create(&log).unwrap());
        let app = Process::launch(command).unwrap();
        eventually("the first has failed", || {
            std::fs::read_to_string(&log).unwrap().lines().any(|line| line.starts_with("the first: Err("))
        });
        drop(taken);
        std::fs::write(&free, "").unwrap();
        app.wait_for_workers(|workers| workers.len() == 2).unwrap();
        assert!(who(addr).is_ok(), "{method}");
        assert!(app.stop().unwrap().success(), "{method}");
        [log, free].into_iter().for_each(|file| std::fs::remove_file(file).unwrap());
    }
}

#[test]
fn invariant_8_a_second_copy_is_refused() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=2"])).unwrap();
        let addr = app.addr().to_string();
        fails(subject_at(SUBJECT, method, &addr, &["workers=2"]), 1, &[&addr, "in use"]);
        assert!(who(app.addr()).is_ok());
    }
}

#[test]
fn invariant_8_a_privileged_port_is_named() {
    let first_free = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first_free.trim().parse::<u16>().unwrap() <= 80 {
        println!(
            "skipped: here every user may bind port 80 (net.ipv4.ip_unprivileged_port_start = {})",
            first_free.trim()
        );
        return;
    }
    // A copy where another user can reach it: the target folder may be in a home directory.
    let folder = std::env::temp_dir().join(format!("cluster-privileged-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let program = folder.join("subject");
    // By a program of its own: a process that another test starts at this moment would have the copy open for writing,
    // and what is being written cannot be executed (execve(2), ETXTBSY).
    assert!(Command::new("cp").args([SUBJECT.as_ref(), program.as_os_str()]).status().unwrap().success());
    for method in METHODS {
        let mut command = subject_at(&program.display().to_string(), method, "127.0.0.1:80", &[]);
        if nix::unistd::geteuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
        fails(command, 1, &["127.0.0.1:80", "permission denied", "CAP_NET_BIND_SERVICE"]);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn invariant_8_an_address_that_is_none_is_named() {
    for addr in ["127.0.0.1", "no-such-host.invalid:80", "127.0.0.1:99999"] {
        for method in METHODS {
            fails(subject_at(SUBJECT, method, addr, &[]), 1, &[&format!("`{addr}`")]);
        }
    }
}

#[test]
fn invariant_8_a_number_of_workers_that_cannot_be_is_named() {
    for method in METHODS {
        fails(subject(SUBJECT, method, &["workers=0"]), 1, &["0 workers"]);
        fails(subject(SUBJECT, method, &["workers=70000"]), 1, &["70000 workers", "65535"]);
        for (variable, value) in
            [("CLUSTER_WORKERS", "0"), ("CLUSTER_WORKERS", "many"), ("WEB_CONCURRENCY", "-1")]
        {
            let mut command = subject(SUBJECT, method, &[]);
            command.env(variable, value);
            fails(command, 1, &[&format!("{variable}={value}")]);
        }
    }
}

#[test]
fn invariant_8_more_workers_than_descriptors_are_refused_before_any_is_made() {
    for method in METHODS {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "ulimit -n 64; exec \"$0\" \"$@\"",
            SUBJECT,
            method,
            "127.0.0.1:0",
            "workers=50",
        ]);
        command.env_remove("CLUSTER_WORKERS").env_remove("WEB_CONCURRENCY");
        fails(command, 1, &["50 workers", "limit is 64", "ulimit -n"]);
    }
}

#[test]
fn invariant_8_as_many_workers_as_the_descriptors_allow_do_run() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 72; exec \"$0\" \"$@\"", SUBJECT, "fork", "127.0.0.1:0", "workers=8"]);
    command.env_remove("CLUSTER_WORKERS").env_remove("WEB_CONCURRENCY");
    let app = Process::start(command).unwrap();
    assert!(app.stop().unwrap().success());
}

#[test]
fn invariant_6_threads_before_run_are_named() {
    fails(subject(SUBJECT, "fork", &["threads"]), 1, &["`idle-one`", "other threads", ".await"]);
    // One that has been joined lingers for a moment, and does no harm.
    let app = Process::start(subject(SUBJECT, "fork", &["joined-thread", "workers=1"])).unwrap();
    assert!(app.stop().unwrap().success());
    // Where nothing is forked, threads are no matter.
    let app = Process::start(subject(SUBJECT, "await", &["threads", "workers=1"])).unwrap();
    assert!(app.stop().unwrap().success());
}

#[test]
fn invariant_6_a_runtime_made_and_dropped_before_run_is_found() {
    fails(subject(SUBJECT, "fork", &["tokio"]), 1, &["Tokio has been used", "serve_with", ".await"]);
    let app = Process::start(subject(SUBJECT, "await", &["tokio", "workers=1"])).unwrap();
    assert!(app.stop().unwrap().success());
}

#[test]
fn run_inside_a_runtime_says_what_to_use() {
    fails(
        subject(SUBJECT, "fork", &["inside-runtime"]),
        1,
        &["cannot be called inside a Tokio runtime", "`.await`"],
    );
}

#[test]
fn a_runtime_of_the_builder_where_that_of_main_serves_is_refused() {
    fails(subject(SUBJECT, "await", &["runtime"]), 1, &["runtime(..) has no effect with `.await`"]);
    let app = Process::start(subject(SUBJECT, "fork", &["runtime", "workers=1"])).unwrap();
    assert!(app.stop().unwrap().success());
}

#[test]
fn a_second_cluster_is_refused() {
    for method in METHODS {
        let log = std::env::temp_dir().join(format!("cluster-twice-{}-{method}", std::process::id()));
        let mut command = subject(SUBJECT, method, &["workers=1", "twice"]);
        command.stderr(std::fs::File::create(&log).unwrap());
        let app = Process::start(command).unwrap();
        assert!(app.stop().unwrap().success(), "{method}");
        let said = std::fs::read_to_string(&log).unwrap();
        assert!(said.contains("the second: Err(this program already runs a cluster"), "{method}: {said}");
        assert!(said.contains("also(..)"), "it says what to do instead: {said}");
        std::fs::remove_file(log).unwrap();
    }
}

#[test]
fn worker_outside_a_worker_panics_with_what_to_do() {
    fails(subject(SUBJECT, "fork", &["worker-in-main"]), 101, &["outside a worker", "try_worker()"]);
}

#[test]
fn a_listener_that_main_bound_is_refused_by_name() {
    for method in METHODS {
        fails(subject(SUBJECT, method, &["listen-std"]), 1, &["127.0.0.1:", "was bound in main", "bind_tcp"]);
    }
}

#[test]
fn a_name_twice_is_refused() {
    fails(subject(SUBJECT, "fork", &["same-name"]), 1, &["two listeners are named `line`"]);
}

#[test]
fn a_factory_that_fails_ends_the_cluster_with_its_words() {
    for method in METHODS {
        let failures = [
            ("factory-fails", "no database at db.example"),
            ("factory-panics", "no luck today"),
            ("factory-exits", "configuration missing"),
        ];
        for (knob, words) in failures {
            fails(subject(SUBJECT, method, &["workers=1", knob]), 70, &["gave up", "3 boots failed", words]);
        }
    }
}

#[test]
fn a_factory_that_never_returns_is_ended_by_the_boot_timeout() {
    for method in METHODS {
        let hanging = subject(SUBJECT, method, &["workers=1", "factory-hangs", "boot=200"]);
        fails(hanging, 70, &["gave up", "was not ready in time"]);
    }
}

#[test]
fn a_role_variable_set_by_hand_to_nonsense_is_named() {
    for method in METHODS {
        for nonsense in ["worker", "banana", "worker,fd=x,primary=1"] {
            let mut command = subject(SUBJECT, method, &["workers=1"]);
            command.env("CLUSTER_ROLE", nonsense);
            fails(command, 1, &[&format!("CLUSTER_ROLE={nonsense}"), "unset it"]);
        }
    }
}

#[test]
fn a_role_variable_that_was_meant_for_another_process_is_none() {
    for method in METHODS {
        let mut command = subject(SUBJECT, method, &["workers=1"]);
        command.env("CLUSTER_ROLE", format!("worker,fd=3,primary={}", std::process::id()));
        let app = Process::start(command).unwrap();
        assert!(who(app.addr()).is_ok(), "{method}");
    }
}

#[test]
fn a_child_of_a_worker_is_an_ordinary_program() {
    for method in METHODS {
        let app = Process::start(subject(SUBJECT, method, &["workers=1"])).unwrap();
        assert_eq!(ask(app.addr(), "child").unwrap(), "role Primary", "{method}");
        assert!(app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn a_role_is_known_from_the_first_line_of_main() {
    for (method, roles) in
        [("fork", ["role Primary", "role ForkServer"]), ("await", ["role Primary", "role Worker"])]
    {
        let log = std::env::temp_dir().join(format!("cluster-role-{}-{method}", std::process::id()));
        let mut command = subject(SUBJECT, method, &["workers=1", "print-role"]);
        command.stdout(std::fs::File::create(&log).unwrap()).stderr(Stdio::inherit());
        let app = Process::start(command).unwrap();
        if let Some(fork_server) = app.fork_server() {
            cluster_tests::signal(fork_server, nix::sys::signal::Signal::SIGKILL).unwrap();
            let lost = app.wait_for_line("fork-server-lost", 0).unwrap();
            app.wait_for_line("fork-server ", lost).unwrap();
        }
        assert!(app.stop().unwrap().success());
        let said = std::fs::read_to_string(&log).unwrap();
        assert_eq!(said.lines().collect::<Vec<_>>(), roles, "{method}");
        std::fs::remove_file(log).unwrap();
    }
}
