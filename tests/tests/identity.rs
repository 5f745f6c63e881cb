//! Workers and the director are who they were told to be, and may use what they were told to; who cannot become that
//! says why.
use std::fs;

use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};

use cluster_tests::changeling::{
    Changeling, can_set_privileges, is_root, limit_of, niceness, privileged_addr, status_words, threads,
};
use cluster_tests::{METHODS, ask, eventually, is_stopped, say, signal, who};

const PROGRAM: &str = env!("CARGO_BIN_EXE_changeling");
/// What Docker takes from root by default, and somewhat more.
const BARE: [&str; 3] = ["setpriv", "--bounding-set", "-kill,-sys_ptrace,-sys_resource,-dac_read_search"];

fn start(method: &str, knobs: &[&str]) -> Changeling {
    Changeling::start(PROGRAM, &[], method, "127.0.0.1:0", knobs)
}

/// The processes that users' code runs in.
fn served_by(changeling: &Changeling) -> Vec<u32> {
    let workers = changeling.app.workers().into_iter().map(|worker| worker.pid);
    workers.chain(changeling.app.director()).collect()
}

/// They are this user in every way.
fn are(pids: &[u32], uid: u32, gid: u32) {
    for &pid in pids {
        for thread in threads(pid) {
            let status = |field| status_words(thread, field);
            assert_eq!(status("Uid"), format!("{uid} {uid} {uid} {uid}"), "{pid}");
            assert_eq!(status("Gid"), format!("{gid} {gid} {gid} {gid}"), "{pid}");
            assert_eq!(status("Groups"), gid.to_string(), "{pid}");
            assert_eq!(status("NoNewPrivs"), "1", "{pid}");
            for set in ["CapPrm", "CapEff", "CapAmb"] {
                assert_eq!(status(set), "0".repeat(16), "{pid}: {set}");
            }
        }
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim(), "200", "{pid}");
    }
}

#[test]
fn a_root_primary_binds_port_80_and_nobody_serves() {
    if !is_root("a port below 1024, and another user") {
        return;
    }
    let nobody = User::from_name("nobody").unwrap().expect("the system knows nobody");
    let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
    for method in METHODS {
        let addr = privileged_addr();
        let knobs = ["workers=2", "user=nobody", "status"];
        let changeling = Changeling::start(PROGRAM, &[], method, &addr.to_string(), &knobs);
        changeling.app.wait_for_director(None).unwrap();
        assert_eq!(served_by(&changeling).len(), 3);
        are(&served_by(&changeling), uid, gid);
        assert_eq!(status_words(changeling.app.pid(), "Uid"), "0 0 0 0");
        for pid in served_by(&changeling) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
            assert!(name.starts_with("worker ") || name.starts_with("director"), "{name}");
        }
        // It serves, counts in its page, reads what is its own, and can open what it writes errors to.
        (0..4).for_each(|_| assert!(who(addr).is_ok()));
        eventually("they count", || {
            changeling.standing().iter().map(|standing| standing.connections).sum::<u64>() == 4
        });
        assert_eq!(ask(addr, "own-files").unwrap(), "read read read read", "{method}");
        assert_eq!(ask(addr, "stderr").unwrap(), "opened", "{method}");
        // A successor becomes the same, after an end of each kind.
        signal(who(addr).unwrap().pid, Signal::SIGKILL).unwrap();
        changeling
            .app
            .wait_for_workers(|now| now.iter().any(|worker| worker.id == 3) && now.len() == 2)
            .unwrap();
        assert!(ask(addr, "abort these are my last words").is_err());
        changeling
            .app
            .wait_for_workers(|now| now.iter().any(|worker| worker.id == 4) && now.len() == 2)
            .unwrap();
        assert!(changeling.log().contains("last words: these are my last words"), "{}", changeling.log());
        are(&served_by(&changeling), uid, gid);
        let answers = who(addr).unwrap();
        assert!(changeling.app.workers().iter().any(|worker| worker.pid == answers.pid), "{answers:?}");
        changeling.stop();
    }
}

