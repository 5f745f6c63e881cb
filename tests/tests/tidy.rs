//! What a compiler does not check of the house rules.
use std::fs;
use std::path::{Path, PathBuf};

/// The workspace's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in a workspace").to_owned()
}

/// All files below `folder` with this ending, with their text.
fn files(folder: &Path, ending: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

fn core_files(folder: &str) -> Vec<(PathBuf, String)> {
    let found = files(&root().join("cluster-core/src").join(folder), ".rs");
    assert!(!found.is_empty(), "{folder} has files");
    found
}

/// The lines that are code: neither comment nor test.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let tests = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let lines = text[..tests].lines().enumerate().map(|(at, line)| (at + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// No line of code in these files has the word.
fn never(files: &[(PathBuf, String)], words: &[&str], why: &str) {
    for (path, text) in files {
        for (line, content) in code(text) {
            let found = words.iter().find(|word| content.contains(**word));
            assert!(found.is_none(), "{}:{line}: {why}: {content}", path.display());
        }
    }
}

#[test]
fn invariant_9_unsafe_is_in_sys_alone() {
    let crates = ["cluster-core/src", "cluster-axum/src", "cluster-actix/src", "load", "tests", "bench/src"];
    let mut all: Vec<_> = crates.iter().flat_map(|folder| files(&root().join(folder), ".rs")).collect();
    let this = Path::new(file!()).file_name().unwrap();
    all.retain(|(path, _)| {
        !path.starts_with(root().join("cluster-core/src/sys")) && path.file_name() != Some(this)
    });
    // The allocator of a program under test: that trait is unsafe.
    all.retain(|(path, _)| !path.ends_with("tests/src/bin/hanger/allocator.rs"));
    never(
        &all,
        &["unsafe {", "unsafe fn", "unsafe impl", "allow(unsafe_code)"],
        "unsafe code belongs in sys/",
    );
    for adapter in ["cluster-axum", "cluster-actix"] {
        let lib = fs::read_to_string(root().join(adapter).join("src/lib.rs")).unwrap();
        assert!(lib.contains("#![forbid(unsafe_code)]"), "{adapter} forbids unsafe code");
    }
}

#[test]
fn the_three_paths_do_not_import_each_other() {
    never(&core_files("conn"), &["crate::supervise"], "the connection path knows no supervision");
    never(
        &core_files("ipc"),
        &["crate::supervise", "crate::conn"],
        "the message path knows neither of the others",
    );
    let mut control = core_files("supervise");
    // The driver and its helpers hand out sockets and speak the control protocol; what decides does neither.
    control.retain(|(path, _)| is_pure(path));
    never(&control, &["crate::conn", "crate::ipc", "crate::sys", "crate::birth"], "what decides does no I/O");
}

/// Files of the control path that decide and do not act.
fn is_pure(path: &Path) -> bool {
    let pure = [
        "input.rs",
        "member.rs",
        "nursery.rs",
        "past.rs",
        "pool.rs",
        "pulse.rs",
        "restart.rs",
        "span.rs",
        "systemd.rs",
    ];
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| pure.contains(&name)) || is_below(path, "pool")
}

fn is_below(path: &Path, folder: &str) -> bool {
    // Whatever the folders are called that this checkout is in.
    let path = path.strip_prefix(root()).unwrap_or(path);
    path.parent().is_some_and(|parent| parent.iter().any(|part| part == folder))
}

#[test]
fn what_decides_has_no_clock_and_no_tokio() {
    let mut pure = core_files("supervise");
    // The tests of the pool begin with the time that it is.
    pure.retain(|(path, _)| is_pure(path) && !path.ends_with("pool/tests.rs") && !is_below(path, "tests"));
    assert_eq!(pure.len(), 19);
    never(
        &pure,
        &["tokio", "Instant::now", "SystemTime", "std::fs", "std::io"],
        "time and I/O come from the driver",
    );
}

#[test]
fn frames_are_routed_and_counted_without_a_socket_or_a_clock() {
    let pure = [
        "backlog.rs",
        "counters.rs",
        "frame.rs",
        "frugal.rs",
        "guard.rs",
        "node.rs",
        "notice.rs",
        "outbox.rs",
        "picture.rs",
        "probe.rs",
        "roster.rs",
        "router.rs",
        "shape.rs",
        "tally.rs",
        "waiters.rs",
        "window.rs",
    ];
    let mut files = core_files("ipc");
    files.retain(|(path, _)| {
        path.file_name().is_some_and(|name| pure.iter().any(|pure| name == *pure)) || is_below(path, "router")
    });
    // Its tests send descriptors of real files.
    files.retain(|(path, _)| !path.ends_with("router/tests.rs") && !path.ends_with("router/tests/bounds.rs"));
    // The router has four files more.
    assert_eq!(files.len(), pure.len() + 4);
    never(
        &files,
        &["tokio", "Instant::now", "SystemTime", "crate::sys", "std::fs", "nix::"],
        "sockets and time are those of exchange.rs and endpoint.rs",
    );
}

#[test]
fn who_serves_is_decided_without_a_socket_or_a_clock() {
    let pure =
        ["appetite.rs", "dispatch.rs", "membership.rs", "offer.rs", "pace.rs", "ringing.rs", "rota.rs"];
    let mut files = core_files("conn");
    files.retain(|(path, _)| path.file_name().is_some_and(|name| pure.iter().any(|pure| name == *pure)));
    assert_eq!(files.len(), pure.len());
    never(
        &files,
        &["tokio", "Instant::now", "SystemTime", "crate::sys", "std::fs", "std::io", "nix::"],
        "sockets and time are those of the doorbell, the queue and the desk",
    );
}

