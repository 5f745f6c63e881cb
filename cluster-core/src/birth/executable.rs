//! The program as a file: what workers and directors of the exec method, and successors of a fork server,
//! execute.
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use nix::libc::O_PATH;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

use crate::birth::descriptor_limit;
use crate::conn::INHERITANCE;
use crate::role::{self, Role, Spoken};
use crate::sys::process::{AcrossExec, before_exec};
use crate::sys::start;

/// One generation's executable, held open: a file replaced on disk changes nothing until a reload.
pub(crate) struct Executable {
    file: File,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    /// None: the one that is current, whichever it is.
    directory: Option<PathBuf>,
}

/// What a process is executed with.
pub(crate) struct Execution {
    pub(crate) role: Role,
    /// Its end of the control socket.
    pub(crate) control: OwnedFd,
    /// Where its standard error goes; else where ours goes.
    pub(crate) stderr: Option<OwnedFd>,
    /// Variables that it has besides those of the start, where the start did not set them.
    pub(crate) defaults: Vec<(&'static str, String)>,
}

impl Executable {
    /// This very program, as it was started.
    pub(crate) fn this() -> io::Result<Self> {
        let file = OpenOptions::new().read(true).custom_flags(O_PATH).open("/proc/self/exe")?;
        Ok(Self {
            file,
            arguments: split(&std::fs::read("/proc/self/cmdline")?),
            // Not `env::vars`: main may have changed those, and shall do so again.
            environment: split(&std::fs::read("/proc/self/environ")?)
                .iter()
                .filter_map(|pair| name_and_value(pair))
                // The primary has what a service manager passed; its numbers mean other descriptors there.
                .filter(|(name, _)| !INHERITANCE.iter().any(|passed| name == passed))
                .collect(),
            directory: start::directory(),
        })
    }

    /// Executes it. The caller reaps the child.
    pub(crate) fn execute(&self, execution: Execution) -> io::Result<Pid> {
        let Execution { role, control, stderr, defaults } = execution;
        let spoken = Spoken { role, fd: control.as_raw_fd(), primary: nix::unistd::getpid().as_raw() };
        let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        if let Some((zeroth, rest)) = self.arguments.split_first() {
            command.arg0(zeroth).args(rest);
        }
        command.env_clear().envs(defaults).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env(role::VARIABLE, spoken.to_string());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let supervised = matches!(role, Role::Worker | Role::Director);
        let stdin = File::open("/dev/null")?.into();
        before_exec(
            &mut command,
            AcrossExec {
                keep: vec![control],
                stdin,
                stderr,
                own_group: supervised,
                // A fork server ends with its primary and by no signal; the others start with none blocked.
                blocked: if supervised { SigSet::empty() } else { SigSet::all() },
                // As at the start of the program; what it becomes raises it.
                soft_descriptors: descriptor_limit::original(),
                parent_death: supervised.then_some(Signal::SIGCONT),
            },
        );
        let child = command.spawn()?;
        Ok(Pid::from_raw(child.id() as i32))
    }
}

/// The strings of a file like `/proc/self/cmdline`, where each ends with a zero byte.
fn split(bytes: &[u8]) -> Vec<OsString> {
    let mut strings: Vec<_> =
        bytes.split(|byte| *byte == 0).map(|s| OsString::from_vec(s.to_vec())).collect();
    strings.pop();
    strings
}

fn name_and_value(pair: &OsStr) -> Option<(OsString, OsString)> {
    let bytes = pair.as_bytes();
    let at = bytes.iter().skip(1).position(|byte| *byte == b'=')? + 1;
    let (name, value) = (&bytes[..at], &bytes[at + 1..]);
    Some((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned()))
}

impl AsFd for Executable {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_proc_files_are_taken_apart() {
        assert_eq!(split(b"prog\0--flag\0\0"), ["prog", "--flag", ""]);
        assert!(split(b"").is_empty());
        assert_eq!(name_and_value(OsStr::new("A=b=c")), Some(("A".into(), "b=c".into())));
        assert_eq!(name_and_value(OsStr::new("broken")), None);
    }
}
