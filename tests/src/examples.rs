//! The examples as programs under test.
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::Process;

/// The folder of the examples; cargo builds them first where the tests of this package are run alone.
pub fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = std::env::current_exe().expect("a test has a file");
        let profile = test.parent().and_then(|deps| deps.parent()).expect("cargo runs it").to_owned();
        let mut build = Command::new(env!("CARGO"));
        // All of the workspace, as `cargo test --workspace` has it: then there is nothing left to build.
        build.args(["build", "--quiet", "--workspace", "--examples"]);
        build.arg("--target-dir").arg(profile.parent().expect("the target folder"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        assert!(build.status().expect("cargo runs").success(), "the examples do not build");
        profile.join("examples")
    })
}

/// Starts one on a free port, with four workers.
pub fn start(name: &str) -> Process {
    let mut command = Command::new(folder().join(name));
    command.arg("127.0.0.1:0").env("CLUSTER_WORKERS", "4").env_remove("WEB_CONCURRENCY");
    Process::start(command).expect("the example starts")
}
