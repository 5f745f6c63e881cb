//! Memory of this process: by its address, and what it has no use for.

/// A stretch that the kernel has listed as mapped and readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    start: u64,
    end: u64,
}

impl Region {
    /// For whoever reads the kernel's list: what is not mapped must not be named here.
    pub(crate) fn listed(start: u64, end: u64) -> Self {
        Self { start, end: end.max(start) }
    }

    pub(crate) fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// The word at `address`, where that is inside. It may change at any time: it is read once.
    pub(crate) fn word(&self, address: u64) -> Option<u64> {
        let is_inside = self.contains(address) && self.end - address >= size_of::<u64>() as u64;
        if !is_inside || !address.is_multiple_of(align_of::<u64>() as u64) {
            return None;
        }
        // SAFETY: inside, and aligned, as was just looked at; the kernel listed it as readable, and any bits are a
        // number. A volatile read, because it may be another thread's stack. Whoever unmaps it meanwhile ends this
        // process, which is about to be killed.
        Some(unsafe { std::ptr::read_volatile(address as *const u64) })
    }

    /// What is there from `address` to the end: for what nobody writes (the tables of a loaded program or library).
    pub(crate) fn bytes_from(&self, address: u64) -> Option<&'static [u8]> {
        if !self.contains(address) {
            return None;
        }
        let len = usize::try_from(self.end - address).ok()?;
        // SAFETY: inside a stretch that the kernel listed as readable; loaded programs and libraries stay, and the
        // segments with their headers and tables are not written. Who unloads one meanwhile ends this process,
        // which is about to be killed.
        Some(unsafe { std::slice::from_raw_parts(address as *const u8, len) })
    }
}

/// Gives free pages back to the system (malloc_trim(3)), where the allocator is glibc's. Whoever allocates meanwhile may
/// wait.
pub(crate) fn give_back() {
    // SAFETY: it takes a number, and glibc's own locks; it moves nothing that is in use.
    #[cfg(target_env = "gnu")]
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_inside_is_read() {
        let words = [7_u64, 8];
        let start = words.as_ptr() as u64;
        let region = Region::listed(start, start + 16);
        assert_eq!((region.word(start), region.word(start + 8)), (Some(7), Some(8)));
        for outside in [start - 8, start + 1, start + 9, start + 16, u64::MAX, u64::MAX - 7, 0] {
            assert_eq!(region.word(outside), None);
        }
        assert_eq!(region.bytes_from(start + 8), Some(&8_u64.to_ne_bytes()[..]));
        assert_eq!(region.bytes_from(start + 16), None);
        assert!(!Region::listed(5, 3).contains(5));
    }
}