#[test]
fn a_group_and_a_number_are_enough() {
    if !is_root("another user") {
        return;
    }
    for method in METHODS {
        let changeling = start(method, &["user=4242424", "group=4343"]);
        are(&served_by(&changeling), 4_242_424, 4343);
        assert_eq!(who(changeling.app.addr()).unwrap().slot, 0);
        changeling.stop();
    }
}

#[test]
fn invariant_8_a_user_or_group_that_nobody_knows_ends_the_start_and_names_it() {
    for method in METHODS {
        for (knob, says) in [
            ("user=no-such-user", "error: user(\"no-such-user\"): the system knows no such user"),
            ("group=no-such-group", "error: group(\"no-such-group\"): the system knows no such group"),
            ("user=4242424", "error: user 4242424 has no entry in the user database, and so no group"),
            ("env=:x", "error: env(\"\", ..): a variable has a name"),
            ("env=CLUSTER_ROLE:x", "error: env(\"CLUSTER_ROLE\", ..): "),
        ] {
            let (code, said, _) = Changeling::end_of(PROGRAM, &[], ["core", method], &[knob]);
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains(says), "{method} {knob}: {said}");
            assert!(!said.contains("starting"), "{method} {knob}: {said}");
        }
    }
}

/// As root this needs somebody else to start it.
fn unprivileged() -> Option<Vec<&'static str>> {
    if !geteuid().is_root() {
        return Some(Vec::new());
    }
    const ARGUMENTS: [&str; 5] = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    can_set_privileges(&ARGUMENTS).then(|| [&["setpriv"], &ARGUMENTS[..]].concat())
}

#[test]
fn what_cannot_be_applied_fails_the_boot_with_the_call_and_its_value() {
    let Some(wrapper) = unprivileged() else { return };
    // Where others may not go, nobody can be shown there.
    let folder = cluster_tests::Folder::new("copy");
    let program = folder.path("changeling");
    fs::copy(PROGRAM, &program).unwrap();
    for method in METHODS {
        for (knob, call) in [
            ("user=1", "setgroups([1]): Operation not permitted"),
            ("nice=-5", "setpriority(-5): Permission denied"),
            ("core-dumps=18446744073709551615", ""),
            ("directory=/root/nowhere", "chdir(/root/nowhere): "),
        ] {
            let how = ["core", method];
            let limited = [&["prlimit", "--core=5:5"], &wrapper[..]].concat();
            let (wrapper, call) = match call {
                "" => (&limited, "setrlimit(RLIMIT_CORE, 1, 18446744073709551615): Operation not permitted"),
                call => (&wrapper, call),
            };
            let (code, said, _) = Changeling::end_of(program.to_str().unwrap(), wrapper, how, &[knob]);
            assert_eq!(code, Some(1), "{method} {knob}: {said}");
            assert!(said.contains(&format!("failed to boot: {call}")), "{method} {knob}: {said}");
        }
    }
}

#[test]
fn a_user_that_may_not_be_changed_to_fails_the_boot() {
    // May set groups, and no user.
    let wrapper = ["setpriv", "--bounding-set", "-setuid"];
    if !is_root("another user") || !can_set_privileges(&wrapper[1..]) {
        return;
    }
    for method in METHODS {
        let (code, said, _) = Changeling::end_of(PROGRAM, &wrapper, ["core", method], &["user=nobody"]);
        assert_eq!(code, Some(1), "{method}: {said}");
        assert!(
            said.contains("failed to boot: setresuid(65534): Operation not permitted"),
            "{method}: {said}"
        );
    }
}

