//! A unix socket's file: made, found stale, removed. Never taken from somebody who answers on it.
//!
//! Who makes or removes one has the lock of its directory (flock(2)) meanwhile, so that of two that start at once one
//! finds the other listening. Renaming a new socket over the old one would take it from whoever has come first; a lock
//! file would be left behind for good.
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{self, Flock, FlockArg, OFlag};
use nix::libc::O_DIRECTORY;
use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::conn::listen::backlog::Backlog;
use crate::conn::listen::uds::Uds;
use crate::conn::listen::{Opened, Place};
use crate::error::StartError;

/// The longest path that fits into an address, less its final zero (unix(7), `sun_path`).
const LONGEST: usize = 107;
/// How long another may have the directory's lock. Its holders keep it for less than a millisecond.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The file of a socket that this process has made. Dropped, it is removed, if it is still that one; in a process that
/// was forked meanwhile nothing happens.
///
/// Drop it BEFORE the socket: its inode's number is another file's once nobody has it open.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    made_by: u32,
}

/// Makes the socket of a path and listens on it.
pub(super) fn open(uds: &Uds, backlog: Backlog) -> Result<Opened, StartError> {
    let path = uds.absolute();
    let failed = |what| failing(&path, what);
    if uds.mode.is_some_and(|mode| mode > 0o777) {
        return Err(failed("its mode is more than 0o777 (is it written in octal?)")(Errno::EINVAL.into()));
    }
    let directory = Directory::lock(&path)?;
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::UNIX, kind, None).map_err(failed("cannot make a socket"))?;
    if let Some(mode) = uds.mode {
        // BEFORE it is bound: the file is made with these permissions, less the umask.
        fchmod(&socket, Mode::from_bits_truncate(mode))
            .map_err(|err| failed("cannot set its mode")(err.into()))?;
    }
    let addr = directory.address(&path)?;
    match socket.bind(&addr) {
        Err(err) if err.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(&path, &addr)?;
            socket.bind(&addr).map_err(unbindable(&path))?;
        }
        other => other.map_err(unbindable(&path))?,
    }
    let file = SocketFile::of(&path).map_err(failed("cannot look at the socket"))?;
    // Owner and mode BEFORE anybody can connect.
    let done = file
        .give_away(uds)
        .and_then(|()| socket.listen(backlog.for_kernel()).map_err(failed("cannot listen")));
    // BEFORE the file is, where it is of no use: to remove it takes the lock.
    drop(directory);
    done?;
    Ok(Opened { listener: socket.into(), place: Place::Unix(path), file: Some(file), backlog: Some(backlog) })
}

/// A socket's directory, locked.
struct Directory {
    lock: Flock<File>,
}

impl Directory {
    fn lock(path: &Path) -> Result<Self, StartError> {
        let failed = |what| failing(path, what);
        let (Some(parent), Some(_)) = (path.parent(), path.file_name()) else {
            return Err(failed("it is no path of a file")(Errno::EINVAL.into()));
        };
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(O_DIRECTORY)
            .open(parent)
            .map_err(failed("cannot open its directory: make it, and let this user read and write it"))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Self { lock }),
                Err((back, Errno::EAGAIN)) if Instant::now() < deadline => file = back,
                Err((_, err)) => {
                    return Err(failed("cannot lock its directory, which somebody keeps locked")(err.into()));
                }
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// The path as an address. One that is too long is reached through this directory's descriptor.
    fn address(&self, path: &Path) -> Result<SockAddr, StartError> {
        if path.as_os_str().len() <= LONGEST {
            return SockAddr::unix(path).map_err(failing(path, "it is no path"));
        }
        let name = path.file_name().unwrap_or(OsStr::new(""));
        let short = Path::new(&format!("/proc/self/fd/{}", self.as_fd().as_raw_fd())).join(name);
        if short.as_os_str().len() > LONGEST {
            return Err(StartError::NameTooLong { path: path.display().to_string() });
        }
        SockAddr::unix(short).map_err(failing(path, "it is no path"))
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }
}

