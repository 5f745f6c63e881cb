//! Where it was measured: what makes figures differ, and nothing that names the machine.
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::{env, fmt, fs, thread};

use serde::Serialize;

use crate::installed::Installed;

/// One machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Machine {
    /// Processors that this program may use.
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    /// `None` where it is not installed; so are those that follow.
    pub(crate) node: Option<String>,
    pub(crate) bun: Option<String>,
    pub(crate) nginx: Option<String>,
    pub(crate) pm2: Option<String>,
    pub(crate) h2load: Option<String>,
}

impl Machine {
    pub(crate) fn of_this(installed: &Installed) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        // Cargo sets RUSTC where it was told to use another one.
        let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            cpu: cpu_model(&read("/proc/cpuinfo")).unwrap_or(env::consts::ARCH).to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            rustc: version(&rustc, "--version").unwrap_or_else(|| "rustc of unknown version".into()),
            node: installed.node.as_ref().and_then(|node| version(node, "--version")),
            bun: installed.bun.as_ref().and_then(|bun| version(bun, "--version")),
            nginx: installed.nginx.as_ref().and_then(|nginx| version(nginx, "-v")),
            pm2: installed.pm2.as_ref().and_then(|pm2| pm2_version(pm2)),
            h2load: installed.h2load.as_ref().and_then(|h2load| version(h2load, "--version")),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, cpu, kernel, rustc, node, bun, nginx, pm2, h2load } = self;
        write!(f, "{cores} cores of {cpu}, Linux {kernel}, {rustc}")?;
        match node {
            Some(version) => write!(f, ", node {version}")?,
            None => f.write_str(", no node")?,
        }
        for (program, version) in [("bun", bun), ("nginx", nginx), ("pm2", pm2), ("h2load", h2load)] {
            if let Some(version) = version {
                write!(f, ", {program} {version}")?;
            }
        }
        Ok(())
    }
}

/// The first processor's name. Not every architecture tells one.
fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// What a program says of its version, if it is installed.
fn version(program: impl AsRef<OsStr>, ask: &str) -> Option<String> {
    let output = Command::new(program).arg(ask).output().ok().filter(|output| output.status.success())?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().next()?.trim();
    // Some say their names too, nginx on standard error.
    let names = ["nginx version: nginx/", "h2load nghttp2/"];
    Some(names.iter().find_map(|name| line.strip_prefix(name)).unwrap_or(line).to_owned())
}

/// PM2's version, from its package: asked itself, it would start a daemon.
fn pm2_version(program: &Path) -> Option<String> {
    let package = program.canonicalize().ok()?.parent()?.parent()?.join("package.json");
    let package: serde_json::Value = serde_json::from_slice(&fs::read(package).ok()?).ok()?;
    package["version"].as_str().map(str::to_owned)
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
        assert_eq!(version("no-such-program-as-this", "--version"), None);
    }
}
