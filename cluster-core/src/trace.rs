//! Where a process stood that hangs, on its way through shared memory: written by its sentinel just before the process
//! is killed, read by the primary afterwards.
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// No more of it is told.
pub(crate) const MOST_BYTES: usize = 12 * 1024;
/// A longer line is cut.
const LONGEST_LINE: usize = 300;

/// Written by the sentinel; read by the primary, which trusts nothing in it.
#[repr(C)]
pub(crate) struct Trace {
    /// Not 0 when nothing more comes.
    is_finished: AtomicU64,
    /// Where it stood, without names: these take no lock and allocate nothing, and come first.
    pub(crate) addresses: Text<4096>,
    pub(crate) names: Text<MOST_BYTES>,
}

/// Lines, as many as there is room for.
#[repr(C)]
pub(crate) struct Text<const ROOM: usize> {
    len: AtomicU64,
    bytes: [AtomicU8; ROOM],
}

impl Trace {
    /// All is there that can be found.
    pub(crate) fn finish(&self) {
        self.is_finished.store(1, Release);
    }

    /// What there is of it; nothing where nobody has written.
    pub(crate) fn lines(&self) -> Vec<String> {
        let is_finished = self.is_finished.load(Acquire) != 0;
        let (mut addresses, mut names) = (self.addresses.lines(), self.names.lines());
        if is_finished {
            return if names.is_empty() { addresses } else { names };
        }
        // The first line only says which thread it is.
        if names.len() > 1 {
            names.push("(looking for names took too long: there is more)".to_owned());
            return names;
        }
        if !addresses.is_empty() {
            addresses.push("(looking for names took too long)".to_owned());
        }
        addresses
    }
}

impl<const ROOM: usize> Text<ROOM> {
    /// Adds a line, whole or not at all. Takes no lock and allocates nothing, if formatting does not.
    pub(crate) fn add(&self, line: fmt::Arguments<'_>) {
        let mut cut = Cut { bytes: [0; LONGEST_LINE], len: 0 };
        // It fails where the line is cut.
        let _ = cut.write_fmt(line);
        let used = self.used();
        let Some(room) = self.bytes.get(used..=used + cut.len) else { return };
        for (to, byte) in room.iter().zip(cut.bytes[..cut.len].iter().chain(b"\n")) {
            to.store(*byte, Relaxed);
        }
        self.len.store((used + cut.len + 1) as u64, Release);
    }

    fn used(&self) -> usize {
        usize::try_from(self.len.load(Acquire)).unwrap_or(ROOM).min(ROOM)
    }

    fn lines(&self) -> Vec<String> {
        let bytes: Vec<u8> = self.bytes[..self.used()].iter().map(|byte| byte.load(Relaxed)).collect();
        let text = String::from_utf8_lossy(&bytes);
        let mut left = MOST_BYTES;
        let whole = text.lines().map_while(|line| {
            // A byte that is no text has become a character of three.
            left = left.checked_sub(line.len())?;
            Some(line.chars().map(|c| if c.is_control() { '?' } else { c }).collect())
        });
        whole.collect()
    }
}

/// The beginning of a line.
struct Cut {
    bytes: [u8; LONGEST_LINE],
    len: usize,
}

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let character = if character.is_control() { '?' } else { character };
            let room = self.bytes.get_mut(self.len..self.len + character.len_utf8()).ok_or(fmt::Error)?;
            character.encode_utf8(room);
            self.len += character.len_utf8();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::Page;
    use crate::sys::page::Mapped;

    fn page() -> Mapped<Page> {
        Mapped::create(c"test").unwrap().0
    }

    #[test]
    fn names_are_told_when_they_are_there_and_addresses_until_then() {
        let page = page();
        let trace = &page.trace;
        assert!(trace.lines().is_empty());
        trace.addresses.add(format_args!("thread 1"));
        trace.addresses.add(format_args!("0: app+{:#x}", 16));
        let without = ["thread 1", "0: app+0x10", "(looking for names took too long)"];
        assert_eq!(trace.lines(), without);
        trace.names.add(format_args!("thread 1"));
        assert_eq!(trace.lines(), without, "a thread's name is none of a function");
        trace.names.add(format_args!("0: app::main"));
        assert_eq!(trace.lines()[1..], ["0: app::main", "(looking for names took too long: there is more)"]);
        trace.finish();
        assert_eq!(trace.lines(), ["thread 1", "0: app::main"]);
    }

    #[test]
    fn what_is_too_much_is_left_out_whole() {
        let page = page();
        let line = "ä".repeat(LONGEST_LINE);
        for _ in 0..MOST_BYTES {
            page.trace.names.add(format_args!("{line}\n\u{1b}[2J"));
        }
        page.trace.finish();
        let lines = page.trace.lines();
        assert!(lines.iter().all(|told| told.len() == LONGEST_LINE && line.starts_with(told)), "{lines:?}");
        assert_eq!(lines.len(), MOST_BYTES / (LONGEST_LINE + 1));
    }

    #[test]
    fn a_line_is_one_line() {
        let page = page();
        page.trace.names.add(format_args!("a\nb\r\u{1b}c"));
        page.trace.finish();
        assert_eq!(page.trace.lines(), ["a?b??c"]);
    }

    #[test]
    fn nonsense_in_the_page_does_no_harm() {
        let page = page();
        let trace = &page.trace;
        for (len, byte) in [(u64::MAX, 0xff), (MOST_BYTES as u64, b'\n'), (5000, 0x1b)] {
            trace.is_finished.store(len, Relaxed);
            trace.names.len.store(len, Relaxed);
            trace.addresses.len.store(len, Relaxed);
            trace.names.bytes.iter().for_each(|to| to.store(byte, Relaxed));
            let lines = trace.lines();
            assert!(lines.iter().map(String::len).sum::<usize>() <= MOST_BYTES);
            assert!(lines.iter().all(|line| !line.chars().any(char::is_control)));
        }
    }
}
