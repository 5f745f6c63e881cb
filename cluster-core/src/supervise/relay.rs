//! Standard error of processes that cannot pass it on themselves: before their sentinel runs, after their end, and
//! of a fork server.
use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

use crate::event::voice;
use crate::tail::CHUNK;

/// Passes on one piece of a process's standard error; waits neither to read nor to write. The last of it is
/// kept in `words`.
pub(super) fn relay(from: &AsyncFd<OwnedFd>, words: &mut Vec<u8>) -> io::Result<usize> {
    let mut chunk = [0; CHUNK];
    let read = nix::unistd::read(from.get_ref(), &mut chunk)?;
    write_if_room(&chunk[..read]);
    words.extend_from_slice(&chunk[..read]);
    words.drain(..words.len().saturating_sub(2 * CHUNK));
    Ok(read)
}

/// Writes to the real standard error what it takes without waiting.
pub(super) fn write_if_room(bytes: &[u8]) {
    if let Some(voice) = voice() {
        let _ = voice.write(bytes);
    }
}