#[test]
fn limits_niceness_directory_and_variables_are_those_that_were_given() {
    for method in METHODS {
        let knobs =
            ["workers=2", "nice=7", "descriptors=300", "core-dumps=1", "directory=/", "env=TEA:green"];
        let changeling = start(method, &[&knobs[..], &["no-new-privileges", "status"]].concat());
        changeling.app.wait_for_director(None).unwrap();
        for pid in served_by(&changeling) {
            assert_eq!(limit_of(pid, "Max open files"), ("300".into(), "300".into()), "{method}");
            assert_eq!(limit_of(pid, "Max core file size"), ("1".into(), "1".into()), "{method}");
            assert!(threads(pid).len() > 1);
            for thread in threads(pid) {
                assert_eq!(niceness(pid, thread), 7, "{method}");
                assert_eq!(status_words(thread, "NoNewPrivs"), "1", "{method}");
            }
            assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap().to_str(), Some("/"), "{method}");
        }
        let addr = changeling.app.addr();
        assert_eq!(ask(addr, "env TEA").unwrap(), "green", "{method}");
        assert_eq!(ask(addr, "directory").unwrap(), "/", "{method}");
        let primary = changeling.app.pid();
        let own = std::process::id();
        assert_eq!(
            niceness(primary, primary),
            niceness(own, own),
            "{method}: the primary is as it was started"
        );
        assert_eq!(status_words(primary, "NoNewPrivs"), "0", "{method}");
        assert_ne!(fs::read_link(format!("/proc/{primary}/cwd")).unwrap().to_str(), Some("/"), "{method}");
        changeling.stop();
    }
}

#[test]
fn the_worker_in_a_slot_has_the_core_of_that_slot() {
    let allowed = status_words(std::process::id(), "Cpus_allowed_list");
    let cores: Vec<u32> = allowed
        .split(',')
        .flat_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            first.parse::<u32>().unwrap()..=last.parse().unwrap()
        })
        .collect();
    for method in METHODS {
        let changeling = start(method, &["workers=3", "pin", "status"]);
        let director = changeling.app.wait_for_director(None).unwrap();
        let pinned = |changeling: &Changeling| {
            for worker in changeling.app.workers() {
                let expected = cores[usize::from(worker.slot) % cores.len()].to_string();
                for thread in threads(worker.pid) {
                    assert_eq!(
                        status_words(thread, "Cpus_allowed_list"),
                        expected,
                        "{method} {}",
                        worker.slot
                    );
                }
            }
        };
        pinned(&changeling);
        for other in [director, changeling.app.pid()] {
            assert_eq!(status_words(other, "Cpus_allowed_list"), allowed, "{method}");
        }
        signal(changeling.app.workers()[1].pid, Signal::SIGKILL).unwrap();
        changeling.app.wait_for_workers(|now| now.iter().any(|worker| worker.id == 4)).unwrap();
        pinned(&changeling);
        changeling.stop();
    }
}

#[test]
fn who_is_not_root_and_may_become_another_keeps_no_capability_and_ends_its_workers() {
    // No CAP_KILL; and as nobody becomes root on the way, the kernel drops nothing by itself.
    const MAY: &str = "+setuid,+setgid";
    let wrapper = ["setpriv", "--reuid", "65532", "--regid", "65532", "--clear-groups", "--inh-caps", MAY];
    let wrapper = [&wrapper[..], &["--ambient-caps", MAY]].concat();
    if !is_root("another user") || !can_set_privileges(&wrapper[1..]) {
        return;
    }
    let folder = cluster_tests::Folder::new("copy");
    let program = folder.path("changeling");
    fs::copy(PROGRAM, &program).unwrap();
    for method in METHODS {
        let knobs = ["status", "user=nobody", "workers=2"];
        let changeling =
            Changeling::launch(program.to_str().unwrap(), &wrapper, method, "127.0.0.1:0", &knobs);
        eventually("they are ready", || changeling.log().contains("all 2 workers are ready"));
        let workers: Vec<u32> = changeling.standing().iter().map(|worker| worker.pid).collect();
        are(&workers, 65534, 65534);
        // It has opened no announcements: those are for the user who tests.
        signal(workers[0], Signal::SIGSTOP).unwrap();
        eventually("it stands still", || is_stopped(workers[0]));
        changeling.app.signal(Signal::SIGQUIT as i32).unwrap();
        let mut app = changeling.app;
        assert_eq!(app.wait_for_primary().unwrap().code(), Some(0), "{method}");
        app.wait_for_no_process().unwrap();
    }
}

