//! What is mapped where: `/proc/self/maps` (proc_pid_maps(5)), read without allocating.
use std::ops::ControlFlow;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::sys::memory::Region;

/// More than the longest line: a path has 4 KiB at the most.
const ROOM: usize = 8 * 1024;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping<'l> {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) readable: bool,
    pub(super) executable: bool,
    /// Where in its file it begins.
    pub(super) offset: u64,
    pub(super) file: File,
    /// Empty where it is nobody's; in brackets where it is the kernel's.
    pub(super) path: &'l [u8],
}

/// Which file is mapped; all zero where none is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct File {
    major: u64,
    minor: u64,
    inode: u64,
}

impl Mapping<'_> {
    pub(super) fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// What can be read of it.
    pub(super) fn region(&self) -> Option<Region> {
        self.readable.then(|| Region::listed(self.start, self.end))
    }
}

/// Shows each mapping, in the order of addresses, until `see` breaks.
pub(super) fn for_each(mut see: impl FnMut(&Mapping<'_>) -> ControlFlow<()>) -> nix::Result<()> {
    let list = open(c"/proc/self/maps", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut buf = [0; ROOM];
    let mut filled = 0;
    loop {
        match nix::unistd::read(&list, &mut buf[filled..]) {
            Ok(0) => return Ok(()),
            Ok(count) => filled += count,
            Err(Errno::EINTR) => continue,
            Err(err) => return Err(err),
        }
        let mut begun = 0;
        while let Some(length) = buf[begun..filled].iter().position(|byte| *byte == b'\n') {
            if let Some(mapping) = parse(&buf[begun..begun + length])
                && see(&mapping).is_break()
            {
                return Ok(());
            }
            begun += length + 1;
        }
        if begun == 0 && filled == ROOM {
            // No line is that long: this one is none.
            begun = filled;
        }
        buf.copy_within(begun..filled, 0);
        filled -= begun;
    }
}

/// The mapping with this address.
pub(super) fn region_of(address: u64) -> Option<Region> {
    let mut found = None;
    let see = |mapping: &Mapping<'_>| {
        if !mapping.contains(address) {
            return ControlFlow::Continue(());
        }
        found = mapping.region();
        ControlFlow::Break(())
    };
    for_each(see).ok()?;
    found
}

/// `7f0000000000-7f0000001000 r-xp 00001000 fe:01 1234   /lib/libc.so.6`
fn parse(line: &[u8]) -> Option<Mapping<'_>> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut field = || fields.next();
    let (start, end) = pair(field()?, b'-')?;
    let access = field()?;
    let offset = hex(field()?)?;
    let (major, minor) = pair(field()?, b':')?;
    let inode = std::str::from_utf8(field()?).ok()?.parse().ok()?;
    let path = field().unwrap_or_default().trim_ascii_start();
    Some(Mapping {
        start,
        end,
        readable: *access.first()? == b'r',
        executable: *access.get(2)? == b'x',
        offset,
        file: File { major, minor, inode },
        path,
    })
}

fn pair(text: &[u8], separator: u8) -> Option<(u64, u64)> {
    let at = text.iter().position(|byte| *byte == separator)?;
    Some((hex(&text[..at])?, hex(&text[at + 1..])?))
}

fn hex(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whole() {
        let line = b"7f00a000-7f00b000 r-xp 00001000 fe:1a 1234                       /a b/libc.so.6";
        let file = File { major: 0xfe, minor: 0x1a, inode: 1234 };
        let expected = Mapping {
            start: 0x7f00_a000,
            end: 0x7f00_b000,
            readable: true,
            executable: true,
            offset: 0x1000,
            file,
            path: b"/a b/libc.so.6",
        };
        assert_eq!(parse(line), Some(expected));
        let nobody = parse(b"7ffc1000-7ffc2000 ---p 00000000 00:00 0 ").unwrap();
        assert_eq!((nobody.path, nobody.region(), nobody.executable), (&b""[..], None, false));
        assert_eq!(
            parse(b"7ffc1000-7ffc2000 rw-p 00000000 00:00 0"),
            parse(b"7ffc1000-7ffc2000 rw-p 0 00:00 0 ")
        );
    }

    #[test]
    fn what_is_no_line_is_none() {
        for nonsense in
            [&b""[..], b"x", b"1-2", b"1-2 r", b"1-2 r-xp z 0:0 0 ", b"12 r-xp 0 0:0 0", b"\xff-1 r-xp"]
        {
            assert_eq!(parse(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn code_and_stack_of_this_process_are_found() {
        let local = 7_u64;
        let address = &raw const local as u64 & !7;
        assert!(region_of(address).unwrap().word(address).is_some());
        let code = parse as *const () as u64;
        let mut found = false;
        for_each(|mapping| {
            found |= mapping.executable && mapping.contains(code);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(found);
        assert_eq!(region_of(8), None);
    }
}
