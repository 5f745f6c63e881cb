//! Shared memory in a sealed memfd, seen as one value of atomics.
use std::ffi::CStr;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU8;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mlock, mmap, munmap};

/// Types that two processes may share: any bit pattern is valid and all access is atomic.
///
/// # Safety
/// The type has only atomic integers (and arrays of them) as fields, with `repr(C)`.
pub(crate) unsafe trait Shared: Sync {}

// SAFETY: `repr(C)`, atomic integers only (see its definition).
unsafe impl Shared for crate::scoreboard::Page {}
// SAFETY: as above.
unsafe impl Shared for crate::conn::Rota {}
// SAFETY: as above.
unsafe impl Shared for crate::conn::Ledger {}
// SAFETY: as above.
unsafe impl Shared for crate::secret::SecretPage {}
// SAFETY: as above.
unsafe impl Shared for crate::counter::Table {}

/// A mapping of one `T` shared between processes.
pub(crate) struct Mapped<T: Shared> {
    at: NonNull<T>,
}

// SAFETY: `T: Shared` is only atomics, and the mapping lives as long as this value.
unsafe impl<T: Shared> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for Mapped<T> {}

impl<T: Shared> Mapped<T> {
    const LEN: NonZeroUsize = NonZeroUsize::new(size_of::<T>()).expect("a shared type has a size");

    /// Makes the memory, all zero, and seals its size: a peer that truncates it would kill its readers
    /// with SIGBUS (memfd_create(2), "File sealing").
    pub(crate) fn create(name: &CStr) -> nix::Result<(Self, OwnedFd)> {
        let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        nix::unistd::ftruncate(&fd, Self::LEN.get() as i64)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
        Ok((Self::map(fd.as_fd())?, fd))
    }

    /// As `create`, for what nobody else shall write, and for no file: neither swapped nor in a core dump, as far as limits
    /// allow that.
    pub(crate) fn create_for_readers(name: &CStr) -> nix::Result<(Self, OwnedFd)> {
        let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        nix::unistd::ftruncate(&fd, Self::LEN.get() as i64)?;
        let page = Self::map(fd.as_fd())?;
        // AFTER our own mapping: it forbids all later ones that could write (fcntl(2), F_SEAL_FUTURE_WRITE).
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_FUTURE_WRITE;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals | SealFlag::F_SEAL_SEAL))?;
        page.keep_from_disk();
        Ok((page, fd))
    }

    /// Maps memory that `create` made in another process.
    pub(crate) fn map(fd: BorrowedFd<'_>) -> nix::Result<Self> {
        Self::map_as(fd, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)
    }

    /// Maps memory that `create_for_readers` made in another process: a store to it would be a segmentation fault.
    pub(crate) fn map_to_read(fd: BorrowedFd<'_>) -> nix::Result<Self> {
        let page = Self::map_as(fd, ProtFlags::PROT_READ)?;
        page.keep_from_disk();
        Ok(page)
    }

    fn map_as(fd: BorrowedFd<'_>, access: ProtFlags) -> nix::Result<Self> {
        if nix::sys::stat::fstat(fd)?.st_size != Self::LEN.get() as i64 {
            return Err(Errno::EPROTO);
        }
        // SAFETY: a fresh mapping at an address of the kernel's choice; the size was just checked.
        let at = unsafe { mmap(None, Self::LEN, access, MapFlags::MAP_SHARED, fd, 0) }?;
        Ok(Self { at: at.cast() })
    }

    fn keep_from_disk(&self) {
        // SAFETY: the mapping is ours; neither call changes what is in it.
        let _ = unsafe { madvise(self.at.cast(), Self::LEN.get(), MmapAdvise::MADV_DONTDUMP) };
        // SAFETY: as above.
        let _ = unsafe { mlock(self.at.cast(), Self::LEN.get()) };
    }
}

impl<T: Shared> Deref for Mapped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: mapped, page-aligned, as long as T, and any bits are a valid T (`Shared`).
        unsafe { self.at.as_ref() }
    }
}

impl<T: Shared> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: ours alone; references to it cannot outlive this value.
        let _ = unsafe { munmap(self.at.cast(), Self::LEN.get()) };
    }
}

/// Reads once, straight into shared memory.
pub(crate) fn read(from: BorrowedFd<'_>, to: &[AtomicU8]) -> nix::Result<usize> {
    // SAFETY: the slice is valid for its length, and an AtomicU8 may be changed through a shared reference.
    // The kernel's copy is no atomic store, but whoever reads these bytes does so after this process has
    // counted them or has ended.
    let done = unsafe { libc::read(from.as_raw_fd(), to.as_ptr().cast_mut().cast(), to.len()) };
    Errno::result(done).map(|count| count as usize)
}
