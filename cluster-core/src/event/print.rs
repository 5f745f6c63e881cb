//! Lines about what happens: to the tracing subscriber, or where there is none to standard error.
use std::os::fd::AsFd;
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::errno::Errno;

use crate::sys::voice::Voice;
use crate::tail::CHUNK;

/// Something that is as it should be.
pub(crate) fn inform(line: &str) {
    if has_subscriber() { tracing::info!(target: "cluster", "{line}") } else { print(line) }
}

/// Something that somebody should know.
pub(crate) fn warn(line: &str) {
    if has_subscriber() { tracing::warn!(target: "cluster", "{line}") } else { print(line) }
}

fn has_subscriber() -> bool {
    tracing::dispatcher::has_been_set()
}

/// The name before each line.
static NAME: OnceLock<String> = OnceLock::new();

/// Gives the lines of this process, and of those it forks, a name of the user's.
pub(crate) fn speak_as(name: Option<&str>) {
    if let Some(name) = name {
        let _ = NAME.set(name.to_owned());
    }
}

/// Lines that standard error has not taken yet. It is never waited for: supervision goes on whether or not
/// somebody reads.
static UNREAD: Mutex<Unread> = Mutex::new(Unread { bytes: Vec::new(), lost: 0 });
/// More than this is not kept.
const MOST_UNREAD: usize = 64 * 1024;

struct Unread {
    bytes: Vec<u8>,
    /// Lines that did not fit.
    lost: u64,
}

/// One line on standard error.
fn print(line: &str) {
    let name = NAME.get().map_or("cluster", String::as_str);
    let mut unread = UNREAD.lock().unwrap_or_else(PoisonError::into_inner);
    unread.add(name, line);
    let Some(voice) = voice() else { return };
    while !unread.bytes.is_empty() {
        // A pipe takes so much whole or not at all, so that lines of several processes do not mix (pipe(7)).
        let chunk = unread.bytes.len().min(CHUNK);
        match voice.write(&unread.bytes[..chunk]) {
            Ok(written) => drop(unread.bytes.drain(..written)),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return,
            // Nobody will ever read it.
            Err(_) => unread.bytes.clear(),
        }
    }
}

/// This process's standard error, never waited for.
pub(crate) fn voice() -> Option<&'static Voice> {
    static VOICE: OnceLock<Option<Voice>> = OnceLock::new();
    VOICE.get_or_init(|| std::io::stderr().as_fd().try_clone_to_owned().ok().map(Voice::of)).as_ref()
}

impl Unread {
    fn add(&mut self, name: &str, line: &str) {
        if self.bytes.len() + line.len() > MOST_UNREAD {
            self.lost += 1;
            return;
        }
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            self.bytes.extend(format!("{name}: {lost} lines are lost: nobody read them\n").bytes());
        }
        self.bytes.extend(format!("{name}: {line}\n").bytes());
    }
}