/// Removes what an earlier run has left. What is no socket, or is one on which somebody answers, stays.
fn remove_stale(path: &Path, addr: &SockAddr) -> Result<(), StartError> {
    let failed = |what| failing(path, what);
    let there = match fs::symlink_metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed("cannot look at what is there"))?,
    };
    if !there.file_type().is_socket() {
        return Err(StartError::NotASocket { path: path.display().to_string(), found: kind_of(&there) });
    }
    let asking = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)
        .map_err(failed("cannot make a socket"))?;
    match asking.connect(addr).map_err(|err| Errno::from_raw(err.raw_os_error().unwrap_or(0))) {
        Err(Errno::ECONNREFUSED) => {}
        Err(Errno::ENOENT) => return Ok(()),
        Err(err @ (Errno::EACCES | Errno::EPERM)) => {
            return Err(
                failed("a socket is there, and this user cannot ask whether somebody answers on it")(
                    err.into(),
                ),
            );
        }
        // A full queue (EAGAIN) is somebody's, and so is a socket of another type (EPROTOTYPE).
        Ok(()) | Err(_) => return Err(StartError::AddressInUse { addr: format!("unix:{}", path.display()) }),
    }
    // Who does not heed the lock may have come in between.
    if SocketFile::is_at(path, identity(&there)) {
        fs::remove_file(path).map_err(failed("cannot remove the socket that an earlier run has left"))?;
    }
    Ok(())
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let identity = identity(&fs::symlink_metadata(path)?);
        Ok(Self { path: path.to_owned(), identity, made_by: std::process::id() })
    }

    fn is_at(path: &Path, file: (u64, u64)) -> bool {
        fs::symlink_metadata(path).is_ok_and(|there| identity(&there) == file)
    }

    /// Sets owner and mode, of this very file, whatever has become of the path.
    fn give_away(&self, uds: &Uds) -> Result<(), StartError> {
        if (uds.mode, uds.uid, uds.gid) == (None, None, None) {
            return Ok(());
        }
        let failed = |what| failing(&self.path, what);
        // Not by `OpenOptions`: with musl it takes O_PATH for a way of access, and leaves it out.
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let held = fcntl::open(&self.path, flags, Mode::empty())
            .map(File::from)
            .map_err(io::Error::from)
            .and_then(|held| Ok((identity(&held.metadata()?) == self.identity).then_some(held)))
            .map_err(failed("cannot open the socket's file"))?;
        let Some(held) = held else {
            return Err(failed("somebody has replaced it")(Errno::ESTALE.into()));
        };
        let held_path = format!("/proc/self/fd/{}", held.as_raw_fd());
        // BEFORE the mode: a change of owner may take bits away (chown(2)).
        if uds.uid.is_some() || uds.gid.is_some() {
            chown(&held_path, uds.uid, uds.gid).map_err(failed("cannot give it to its owner and group"))?;
        }
        if let Some(mode) = uds.mode {
            fs::set_permissions(&held_path, fs::Permissions::from_mode(mode))
                .map_err(failed("cannot set its mode"))?;
        }
        Ok(())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.made_by != std::process::id() {
            return;
        }
        // A successor makes its own meanwhile, or has done so. Without the lock it is left: the next start replaces it.
        if let Ok(_directory) = Directory::lock(&self.path)
            && Self::is_at(&self.path, self.identity)
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

fn kind_of(file: &Metadata) -> &'static str {
    let kind = file.file_type();
    match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_file() => "a regular file",
        () => "a device",
    }
}

/// For `map_err`: what could not be done about a path.
fn failing(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> StartError + use<> {
    let path = path.display().to_string();
    move |source| StartError::SocketFile { path, what, source }
}

fn unbindable(path: &Path) -> impl FnOnce(io::Error) -> StartError {
    move |source| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressInUse { addr: format!("unix:{}", path.display()) },
        _ => failing(path, "cannot make the socket: its directory must let this user write")(source),
    }
}

#[cfg(test)]
mod tests;
