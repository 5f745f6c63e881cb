//! A reload takes the program as it is now, and loses nothing; one that does not come up changes nothing.
use std::cell::Cell;
use std::fs;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::sys::signal::Signal;

use cluster_tests::{Folder, METHODS, Process, SCHEDULINGS, ask, descriptors, eventually, signal, subject};

const DEPLOYED: &str = env!("CARGO_BIN_EXE_deployed");

/// A place where a program is deployed, and the cluster that runs it.
struct Site {
    folder: Folder,
    app: Process,
    /// Lines of the program that have been waited for.
    seen: Cell<usize>,
}

/// Who has answered.
#[derive(Debug)]
struct Voice {
    build: String,
    pid: u32,
    generation: u64,
}

/// Writes a build of the program, with its note. By another process: a descriptor that this one has for writing would be
/// in whatever other tests fork at that moment, and what is open for writing cannot be executed (execve(2), ETXTBSY).
fn build(at: &Path, note: &str) {
    shell(&[
        "cat \"$1\" > \"$2\" && printf '\\nBUILD %s\\n' \"$3\" >> \"$2\" && chmod 755 \"$2\"",
        DEPLOYED,
        path(at),
        note,
    ]);
}

/// Runs a line with its parameters.
fn shell(line: &[&str]) {
    let [script, parameters @ ..] = line else { return };
    let ended = Command::new("sh").args(["-c", script, "sh"]).args(parameters).status().unwrap();
    assert!(ended.success(), "{line:?}");
}

fn path(of: &Path) -> &str {
    of.to_str().unwrap()
}

impl Site {
    fn start(method: &str, scheduling: &str) -> Self {
        let folder = Folder::new("site");
        build(&folder.path("program"), "old");
        Self::run(folder, "program", method, scheduling)
    }

    fn run(folder: Folder, name: &str, method: &str, scheduling: &str) -> Self {
        let program = folder.path(name).display().to_string();
        let mut command = subject(&program, method, &[scheduling]);
        command.stderr(fs::File::create(folder.path("log")).unwrap());
        let app = Process::start(command).unwrap();
        app.wait_for_director(None).unwrap();
        let seen = app.wait_for_line("all-ready", 0).unwrap();
        Self { folder, app, seen: Cell::new(seen) }
    }

    fn program(&self) -> PathBuf {
        self.folder.path("program")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path("log")).unwrap()
    }

    /// As most tools deploy: written beside, then renamed.
    fn deploy(&self, note: &str) {
        let new = self.folder.path("new");
        build(&new, note);
        fs::rename(new, self.program()).unwrap();
    }

    fn hang_up(&self) {
        signal(self.app.pid(), Signal::SIGHUP).unwrap();
    }

    /// Waits for the next such line.
    fn wait_for(&self, line: &str) {
        self.seen.set(self.app.wait_for_line(line, self.seen.get()).unwrap());
    }

    /// Reloads, and waits until that is done, or has failed.
    fn reload(&self, outcome: &str) {
        self.hang_up();
        self.wait_for(outcome);
    }

    fn voice(&self) -> Voice {
        voice(self.app.addr()).unwrap()
    }

    /// All who answer are of this build; those that have just been told to leave may still take a few.
    fn wait_for_build(&self, name: &str, why: &str) {
        eventually(why, || (0..30).all(|_| self.voice().build == name));
    }

    /// Predecessors have nothing open, and leave.
    fn wait_for_calm(&self) {
        // The primary, its workers and director, and the fork server where there is one.
        let wanted = 1 + 3 + 1 + usize::from(self.app.fork_server().is_some());
        eventually("predecessors leave", || self.app.processes().len() == wanted);
    }

    fn pids(&self) -> Vec<u32> {
        self.app.workers().into_iter().map(|worker| worker.pid).collect()
    }

    fn stop(self) {
        assert!(self.app.stop().unwrap().success());
    }
}

fn voice(addr: SocketAddr) -> io::Result<Voice> {
    let answer = ask(addr, "who")?;
    let words: Vec<&str> = answer.split(' ').collect();
    let [build, _, _, pid, generation] = words[..] else { return Err(io::Error::other(answer)) };
    let (pid, generation) =
        (pid.parse().map_err(io::Error::other)?, generation.parse().map_err(io::Error::other)?);
    Ok(Voice { build: build.to_owned(), pid, generation })
}

const CLIENTS: usize = 4;

/// Clients that come again and again until they are told to end.
struct Clients {
    ends: Arc<AtomicBool>,
    all: Vec<JoinHandle<(Vec<String>, Vec<String>)>>,
}

/// Answers that they have had.
struct Served {
    /// Of which build, each.
    builds: Vec<String>,
}

impl Served {
    /// How many are from a build whose name begins so.
    fn by(&self, build: &str) -> usize {
        self.builds.iter().filter(|served| served.starts_with(build)).count()
    }
}

impl Clients {
    fn begin(addr: SocketAddr) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let come = |ends: Arc<AtomicBool>| {
            move || {
                let (mut served, mut failed) = (Vec::new(), Vec::new());
                loop {
                    match voice(addr) {
                        Ok(voice) => served.push(voice.build),
                        Err(err) => failed.push(err.to_string()),
                    }
                    if ends.load(Ordering::Relaxed) {
                        return (served, failed);
                    }
                }
            }
        };
        let all = (0..CLIENTS).map(|_| thread::spawn(come(ends.clone()))).collect();
        Self { ends, all }
    }

    /// All were served.
    fn end(self, what: &str) -> Served {
        self.end_but_for(what, 0)
    }

    /// So many at the most were not served.
    fn end_but_for(self, what: &str, most: usize) -> Served {
        self.ends.store(true, Ordering::Relaxed);
        let clients = self.all.into_iter().map(|client| client.join().unwrap());
        let (mut builds, mut lost) = (Vec::new(), Vec::new());
        for (served, failed) in clients {
            builds.extend(served);
            lost.extend(failed);
        }
        assert!(lost.len() <= most, "{what}: {} failed: {lost:?}", lost.len());
        assert!(!builds.is_empty(), "{what}: somebody came");
        Served { builds }
    }
}

#[test]
fn invariant_2_reload_drops_no_request() {
    for method in METHODS {
        for scheduling in SCHEDULINGS {
            let site = Site::start(method, scheduling);
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
            build(&folder.path(name).join("program"), name);
        }
        symlink(folder.path("one"), folder.path("current")).unwrap();
        let site = Site::run(folder, "current/program", method, "shared");
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
    let site = Site::start(method, "shared");
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
fn after_a_reload_successors_are_of_the_new_program() {
    for method in METHODS {
        let site = Site::start(method, "shared");
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
        let site = Site::start(method, "shared");
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
        let site = Site::start(method, "shared");
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
    let site = Site::start("fork", "shared");
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
            let site = Site::start(method, "shared");
            site.deploy(&format!("new {fault}"));
            site.hang_up();
            site.wait_for("reloading");
            // The harness checks that nothing is left.
            site.stop();
        }
    }
}

#[test]
fn a_fork_server_whose_main_never_ends_goes_with_its_primary() {
    let site = Site::start("fork", "shared");
    site.deploy("new stuck");
    site.hang_up();
    eventually("its main runs", || site.log().contains("new: stuck"));
    signal(site.app.pid(), Signal::SIGKILL).unwrap();
    site.app.wait_for_no_process().unwrap();
}

#[test]
fn invariant_5_no_descriptor_is_left_by_reloads() {
    for method in METHODS {
        let site = Site::start(method, "round-robin");
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
        let site = Site::start(method, "shared");
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
