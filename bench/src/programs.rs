//! Builds the programs under measurement and finds them.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, io};

use crate::error::Error;
use crate::suites::Suite;

/// The package of the examples.
const EXAMPLES: &str = "cluster-examples";
/// The package of the programs under test.
const FIXTURES: &str = "cluster-tests";
/// This package.
const OWN: &str = env!("CARGO_PKG_NAME");

/// Each function begins a cache line. Where within one serde_json's happen to begin is up to the size of what is linked
/// before them, and alone makes an answer of 10 KiB cost a tenth more or less.
const ALIGNED: &str = "-C llvm-args=-align-all-functions=6";

/// Programs that were built, by name.
#[derive(Debug, Default)]
pub(crate) struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    /// Builds what a suite measures, optimised. Cargo tells of its work on standard error.
    pub(crate) fn build(suite: &Suite) -> Result<Self, Error> {
        let mut programs = Self::default();
        // Each package by itself: built together, one would get the other's features.
        for (package, flag, names) in [
            (EXAMPLES, "--example", suite.examples),
            (OWN, "--bin", suite.own),
            (FIXTURES, "--bin", suite.fixtures),
        ] {
            if !names.is_empty() {
                programs.0.append(&mut build(package, flag, names)?);
            }
        }
        Ok(programs)
    }

    pub(crate) fn path(&self, program: &str) -> Result<PathBuf, Error> {
        self.0.get(program).cloned().ok_or_else(|| Error::NotBuilt(program.to_owned()))
    }
}

fn build(package: &str, flag: &str, names: &[&str]) -> Result<BTreeMap<String, PathBuf>, Error> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--message-format=json-render-diagnostics", "--package", package]);
    for name in names {
        cargo.args([flag, name]);
    }
    if let Some(folder) = target_folder() {
        cargo.arg("--target-dir").arg(folder);
    }
    let flags = env::var("RUSTFLAGS").unwrap_or_default();
    // Cargo heeds one of the two.
    cargo.env("RUSTFLAGS", format!("{flags} {ALIGNED}")).env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = cargo.output().map_err(Error::Cargo)?;
    if !output.status.success() {
        return Err(Error::Build { what: names.join(", "), status: output.status });
    }
    executables(&output.stdout).map_err(Error::Cargo)
}

/// Where this program was built, whoever decided it.
fn target_folder() -> Option<PathBuf> {
    env::current_exe().ok()?.ancestors().nth(2).map(Path::to_owned)
}

/// What was built, from the messages of cargo: one object per line, `compiler-artifact` with `executable`.
fn executables(messages: &[u8]) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for line in messages.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message: serde_json::Value = serde_json::from_slice(line)?;
        if let (Some(name), Some(path)) = (message["target"]["name"].as_str(), message["executable"].as_str())
        {
            found.insert(name.to_owned(), PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_the_messages_of_cargo() {
        let messages = br#"{"reason":"compiler-artifact","target":{"name":"serde"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"hello_axum"},"executable":"/t/release/examples/hello_axum"}
{"reason":"build-finished","success":true}
"#;
        let programs = Programs(executables(messages).expect("messages of cargo"));
        assert_eq!(programs.path("hello_axum").expect("built"), Path::new("/t/release/examples/hello_axum"));
        let err = programs.path("serde").expect_err("a library is no program").to_string();
        assert!(err.contains("`serde`"), "{err}");
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        assert!(executables(b"warning: not JSON\n").is_err());
    }
}
