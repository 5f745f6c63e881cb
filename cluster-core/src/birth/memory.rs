//! What memory a process has for itself: read by its sentinel into its page, because the primary may not look
//! (CAP_SYS_PTRACE, where they run as different users).
//!
//! Private is what would be free if the process ended: pages that it shares with nobody, and its part of what is swapped
//! out. What `main` has loaded before a fork is not, until it is written to.
use std::fs::File;
use std::time::{Duration, Instant};

use nix::sys::uio::pread;

use crate::scoreboard::Page;

/// The first look: programs have built what they need for a start.
const FIRST_AFTER: Duration = Duration::from_secs(1);
/// So often while it changes.
const EVERY: Duration = Duration::from_secs(5);
/// So rarely while it does not. A look wakes the process: eight idle workers that looked every 5 s took 0.06 % of a core,
/// more than half of what they may.
const RARELY: Duration = Duration::from_secs(20);
/// Less than a sixty-fourth of it is no change.
const CHANGE: u64 = 64;
/// The kernel walks all pages: 25 ms per GiB where it was measured, if they are small. A look comes no sooner than after
/// so many times what the last one took, so that all of them together take at most 0.5 % of a core.
const PAUSE: u32 = 200;

/// Looks at this process's own memory. Allocates nothing once it is open.
pub(crate) struct MemoryGauge {
    /// None without /proc: then it is not known.
    file: Option<File>,
    due: Instant,
    pause: Duration,
    /// What it saw last.
    seen: u64,
}

impl MemoryGauge {
    /// What is open stays readable, whoever the process becomes.
    pub(crate) fn open() -> Self {
        Self {
            file: File::open("/proc/self/smaps_rollup").ok(),
            due: Instant::now() + FIRST_AFTER,
            pause: EVERY,
            seen: 0,
        }
    }

    /// When to look next.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.file.as_ref().map(|_| self.due)
    }

    /// Looks, if it is time, and writes into the page what it has seen.
    pub(crate) fn look(&mut self, page: &Page) {
        let begun = Instant::now();
        let Some(file) = self.file.as_ref().filter(|_| self.due <= begun) else { return };
        // Twice as long as it is on Linux 6.18.
        let mut text = [0; 2048];
        let read = pread(file, &mut text, 0).unwrap_or(0);
        let Some(bytes) = private(&text[..read]) else {
            // A kernel that does not tell is not asked again.
            self.file = None;
            return;
        };
        page.measured(bytes);
        let now = Instant::now();
        self.pause = pause(self.pause, self.seen, bytes);
        self.seen = bytes;
        self.due = now + self.pause.max((now - begun) * PAUSE);
    }
}

/// How long to wait after a look: longer and longer while nothing changes.
fn pause(last: Duration, before: u64, after: u64) -> Duration {
    if before.abs_diff(after) > before / CHANGE { EVERY } else { (last * 2).min(RARELY) }
}

/// The bytes that are private, from the text of `/proc/PID/smaps_rollup` (proc_pid_smaps(5)).
fn private(text: &[u8]) -> Option<u64> {
    const COUNTED: [&[u8]; 4] = [b"Private_Clean", b"Private_Dirty", b"Private_Hugetlb", b"SwapPss"];
    let mut sum = None;
    for line in text.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        if COUNTED.contains(&&line[..colon]) {
            let digits = line[colon + 1..].iter().filter(|byte| byte.is_ascii_digit());
            let kib = digits.fold(0_u64, |number, digit| {
                number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
            });
            sum = Some(sum.unwrap_or(0_u64).saturating_add(kib.saturating_mul(1024)));
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::page::Mapped;

    #[test]
    fn what_is_private_is_added_up() {
        let text = b"55fa9d7e1000-7ffc77cac000 ---p 00000000 00:00 0                          [rollup]\n\
            Rss:               13580 kB\nShared_Dirty:          9 kB\nPrivate_Clean:      4596 kB\n\
            Private_Dirty:      6928 kB\nPrivate_Hugetlb:     2048 kB\nSwap:         77 kB\nSwapPss:    4 kB\n";
        assert_eq!(private(text), Some((4596 + 6928 + 2048 + 4) * 1024));
        assert_eq!(private(b""), None);
        assert_eq!(private(b"Private_Dirty: 99999999999999999999999 kB"), Some(u64::MAX));
    }

    #[test]
    fn while_nothing_changes_it_looks_rarely() {
        let mut last = EVERY;
        for _ in 0..9 {
            last = pause(last, 64_000, 65_000);
        }
        assert_eq!(last, RARELY);
        assert_eq!(pause(last, 64_000, 65_001), EVERY);
        assert_eq!(pause(last, 64_000, 62_000), EVERY);
        assert_eq!(pause(last, 0, 0), RARELY);
    }

    #[test]
    fn memory_that_is_written_to_is_private() {
        let (page, _fd) = Mapped::<Page>::create(c"test").unwrap();
        let mut gauge = MemoryGauge::open();
        gauge.look(&page);
        assert_eq!((page.private_memory(), page.measurements()), (None, 0), "it is not time");
        gauge.due = Instant::now();
        gauge.look(&page);
        let before = page.private_memory().unwrap();
        let grown = std::hint::black_box(vec![1_u8; 64 << 20]);
        gauge.due = Instant::now();
        gauge.look(&page);
        let after = page.private_memory().unwrap();
        assert!(after >= before + (60 << 20), "{before}, {after}");
        assert_eq!(page.measurements(), 2);
        assert!(gauge.due().unwrap() >= Instant::now() + EVERY - Duration::from_millis(100));
        drop(grown);
    }
}
