//! The threads of this process, and why one of them cannot be interrupted: `/proc/self/task` (proc_pid_task(5)), read
//! without allocating.
use std::fmt::{self, Write};
use std::os::fd::AsFd;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::sys::directory;
use crate::sys::interrupt::SIGNAL;

/// More are not looked at.
pub(super) const MOST: usize = 16;
/// As the kernel has it (TASK_COMM_LEN).
const LONGEST_NAME: usize = 16;

/// A thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Thread {
    pub(super) id: i32,
    name: [u8; LONGEST_NAME],
    name_len: usize,
}

impl Thread {
    fn of(id: i32) -> Self {
        let mut thread = Self { id, name: [0; LONGEST_NAME], name_len: 0 };
        // One that is gone has no name.
        thread.name_len = read(id, "comm", &mut thread.name).unwrap_or(0);
        thread
    }

    fn name(&self) -> &[u8] {
        self.name[..self.name_len].trim_ascii_end()
    }
}

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name is bytes; what is no text of it is left out.
        let name = std::str::from_utf8(self.name()).unwrap_or_default();
        write!(f, "thread {} ({name})", self.id)
    }
}

/// The other threads that may be stuck: `first`, then the oldest.
pub(super) fn others(first: i32) -> [Option<Thread>; MOST] {
    let own = nix::unistd::gettid().as_raw();
    let mut found = [None; MOST];
    let mut count = 0;
    let mut add = |id: i32| {
        let thread = Thread::of(id);
        // One that has ended meanwhile has no name, and without /proc none has. The doorbell runs none of the program's
        // code.
        let is_there = id == first || !thread.name().is_empty();
        if id != own && is_there && thread.name() != b"doorbell" {
            found[count] = Some(thread);
            count += 1;
        }
        count < MOST
    };
    if first > 0 {
        add(first);
    }
    let folder = open(c"/proc/self/task", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
    if let Ok(folder) = folder {
        let _ = directory::for_each_name(folder.as_fd(), |name| {
            // `.` and `..` are no numbers.
            let id = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
            id.filter(|id| *id != first).is_none_or(&mut add)
        });
    }
    found
}

/// Why a thread has not taken the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deaf {
    /// It blocks the signal.
    Blocks,
    /// It is in a system call that nothing interrupts.
    Uninterruptible,
    /// Nobody knows.
    Unknown,
}

impl fmt::Display for Deaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Deaf::Blocks => "it blocks SIGURG, by which it would be interrupted",
            Deaf::Uninterruptible => "it waits in the kernel, where no signal reaches it (state D)",
            Deaf::Unknown => "it did not answer SIGURG in time",
        })
    }
}

impl Thread {
    /// Why it has not taken the signal.
    pub(super) fn why_deaf(&self) -> Deaf {
        let mut status = [0; 4096];
        let filled = read(self.id, "status", &mut status).unwrap_or(0);
        judge(&status[..filled])
    }
}

fn judge(status: &[u8]) -> Deaf {
    let status = std::str::from_utf8(status).unwrap_or_default();
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map_or("", str::trim)
    };
    let blocked = u64::from_str_radix(field("SigBlk"), 16).unwrap_or(0);
    if blocked >> (SIGNAL - 1) & 1 == 1 {
        Deaf::Blocks
    } else if field("State").starts_with('D') {
        Deaf::Uninterruptible
    } else {
        Deaf::Unknown
    }
}

/// Reads the beginning of a file about a thread.
fn read(thread: i32, file: &str, to: &mut [u8]) -> nix::Result<usize> {
    let mut path = Path { bytes: [0; 48], len: 0 };
    // It fits: a number has 11 digits at the most.
    let _ = write!(path, "/proc/self/task/{thread}/{file}");
    let file = open(&path.bytes[..path.len], OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    nix::unistd::read(&file, to)
}

struct Path {
    bytes: [u8; 48],
    len: usize,
}

impl Write for Path {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn the_others_are_found_and_the_one_that_counts_is_first() {
        let (tell, told) = mpsc::channel();
        let (hold, held) = mpsc::channel::<()>();
        let other = thread::Builder::new().name("other".into()).spawn(move || {
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            let _ = held.recv();
        });
        let id = told.recv().unwrap();
        let found = others(id);
        assert_eq!(found[0].unwrap().to_string(), format!("thread {id} (other)"));
        let all = || found.iter().flatten();
        assert_eq!(all().filter(|thread| thread.id == id).count(), 1);
        assert!(all().all(|thread| thread.id != nix::unistd::gettid().as_raw()), "not who looks");
        assert!(others(0).iter().flatten().any(|thread| thread.id == id) || all().count() == MOST);
        drop(hold);
        other.unwrap().join().unwrap();
    }

    #[test]
    fn it_is_known_why_a_thread_is_deaf() {
        let status =
            |state: &str, blocked: u64| format!("Name:\tx\nState:\t{state}\nSigBlk:\t{blocked:016x}\n");
        let urgent = 1 << (SIGNAL - 1);
        for (status, why) in [
            (status("R (running)", urgent), Deaf::Blocks),
            (status("D (disk sleep)", u64::MAX), Deaf::Blocks),
            (status("D (disk sleep)", !urgent), Deaf::Uninterruptible),
            (status("S (sleeping)", 0), Deaf::Unknown),
            (String::new(), Deaf::Unknown),
        ] {
            assert_eq!(judge(status.as_bytes()), why, "{status}");
        }
        assert_eq!(Thread::of(nix::unistd::gettid().as_raw()).why_deaf(), Deaf::Unknown);
    }
}