#[test]
fn the_shared_queue_and_the_hand_off_do_not_import_each_other() {
    never(&core_files("conn/shared"), &["conn::handoff"], "workers that help themselves are handed nothing");
    // `Answer` and `Look` are what both kinds of acceptors give.
    never(
        &core_files("conn/handoff"),
        &["shared::direct", "shared::turns", "shared::Rota", "shared::Watch"],
        "nor the reverse",
    );
}

#[test]
fn bincode_is_named_in_one_file() {
    let mut all = core_files(".");
    all.retain(|(path, _)| !path.ends_with("ipc/codec.rs"));
    never(&all, &["bincode"], "only ipc/codec.rs names the codec");
}

#[test]
fn what_actix_hides_is_named_in_one_file() {
    for hidden in ["__priv_test_new", "graceful_shutdown_signal"] {
        let users = files(&root().join("cluster-actix/src"), ".rs");
        let with = users.iter().filter(|(_, text)| code(text).any(|(_, line)| line.contains(hidden)));
        let names: Vec<_> = with.map(|(path, _)| path.file_name().unwrap().to_string_lossy()).collect();
        assert_eq!(names, ["connection.rs"], "{hidden}");
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(
        manifest.contains("actix-http = \"~3.20\"") && manifest.contains("version = \"~4.18\""),
        "both are pinned"
    );
}

#[test]
fn no_test_is_ignored_and_nothing_is_left_to_do() {
    let crates = ["cluster-core", "cluster-axum", "cluster-actix", "load", "tests", "bench", "examples"];
    let mut all: Vec<_> = crates.iter().flat_map(|folder| files(&root().join(folder), ".rs")).collect();
    let this = Path::new(file!()).file_name().unwrap();
    all.retain(|(path, _)| path.file_name() != Some(this));
    for (path, text) in &all {
        for word in
            ["#[ignore", "todo!(", "unimplemented!(", "allow(dead_code", "allow(unused", "FIXME", "XXX"]
        {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}

#[test]
fn examples_are_short_and_say_how_to_run_them() {
    let manifest = fs::read_to_string(root().join("examples/Cargo.toml")).unwrap();
    for (path, text) in files(&root().join("examples"), ".rs") {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name == "lib" || name == "build" {
            continue;
        }
        assert!(text.starts_with("//! Run with `cargo run --release --example "), "{name}");
        assert!(text.lines().next().unwrap().contains(&name), "{name}: it names itself");
        assert!(text.lines().count() <= 60, "{name} has more than 60 lines");
        // Those that were moved over are parts of one program for each framework.
        let is_part = is_below(&path, "moved");
        assert!(is_part || manifest.contains(&format!("name = \"{name}\"")), "{name} is in the manifest");
    }
}

#[test]
fn the_tests_that_the_guide_for_node_users_names_are_there() {
    let guide = fs::read_to_string(root().join("docs/node.md")).unwrap();
    // Between backticks: every second piece.
    let quoted = guide.split('`').skip(1).step_by(2);
    let named: Vec<(&str, &str)> = quoted.filter_map(|text| text.split_once(".rs::")).collect();
    assert!(named.len() > 50, "{}", named.len());
    for (file, test) in named {
        let place = match file.split_once('/') {
            None => format!("tests/tests/{file}.rs"),
            Some(("src", _)) => format!("cluster-core/{file}.rs"),
            Some(_) => format!("{file}.rs"),
        };
        let text = fs::read_to_string(root().join(&place)).unwrap_or_else(|err| panic!("{place}: {err}"));
        assert!(text.contains(&format!("fn {test}()")), "{place} has no test {test}");
    }
}

#[test]
fn every_signal_that_is_named_in_the_code_is_in_its_page() {
    let page = fs::read_to_string(root().join("docs/signals.md")).unwrap();
    let mut named = 0;
    for file in ["supervise/signals.rs", "birth/newborn.rs"] {
        let text = fs::read_to_string(root().join("cluster-core/src").join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        // SigSet and the like are no signals.
        let signals = words.filter_map(|word| word.strip_prefix("SIG")).filter(|name| !name.is_empty());
        for name in signals {
            named += 1;
            let known = page.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == name);
            assert!(known, "docs/signals.md does not tell what SIG{name} does ({file})");
        }
    }
    assert!(named > 15, "{named}");
    assert!(page.contains("what clients see"));
}

#[test]
fn functions_are_no_longer_than_80_lines() {
    for crate_name in ["cluster-core", "cluster-axum", "cluster-actix", "load", "bench"] {
        for (path, text) in files(&root().join(crate_name).join("src"), ".rs") {
            for (start, length) in function_lengths(&text) {
                assert!(length <= 80, "{}:{start}: a function of {length} lines", path.display());
            }
        }
    }
}

/// First line and number of lines of each function, by the indentation that rustfmt gives.
fn function_lengths(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        let begins =
            ["fn ", "pub fn ", "pub(crate) fn ", "async fn ", "pub async fn ", "pub(crate) async fn "]
                .iter()
                .any(|start| body.starts_with(start));
        // A declaration in a trait has no body.
        if begins && !line.ends_with(';') {
            let end = format!("{}}}", &line[..line.len() - body.len()]);
            let length = lines[at..].iter().position(|line| *line == end).unwrap_or(0) + 1;
            found.push((at + 1, length));
        }
    }
    found
}