/// Starts a cluster whose primary is root, may not kill whom it likes, and does not serve.
fn bare(method: &str, knobs: &[&str]) -> Option<Changeling> {
    if !is_root("root without capabilities") || !can_set_privileges(&BARE[1..]) {
        return None;
    }
    let knobs = [knobs, &["user=nobody"]].concat();
    let changeling = Changeling::launch(PROGRAM, &BARE, method, "127.0.0.1:0", &knobs);
    eventually("it runs", || changeling.log().contains("starting") || changeling.log().contains("error"));
    // CAP_KILL is bit 5.
    let effective = u64::from_str_radix(&status_words(changeling.app.pid(), "CapEff"), 16).unwrap();
    assert_eq!(effective & (1 << 5), 0, "it may not kill: {effective:x}");
    Some(changeling)
}

#[test]
fn a_primary_without_cap_kill_ends_what_hangs_or_is_stopped_and_what_that_has_started() {
    for method in METHODS {
        let Some(changeling) = bare(method, &["workers=2", "drain=500"]) else { return };
        changeling.app.wait_for_workers(|now| now.len() == 2).unwrap();
        let addr = changeling.app.addr();
        let stray: u32 = ask(addr, "stray").unwrap().parse().unwrap();
        let blocked = say(addr, "block").unwrap();
        let stopped = changeling.app.workers()[1].pid;
        signal(stopped, Signal::SIGSTOP).unwrap();
        eventually("it stands still", || is_stopped(stopped));
        // At the drain deadline one hangs, and one has not heard of it: the primary makes an end.
        let pid = changeling.app.pid();
        changeling.stop();
        drop(blocked);
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap());
        assert!(!fs::exists(format!("/proc/{stray}")).unwrap(), "{method}: what it started went with it");
    }
}

#[test]
fn a_primary_without_cap_kill_ends_a_boot_that_hangs() {
    // Its main never comes to its `.await`: it has no sentinel that could end it.
    let Some(changeling) = bare("await", &["main-hangs", "boot=300"]) else { return };
    let mut app = changeling.app;
    assert_eq!(app.wait_for_primary().unwrap().code(), Some(1), "it gives up after three");
    app.wait_for_no_process().unwrap();
}

#[test]
fn private_memory_is_seen_by_a_primary_that_may_not_look() {
    for method in METHODS {
        let Some(changeling) = bare(method, &["status", "memory=50000000"]) else { return };
        changeling.app.wait_for_workers(|now| now.len() == 1).unwrap();
        private_memory_is_told(&changeling, 50_000_000);
        changeling.stop();
    }
}

#[test]
fn status_tells_the_private_memory_of_each_worker() {
    for method in METHODS {
        let changeling = start(method, &["status", "memory=50000000", "workers=2"]);
        private_memory_is_told(&changeling, 50_000_000);
        changeling.stop();
    }
}

#[test]
fn a_worker_of_another_user_that_needs_too_much_memory_is_recycled() {
    // Three looks take some 16 s.
    std::thread::scope(|scope| METHODS.iter().for_each(|method| drop(scope.spawn(|| is_recycled(method)))));
}

fn is_recycled(method: &str) {
    let knobs = ["status", "memory-of-1=50000000", "max-memory=40000000"];
    let Some(changeling) = bare(method, &knobs) else { return };
    changeling.app.wait_for_workers(|now| now.iter().any(|worker| worker.id == 2)).unwrap();
    eventually("it says why", || changeling.log().contains(") was recycled"));
    assert!(changeling.log().contains("worker 1 (slot 0, pid"), "{method}: {}", changeling.log());
    assert_eq!(who(changeling.app.addr()).unwrap().id, 2, "{method}");
    changeling.stop();
}

fn private_memory_is_told(changeling: &Changeling, bytes: u64) {
    eventually("it is told", || {
        let standing = changeling.standing();
        standing.iter().all(|worker| worker.memory.is_some_and(|memory| (bytes..2 * bytes).contains(&memory)))
    });
}
