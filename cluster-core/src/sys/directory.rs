//! The names in a directory, read without allocating (getdents64(2)).
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

/// Shows each name once, until `see` has seen enough and says false.
pub(crate) fn for_each_name(folder: BorrowedFd<'_>, mut see: impl FnMut(&[u8]) -> bool) -> nix::Result<()> {
    let mut entries = [0_u8; 4096];
    loop {
        // SAFETY: `entries` is valid for its length, and outlives the call.
        let done = unsafe {
            libc::syscall(libc::SYS_getdents64, folder.as_raw_fd(), entries.as_mut_ptr(), entries.len())
        };
        let filled = Errno::result(done)? as usize;
        if filled == 0 {
            return Ok(());
        }
        let mut rest = &entries[..filled.min(entries.len())];
        while let Some((name, after)) = split(rest) {
            if !see(name) {
                return Ok(());
            }
            rest = after;
        }
    }
}

/// The first entry's name, and the entries after it.
fn split(entries: &[u8]) -> Option<(&[u8], &[u8])> {
    // An inode, an offset, the entry's length, a kind, then the name, which ends with a zero.
    const LENGTH: usize = 16;
    const NAME: usize = 19;
    let length = u16::from_ne_bytes([*entries.get(LENGTH)?, *entries.get(LENGTH + 1)?]);
    let name = entries.get(NAME..usize::from(length))?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    Some((&name[..end], &entries[usize::from(length)..]))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_names_are_those_of_the_directory() {
        let folder = File::open("/proc/self/task").unwrap();
        let own = nix::unistd::gettid().to_string();
        let mut found = false;
        for_each_name(folder.as_fd(), |name| {
            found |= name == own.as_bytes();
            true
        })
        .unwrap();
        assert!(found);
        assert!(for_each_name(File::open("/dev/null").unwrap().as_fd(), |_| true).is_err());
    }

    #[test]
    fn entries_that_are_cut_off_are_none() {
        assert_eq!(split(&[]), None);
        assert_eq!(split(&[0; 18]), None);
        let mut entry = [0; 24];
        entry[16] = 24;
        entry[19..21].copy_from_slice(b"42");
        assert_eq!(split(&entry), Some((&b"42"[..], &[][..])));
        assert_eq!(split(&entry[..23]), None);
    }
}
