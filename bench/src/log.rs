//! What a program under measurement says on standard error: kept, and shown only if something fails.
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::process::Stdio;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// How much of it an error shows.
const LAST_BYTES: u64 = 2048;

/// A file in memory, which is written by the program and its workers.
#[derive(Debug)]
pub(crate) struct Log(File);

impl Log {
    pub(crate) fn new() -> io::Result<Self> {
        let fd = memfd_create("what a subject says", MFdFlags::MFD_CLOEXEC)?;
        Ok(Self(File::from(fd)))
    }

    /// The end for the program.
    pub(crate) fn stdio(&self) -> io::Result<Stdio> {
        self.0.try_clone().map(Stdio::from)
    }

    /// The last lines, introduced, to end an error's sentence with; empty where nothing was said.
    pub(crate) fn last_lines(&self) -> String {
        let length = self.0.metadata().map_or(0, |metadata| metadata.len());
        let from = length.saturating_sub(LAST_BYTES);
        let mut bytes = vec![0; (length - from) as usize];
        // At a position: the offset is shared with the program, which goes on writing there.
        match self.0.read_exact_at(&mut bytes, from) {
            Ok(()) if !bytes.is_empty() => {
                format!("; it said:\n{}", String::from_utf8_lossy(&bytes).trim_end())
            }
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn say(script: &str) -> String {
        let log = Log::new().expect("a file in memory");
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).stderr(log.stdio().expect("a descriptor"));
        assert!(shell.status().expect("a shell").success());
        log.last_lines()
    }

    #[test]
    fn an_error_ends_with_what_the_program_said() {
        assert_eq!(say("echo first >&2; echo last >&2"), "; it said:\nfirst\nlast");
        assert_eq!(say("true"), "");
    }

    #[test]
    fn of_much_only_the_end_is_shown() {
        let said = say("i=0; while [ $i -lt 1000 ]; do echo line $i >&2; i=$((i+1)); done");
        assert!(said.ends_with("line 999") && said.len() < 3000, "{} bytes", said.len());
    }
}
