//! How this program was started, noted before `main`: main may change directory and file mode mask, and a
//! program executed again shall find them as the first one did.
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use nix::libc;

/// Directory (empty where it cannot be named, because it was removed) and umask.
static START: OnceLock<(PathBuf, libc::mode_t)> = OnceLock::new();

/// Run by the loader, before `main` and before there can be a second thread.
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE: extern "C" fn() = {
    extern "C" fn note() {
        START.get_or_init(look);
    }
    note
};

fn look() -> (PathBuf, libc::mode_t) {
    let mut path = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is as long as we say.
    let named = !unsafe { libc::getcwd(path.as_mut_ptr().cast(), path.len()) }.is_null();
    path.truncate(if named { path.iter().position(|byte| *byte == 0).unwrap_or(0) } else { 0 });
    // SAFETY: umask(2) cannot fail; nothing creates a file between the two calls, for there is one thread.
    let mask = unsafe {
        let mask = libc::umask(0o077);
        libc::umask(mask);
        mask
    };
    (PathBuf::from(OsString::from_vec(path)), mask)
}

/// The directory that the program was started in, if it has a name.
pub(crate) fn directory() -> Option<PathBuf> {
    START.get().map(|(path, _)| path.clone()).filter(|path| !path.as_os_str().is_empty())
}

/// The file mode mask that the program was started with, if it was noted.
pub(crate) fn mask() -> Option<u32> {
    START.get().map(|(_, mask)| *mask)
}

/// Sets the file mode mask. Async-signal-safe.
pub(crate) fn set_mask(mask: u32) {
    // SAFETY: umask(2) sets one number and cannot fail.
    unsafe { libc::umask(mask) };
}
