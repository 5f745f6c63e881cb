//! How many descriptors a process may have: more for those of the cluster, as many as before for what they start.
//!
//! The soft limit is 1024 by default, for the sake of programs that use select(2), which cannot name a descriptor beyond
//! that; who does not may raise it to the hard one (getrlimit(2)). A server has a descriptor for each client.
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::sys::process;

/// The kernel's own bound (`fs.nr_open`) is this by default. Some systems say "no limit", and programs that go through all
/// possible descriptors take for ever then.
const MOST: u64 = 1 << 20;

/// The soft limit as it was, where this process, or the one that it was forked from, has raised it.
static ORIGINAL: OnceLock<u64> = OnceLock::new();

/// Raises it for this process and those that it forks. Where that cannot be done it stays, and is told when it is reached.
pub(crate) fn raise() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = hard.min(MOST);
    if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() {
        let _ = ORIGINAL.set(soft);
    }
}

/// The soft limit as it was, where it was raised.
pub(crate) fn original() -> Option<u64> {
    ORIGINAL.get().copied()
}

/// Has a command start with the soft limit of descriptors that this program was started with.
///
/// A cluster raises its own to the hard limit (at most 1,048,576), and programs that it starts have that, too. Most are
/// glad of it. One that uses `select(2)` is not: a descriptor from 1024 on, which it could not have before, overwrites its
/// memory. Nor is one that closes every possible descriptor first, as some old scripts and daemons do. Call this for
/// those. The workers themselves cannot know who needs it: `std::process` starts programs by `posix_spawn`, which asks
/// nobody.
///
/// A command that is changed by this is started by `fork` and `exec`, which takes longer where the process is large.
///
/// # Example
/// ```no_run
/// use std::process::Command;
/// let report = cluster_core::restore_limits(&mut Command::new("old-report-tool")).output()?;
/// // Tokio's: cluster_core::restore_limits(command.as_std_mut())
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn restore_limits(command: &mut Command) -> &mut Command {
    if let Some(soft) = original() {
        process::limit_descriptors(command, soft);
    }
    command
}
