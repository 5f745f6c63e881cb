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
use nix::sys::uio::pread;

/// Its length stays (reading past a new end would be SIGBUS), and nobody begins to write to it.
const CLOSED: SealFlag = SealFlag::F_SEAL_SHRINK
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_FUTURE_WRITE)
    .union(SealFlag::F_SEAL_SEAL);

/// Nobody can change it any more, also who began before: it can be read in place.
const SEALED: SealFlag = SealFlag::F_SEAL_SHRINK
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
    match fcntl(&file, FcntlArg::F_ADD_SEALS(SEALED)) {
        // Somebody has held one of its pages for 150 ms, as long as the kernel waits for it. We write to none, so that is
        // the kernel itself, which moves pages, or looks for those that it wants back. Its receiver copies this one.
        Err(Errno::EBUSY) => fcntl(&file, FcntlArg::F_ADD_SEALS(CLOSED))?,
        sealed => sealed?,
    };
    Ok(file.into())
}

/// The bytes of a parcel.
pub(crate) struct Parcel(Bytes);

enum Bytes {
    InPlace(Mapping),
    Copied(Vec<u8>),
}

impl Parcel {
    /// Opens a parcel of somebody else's. One that is not sealed, or has another length, is `EINVAL`.
    pub(crate) fn open(fd: BorrowedFd<'_>, len: u64) -> nix::Result<Self> {
        let seals = SealFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GET_SEALS)?);
        let real = nix::sys::stat::fstat(fd)?.st_size;
        if u64::try_from(real) != Ok(len) {
            return Err(Errno::EINVAL);
        }
        let len = usize::try_from(len).ok().and_then(NonZeroUsize::new).ok_or(Errno::EINVAL)?;
        if seals.contains(SEALED) {
            Ok(Self(Bytes::InPlace(Mapping::new(fd, len)?)))
        } else if seals.contains(CLOSED) {
            Ok(Self(Bytes::Copied(copy(fd, len)?)))
        } else {
            Err(Errno::EINVAL)
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::InPlace(mapping) => mapping.bytes(),
            Bytes::Copied(copy) => copy,
        }
    }
}

/// Takes a copy of a whole file of this length.
fn copy(file: BorrowedFd<'_>, len: NonZeroUsize) -> nix::Result<Vec<u8>> {
    let mut copy = vec![0; len.get()];
    let mut filled = 0;
    while filled < copy.len() {
        let at = i64::try_from(filled).map_err(|_| Errno::EFBIG)?;
        match pread(file, &mut copy[filled..], at)? {
            0 => return Err(Errno::EINVAL),
            read => filled += read,
        }
    }
    Ok(copy)
}

/// A sealed file in our memory.
struct Mapping {
    at: NonNull<libc::c_void>,
    len: NonZeroUsize,
}

impl Mapping {
    /// Maps all of a file that has the seals, and this length.
    fn new(sealed: BorrowedFd<'_>, len: NonZeroUsize) -> nix::Result<Self> {
        // All pages at once: it is read to its end, and 16 pages with each fault cost more (measured).
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of ours.
        let at = unsafe { mmap(None, len, ProtFlags::PROT_READ, flags, sealed, 0)? };
        Ok(Self { at, len })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is readable, `len` bytes long and lives as long as `self`.
        // SAFETY: the seals that `Parcel::open` has checked keep everybody from changing or shortening it.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr().cast(), self.len.get()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `new` made this mapping, nobody else unmaps it, and no borrow of it is left.
        let _ = unsafe { munmap(self.at, self.len.get()) };
    }
}

// SAFETY: the memory is read-only and sealed; any thread may read and unmap it.
unsafe impl Send for Mapping {}
// SAFETY: as above: there is no way to write to it.
unsafe impl Sync for Mapping {}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::{AsFd, AsRawFd};
    use std::ptr::null_mut;

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
    fn one_whose_pages_somebody_holds_is_copied() {
        let mut file = create().unwrap();
        file.write_all(&[7; 100_000]).unwrap();
        // A pipe holds what is spliced into it, until it is read.
        let (holds, end) = nix::unistd::pipe().unwrap();
        let mut first = 0;
        // SAFETY: both are open, and the kernel writes nothing but the place it has come to.
        let spliced =
            unsafe { libc::splice(file.as_raw_fd(), &mut first, end.as_raw_fd(), null_mut(), 1, 0) };
        assert_eq!(spliced, 1);
        let fd = seal(file).unwrap();
        let seals = SealFlag::from_bits_truncate(fcntl(&fd, FcntlArg::F_GET_SEALS).unwrap());
        assert!(!seals.contains(SealFlag::F_SEAL_WRITE), "{seals:?}");
        let parcel = Parcel::open(fd.as_fd(), 100_000).unwrap();
        assert!(matches!(parcel.0, Bytes::Copied(_)));
        assert!(parcel.bytes().len() == 100_000 && parcel.bytes().iter().all(|byte| *byte == 7));
        assert!(nix::unistd::write(&fd, b"x").is_err());
        assert!(nix::unistd::ftruncate(&fd, 1).is_err());
        drop(holds);
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
