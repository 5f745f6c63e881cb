//! What is prepared is prepared as who workers are, and is ended also by a primary that may not kill whom it likes.
use nix::sys::signal::Signal;
use nix::unistd::User;

use cluster_tests::changeling::{Changeling, can_set_privileges, is_root};
use cluster_tests::{METHODS, eventually, signal};

const PROGRAM: &str = env!("CARGO_BIN_EXE_changeling");
/// What Docker takes from root by default, and somewhat more.
const BARE: [&str; 3] = ["setpriv", "--bounding-set", "-kill,-sys_ptrace,-sys_resource,-dac_read_search"];

#[test]
fn it_runs_as_the_user_that_workers_are_and_again_after_a_reload() {
    if !is_root("another user") {
        return;
    }
    let nobody = User::from_name("nobody").unwrap().expect("the system knows nobody");
    let (uid, gid) = (nobody.uid, nobody.gid);
    let expected = format!(
        "Uid: {uid} {uid} {uid} {uid} Gid: {gid} {gid} {gid} {gid} Groups: {gid} CapEff: {} NoNewPrivs: 1 ForkServer",
        "0".repeat(16)
    );
    for method in METHODS {
        let knobs = ["user=nobody", "prepares", "workers=1"];
        let changeling = Changeling::start(PROGRAM, &[], method, "127.0.0.1:0", &knobs);
        signal(changeling.app.pid(), Signal::SIGHUP).unwrap();
        changeling.app.wait_for_line("reloaded", 0).unwrap();
        let notes = changeling.stop();
        let prepared: Vec<_> = notes.iter().filter(|note| note.starts_with("Uid: ")).collect();
        assert_eq!(prepared, [&expected; 2], "{method}: {notes:?}");
    }
}

#[test]
fn one_that_hangs_is_ended_with_what_it_has_started_by_a_primary_without_cap_kill() {
    if !is_root("root without capabilities") || !can_set_privileges(&BARE[1..]) {
        return;
    }
    for method in METHODS {
        let knobs = ["user=nobody", "prepares", "prepare-hangs", "boot=500"];
        let changeling = Changeling::launch(PROGRAM, &BARE, method, "127.0.0.1:0", &knobs);
        let child = || {
            changeling
                .notes()
                .iter()
                .find_map(|note| note.strip_prefix("child ")?.split(' ').next()?.parse::<u32>().ok())
        };
        eventually("it hangs", || child().is_some());
        let child = child().expect("it was noted");
        let log = || changeling.log();
        eventually("it is given up", || log().contains("prepare failed: it was not done within 500ms"));
        let mut app = changeling.app;
        assert_eq!(app.wait_for_primary().unwrap().code(), Some(1), "{method}");
        app.wait_for_no_process().unwrap();
        assert!(!std::fs::exists(format!("/proc/{child}")).unwrap(), "{method}");
    }
}

#[test]
fn one_that_hangs_does_not_outlive_a_primary_without_cap_kill() {
    if !is_root("root without capabilities") || !can_set_privileges(&BARE[1..]) {
        return;
    }
    for method in METHODS {
        let knobs = ["user=nobody", "prepares", "prepare-hangs"];
        let changeling = Changeling::launch(PROGRAM, &BARE, method, "127.0.0.1:0", &knobs);
        eventually("it hangs", || changeling.notes().iter().any(|note| note.starts_with("child ")));
        signal(changeling.app.pid(), Signal::SIGKILL).unwrap();
        changeling.app.wait_for_no_process().unwrap();
    }
}
