//! Bodies too long for the stream: sealed memory that travels as a descriptor.
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// Nobody can change it any more: not its length (reading past a new end would be SIGBUS), not its bytes.
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE)
    .union(SealFlag::F_SEAL_SEAL);

/// A file in memory, to be written and then sealed.
pub(crate) fn create() -> io::Result<File> {
    let fd = memfd_create(c"cluster-message", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    Ok(File::from(fd))
}

/// Ends the writing.
pub(crate) fn seal(file: File) -> io::Result<OwnedFd> {
    fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS))?;
    Ok(file.into())
}

/// The bytes of a parcel, to be read in place.
pub(crate) struct Parcel {
    at: NonNull<libc::c_void>,
    len: NonZeroUsize,
}

impl Parcel {
    /// Maps a parcel of somebody else's. One that is not sealed, or has another length, is `EINVAL`.
    pub(crate) fn open(fd: BorrowedFd<'_>, len: u64) -> nix::Result<Self> {
        let seals = SealFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GET_SEALS)?);
        let real = nix::sys::stat::fstat(fd)?.st_size;
        if !seals.contains(SEALS) || u64::try_from(real) != Ok(len) {
            return Err(Errno::EINVAL);
        }
        let len = usize::try_from(len).ok().and_then(NonZeroUsize::new).ok_or(Errno::EINVAL)?;
        // All pages at once: it is read to its end, and 16 pages with each fault cost more (measured).
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of ours.
        let at = unsafe { mmap(None, len, ProtFlags::PROT_READ, flags, fd, 0)? };
        Ok(Self { at, len })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is readable, `len` bytes long and lives as long as `self`.
        // SAFETY: the seals that `open` has checked keep everybody from changing or shortening it.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr().cast(), self.len.get()) }
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        // SAFETY: `open` made this mapping, nobody else unmaps it, and no borrow of it is left.
        let _ = unsafe { munmap(self.at, self.len.get()) };
    }
}

// SAFETY: the memory is read-only and sealed; any thread may read and unmap it.
unsafe impl Send for Parcel {}
// SAFETY: as above: there is no way to write to it.
unsafe impl Sync for Parcel {}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_was_sealed_is_read_and_cannot_be_changed() {
        let mut file = create().unwrap();
        file.write_all(&[7; 100_000]).unwrap();
        let fd = seal(file).unwrap();
        let parcel = Parcel::open(fd.as_fd(), 100_000).unwrap();
        assert!(parcel.bytes().len() == 100_000 && parcel.bytes().iter().all(|byte| *byte == 7));
        assert!(nix::unistd::write(&fd, b"x").is_err());
        assert!(nix::unistd::ftruncate(&fd, 1).is_err());
    }

    #[test]
    fn what_could_still_change_is_refused() {
        let mut file = create().unwrap();
        file.write_all(b"open").unwrap();
        assert_eq!(Parcel::open(file.as_fd(), 4).err(), Some(Errno::EINVAL), "not sealed");
        let fd = seal(file).unwrap();
        assert_eq!(Parcel::open(fd.as_fd(), 5).err(), Some(Errno::EINVAL), "another length");
        assert_eq!(Parcel::open(fd.as_fd(), 0).err(), Some(Errno::EINVAL));
        assert!(Parcel::open(std::io::stderr().as_fd(), 4).is_err(), "no such file at all");
    }
}
