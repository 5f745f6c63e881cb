//! A reload takes the program as it is now, and loses nothing.
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::symlink;

use nix::sys::signal::Signal;

use cluster_tests::site::{Clients, Site, build, path, shell};
use cluster_tests::{Folder, METHODS, SCHEDULINGS, ask, descriptors, eventually, signal};

const DEPLOYED: &str = env!("CARGO_BIN_EXE_deployed");

#[test]
fn invariant_2_reload_drops_no_request() {
    for method in METHODS {
        for scheduling in SCHEDULINGS {
            let site = Site::start(DEPLOYED, method, scheduling);
            let clients = Clients::begin(site.app.addr());
            for nth in 0..3 {
                site.deploy(&format!("build-{nth}"));
                site.reload("reloaded");
            }
            let served = clients.end(&format!("{method}, {scheduling}"));
            let served = served.builds.len();
            println!("{method}, {scheduling}: {served} connections during three reloads, all answered");
            site.wait_for_build("build-2", method);
            site.stop();
        }
    }
}

#[test]
fn a_program_is_taken_as_it_is_at_its_place_however_it_came_there() {
    for method in METHODS {
        let folder = Folder::new("links");
        for name in ["one", "two", "three", "four"] {
            fs::create_dir(folder.path(name)).unwrap();
            build(DEPLOYED, &folder.path(name).join("program"), name);
        }
        symlink(folder.path("one"), folder.path("current")).unwrap();
        let site = Site::run(DEPLOYED, folder, "current/program", [method, "shared"]);
        site.wait_for_build("one", "at first");

        // A link is turned, atomically.
        symlink(site.folder.path("two"), site.folder.path("next")).unwrap();
        fs::rename(site.folder.path("next"), site.folder.path("current")).unwrap();
        site.reload("reloaded");
        site.wait_for_build("two", "a link was turned");

        // Another file is renamed over it.
        fs::rename(site.folder.path("three").join("program"), site.folder.path("two").join("program"))
            .unwrap();
        site.reload("reloaded");
        site.wait_for_build("three", "it was renamed over");

        // It is removed, and written anew: another inode of the same name.
        let place = site.folder.path("two").join("program");
        fs::remove_file(&place).unwrap();
        shell(&["cp \"$1\" \"$2\"", path(&site.folder.path("four").join("program")), path(&place)]);
        site.reload("reloaded");
        site.wait_for_build("four", "it was written anew");
        site.stop();
    }
}

#[test]
fn after_a_reload_successors_are_of_the_new_program() {
    for method in METHODS {
        let site = Site::start(DEPLOYED, method, "shared");
        site.deploy("new");
        site.reload("reloaded");
        // Even where the file is gone by then.
        fs::remove_file(site.program()).unwrap();
        if let Some(fork_server) = site.app.fork_server() {
            signal(fork_server, Signal::SIGKILL).unwrap();
            site.wait_for("fork-server-lost");
            site.wait_for("fork-server ");
            assert_ne!(site.app.fork_server(), Some(fork_server));
        }
        let newest = site.voice();
        assert_eq!((newest.build.as_str(), newest.generation), ("new", 2), "{method}");
        signal(newest.pid, Signal::SIGKILL).unwrap();
        site.app
            .wait_for_workers(|now| now.len() == 3 && now.iter().all(|worker| worker.pid != newest.pid))
            .unwrap();
        site.wait_for_build("new", method);
        site.stop();
    }
}

#[test]
fn who_asks_for_a_reload_is_told_how_it_went() {
    for method in METHODS {
        let site = Site::start(DEPLOYED, method, "shared");
        let director = site.app.director().unwrap();
        site.deploy("new exits");
        let failed = ask(site.app.addr(), "reload").unwrap();
        assert!(failed.contains("exit code 3") && failed.contains("no configuration"), "{method}: {failed}");
        site.deploy("new");
        // The worker that asks is replaced meanwhile, and so is the director that it asks.
        assert_eq!(ask(site.app.addr(), "reload").unwrap(), "reloaded", "{method}");
        assert_ne!(site.app.wait_for_director(Some(director)).unwrap(), director, "{method}");
        site.wait_for_build("new", method);
        site.stop();
    }
}

#[test]
fn a_director_comes_and_goes_with_the_programs_that_have_one() {
    for method in METHODS {
        let site = Site::start(DEPLOYED, method, "shared");
        let ask_for = |what: &str| ask(site.app.addr(), what);
        site.deploy("without undirected");
        site.reload("reloaded");
        site.wait_for_build("without", method);
        eventually("the director has left", || site.app.director().is_none());
        // The primary, its workers, and the fork server where there is one.
        let wanted = 1 + 3 + usize::from(site.app.fork_server().is_some());
        eventually("predecessors leave", || site.app.processes().len() == wanted);
        assert_eq!(
            ask_for("reload").ok().filter(|answer| !answer.is_empty()),
            None,
            "nobody is there to ask"
        );
        site.deploy("with");
        site.reload("reloaded");
        site.wait_for_build("with", method);
        let director = site.app.wait_for_director(None).unwrap();
        assert_eq!(ask_for("reload").unwrap(), "reloaded", "{method}");
        site.app.wait_for_director(Some(director)).unwrap();
        site.wait_for_calm();
        site.stop();
    }
}

#[test]
fn many_hang_ups_are_one_more_reload() {
    let site = Site::start(DEPLOYED, "fork", "shared");
    site.deploy("new");
    site.hang_up();
    site.wait_for("reloading 2");
    (0..20).for_each(|_| site.hang_up());
    site.wait_for("reloaded 2");
    site.wait_for("reloaded 3");
    site.wait_for_calm();
    assert_eq!(site.voice().generation, 3, "one that had begun, and one for all who came meanwhile");
    site.stop();
}

#[test]
fn a_stop_during_a_reload_stops() {
    for method in METHODS {
        for fault in ["", "hangs"] {
            let site = Site::start(DEPLOYED, method, "shared");
            site.deploy(&format!("new {fault}"));
            site.hang_up();
            site.wait_for("reloading");
            // The harness checks that nothing is left.
            site.stop();
        }
    }
}

#[test]
fn invariant_5_no_descriptor_is_left_by_reloads() {
    for method in METHODS {
        let site = Site::start(DEPLOYED, method, "round-robin");
        let reload = |_| {
            site.reload("reloaded");
            site.wait_for_calm();
        };
        reload(0);
        let before = descriptors(site.app.pid()).unwrap();
        (1..11).for_each(reload);
        // What has ended is let go of a moment after it is gone.
        eventually(&format!("{method}: none is left: {before:?}"), || {
            descriptors(site.app.pid()).unwrap().len() <= before.len()
        });
        site.stop();
    }
}

#[test]
fn a_connection_that_is_open_is_served_to_its_end_by_the_generation_that_has_it() {
    for method in METHODS {
        let site = Site::start(DEPLOYED, method, "shared");
        // Three workers, each with some in hand: half a line, which is answered when it is whole.
        let mut open: Vec<_> =
            (0..12).map(|_| std::net::TcpStream::connect(site.app.addr()).unwrap()).collect();
        for stream in &mut open {
            io::Write::write_all(stream, b"wh").unwrap();
        }
        // All are taken: each worker has answered something since.
        site.wait_for_build("old", "at first");
        site.deploy("new");
        site.reload("reloaded");
        site.wait_for_build("new", method);
        for mut stream in open {
            io::Write::write_all(&mut stream, b"o\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("old ") || answer.starts_with("new "), "{method}: {answer}");
        }
        site.stop();
    }
}
