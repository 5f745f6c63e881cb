//! A program that does not come up changes nothing, and what is wrong with it is told.
use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;

use cluster_tests::site::{CLIENTS, Clients, Site, path, shell};
use cluster_tests::{METHODS, eventually, signal};

const DEPLOYED: &str = env!("CARGO_BIN_EXE_deployed");

/// What can be wrong with a deployment, and what is said of it.
fn spoil(site: &Site, how: &str) {
    let program = site.program();
    match how {
        "garbage" => {
            let garbage: Vec<u8> = (0..100_000_u32).map(|at| (at * 7 % 251) as u8).collect();
            fs::remove_file(&program).unwrap();
            fs::write(site.folder.path("garbage"), garbage).unwrap();
            shell(&[
                "cp \"$1\" \"$2\" && chmod 755 \"$2\"",
                path(&site.folder.path("garbage")),
                path(&program),
            ]);
        }
        "gone" => fs::remove_file(&program).unwrap(),
        "not executable" => {
            site.deploy("new");
            fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
        }
        "a folder" => {
            fs::remove_file(&program).unwrap();
            fs::create_dir(&program).unwrap();
        }
        fault => site.deploy(&format!("new {fault}")),
    }
}

fn check_bad_deploy(method: &str, how: &str, words: &[&str]) {
    let site = Site::start(DEPLOYED, method, "shared");
    let before = site.pids();
    let clients = Clients::begin(site.app.addr());
    spoil(&site, how);
    site.reload("reload-failed");
    // One that has served loses what it had in hand: each client comes with one at a time.
    let dies = how == "dies";
    let served = clients.end_but_for(&format!("{method}, {how}"), if dies { CLIENTS } else { 0 });
    assert_eq!(served.by("new") > 0, dies, "{method}, {how}: who is tried serves, as soon as it is ready");
    assert_eq!(site.pids(), before, "{method}, {how}: nobody was touched");
    site.wait_for_build("old", method);
    // Whoever dies now comes back as what it was.
    signal(before[0], Signal::SIGKILL).unwrap();
    site.app
        .wait_for_workers(|now| now.len() == 3 && now.iter().all(|worker| worker.pid != before[0]))
        .unwrap();
    site.wait_for_build("old", "from the file that is held open");
    let log = site.log();
    let line = log.lines().find(|line| line.contains("reload failed")).unwrap_or_default();
    for word in words {
        assert!(line.contains(word), "{method}, {how}: `{line}` does not say `{word}`");
    }
    // And the next one works.
    if site.program().is_dir() {
        fs::remove_dir(site.program()).unwrap();
    }
    site.deploy("mended");
    site.reload("reloaded");
    site.wait_for_build("mended", method);
    site.stop();
}

#[test]
fn a_file_that_cannot_be_executed_changes_nothing() {
    for method in METHODS {
        check_bad_deploy(method, "gone", &["program", "No such file"]);
        check_bad_deploy(method, "not executable", &["program", "Permission denied"]);
        check_bad_deploy(method, "a folder", &["program", "no file"]);
        check_bad_deploy(method, "garbage", &["program", "no ELF program"]);
    }
}

#[test]
fn a_program_that_exits_changes_nothing_and_its_last_words_are_told() {
    for method in METHODS {
        check_bad_deploy(method, "exits", &["exit code 3", "new: no configuration"]);
    }
}

#[test]
fn a_program_that_never_gets_ready_changes_nothing() {
    for method in METHODS {
        check_bad_deploy(method, "hangs", &["not ready in time", "waiting for a database"]);
    }
}

#[test]
fn a_program_that_dies_after_it_has_served_for_200_ms_changes_nothing() {
    for method in METHODS {
        check_bad_deploy(method, "dies", &["SIGABRT", "cannot go on"]);
    }
}

#[test]
fn a_fork_server_whose_main_never_ends_goes_with_its_primary() {
    let site = Site::start(DEPLOYED, "fork", "shared");
    site.deploy("new stuck");
    site.hang_up();
    eventually("its main runs", || site.log().contains("new: stuck"));
    signal(site.app.pid(), Signal::SIGKILL).unwrap();
    site.app.wait_for_no_process().unwrap();
}
