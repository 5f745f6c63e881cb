//! Where it was measured: what makes figures differ, and nothing that names the machine.
use std::process::Command;
use std::{env, fmt, fs, thread};

use serde::Serialize;

/// One machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Machine {
    /// Processors that this program may use.
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    /// `None` where it is not installed.
    pub(crate) node: Option<String>,
}

impl Machine {
    pub(crate) fn of_this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        // Cargo sets RUSTC where it was told to use another one.
        let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            cpu: cpu_model(&read("/proc/cpuinfo")).unwrap_or(env::consts::ARCH).to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            rustc: version(&rustc).unwrap_or_else(|| "rustc of unknown version".into()),
            node: version("node"),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, cpu, kernel, rustc, node } = self;
        let node = node.as_ref().map_or("no node".to_owned(), |version| format!("node {version}"));
        write!(f, "{cores} cores of {cpu}, Linux {kernel}, {rustc}, {node}")
    }
}

/// The first processor's name. Not every architecture tells one.
fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// What a program says of its version, if it is installed.
fn version(program: &str) -> Option<String> {
    let output =
        Command::new(program).arg("--version").output().ok().filter(|output| output.status.success())?;
    let said = String::from_utf8_lossy(&output.stdout);
    Some(said.lines().next()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_where_the_kernel_tells() {
        let told = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: A Processor @ 3 GHz\nflags\t: a b\n";
        assert_eq!(cpu_model(told), Some("A Processor @ 3 GHz"));
        assert_eq!(cpu_model("processor\t: 0\nBogoMIPS\t: 50.00\n"), None);
    }

    #[test]
    fn a_program_that_is_not_installed_has_no_version() {
        assert_eq!(version("no-such-program-as-this"), None);
    }
}
