//! The epoll set in which the current Tokio runtime waits, for a descriptor that must wait exclusively.
//!
//! Tokio registers descriptors without EPOLLEXCLUSIVE and has no way to ask for it. What it registers is an eventfd of
//! ours; its epoll set, and the number under which the eventfd is known there, are in `/proc/self/fdinfo` (proc(5)). A
//! listener that is added to that set under the same number wakes whoever waits for the eventfd.
//!
//! None of that is promised by anybody: where it is not found, callers do without.
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::io::unix::AsyncFd;

use crate::sys::descriptors::peek;
use crate::sys::readiness;

/// Descriptors with higher numbers are not looked at: a runtime's own are among the first of a process.
const FEW: RawFd = 1024;

/// A place in the runtime's epoll set. Whatever is in there is taken out before the place is given up.
pub(crate) struct Reactor<F: AsFd> {
    set: Epoll,
    /// The number of `ready` in the set.
    token: u64,
    /// In the set.
    waited_for: Vec<F>,
    // LAST, so that it is dropped last: Tokio may free what the number stands for once this is gone.
    ready: AsyncFd<Arc<EventFd>>,
}

impl<F: AsFd> Reactor<F> {
    /// Finds the set of the current runtime.
    ///
    /// # Errors
    /// It is not found, or the process is out of descriptors.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub(crate) fn find() -> io::Result<Self> {
        let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let number = eventfd.as_fd().as_raw_fd();
        let ready = readiness::watch_reading(Arc::new(eventfd))?;
        let (set, token) = find(number)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            set: Epoll(peek(set, |fd| fd.try_clone_to_owned())?),
            token,
            waited_for: Vec::new(),
            ready,
        })
    }

    /// Waits for a descriptor, at the tail of those who wait for it exclusively. It is told once for each time that it
    /// becomes readable, and at once where it is.
    pub(crate) fn add(&mut self, fd: F) -> io::Result<()> {
        // Edge-triggered: nobody may be there to take it for a while, and the runtime must not spin meanwhile.
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE | EpollFlags::EPOLLET;
        self.set.add(fd.as_fd(), EpollEvent::new(flags, self.token))?;
        self.waited_for.push(fd);
        Ok(())
    }

    /// Waits for nothing more.
    pub(crate) fn clear(&mut self) {
        for fd in self.waited_for.drain(..) {
            // It cannot fail: the descriptor is open, because it is owned here, and in the set.
            let _ = self.set.delete(fd.as_fd());
        }
    }

    /// Whether nothing is waited for.
    pub(crate) fn is_clear(&self) -> bool {
        self.waited_for.is_empty()
    }

    /// Resolves when one of the descriptors may be readable.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.ready.poll_read_ready(cx) {
            Poll::Ready(Ok(mut ready)) => {
                ready.clear_ready();
                Poll::Ready(())
            }
            // The runtime shuts down: nobody will be woken again.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

impl<F: AsFd> Drop for Reactor<F> {
    /// BEFORE `ready` goes: an event with its number would then mean memory that Tokio has freed.
    fn drop(&mut self) {
        self.clear();
    }
}

/// The descriptor of the epoll set that has `wanted` in it, and under which number.
fn find(wanted: RawFd) -> io::Result<Option<(RawFd, u64)>> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let number = entry.ok().and_then(|entry| entry.file_name().to_str()?.parse().ok());
        let Some(number) = number.filter(|number| *number <= FEW) else { continue };
        let kind = fs::read_link(format!("/proc/self/fd/{number}")).unwrap_or_default();
        if kind.as_os_str() != "anon_inode:[eventpoll]" {
            continue;
        }
        // One that was closed meanwhile is not it.
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        if let Some(token) = info.lines().find_map(|line| token_of(line, wanted)) {
            return Ok(Some((number, token)));
        }
    }
    Ok(None)
}

/// The number in a line like `tfd:        7 events:       19 data:     55d3c0a81e80  pos:0 ino:b sdev:9`.
fn token_of(line: &str, wanted: RawFd) -> Option<u64> {
    let mut words = line.split_whitespace();
    let (Some("tfd:"), Some(number)) = (words.next(), words.next()) else { return None };
    if number.parse::<RawFd>() != Ok(wanted) {
        return None;
    }
    words.find(|word| *word == "data:")?;
    u64::from_str_radix(words.next()?, 16).ok()
}

impl<F: AsFd> AsFd for Reactor<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.set.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_number_is_read_from_a_line_of_proc() {
        let line = "tfd:        7 events:       19 data:     55d3c0a81e80  pos:0 ino:b sdev:9";
        assert_eq!(token_of(line, 7), Some(0x55d3_c0a8_1e80));
        for other in ["pos:\t0", "tfd:        7 events:       19", "tfd:        8 events: 19 data: 1", ""] {
            assert_eq!(token_of(other, 7), None, "{other}");
        }
    }

    /// In both kinds of runtime.
    fn in_runtimes<T: Future<Output = ()>>(test: impl Fn() -> T) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(test());
    }

    #[test]
    fn what_becomes_readable_wakes_the_runtime() {
        in_runtimes(async || {
            let mut reactor = Reactor::find().unwrap();
            let (reader, mut writer) = io::pipe().unwrap();
            reactor.add(reader).unwrap();
            let thread = std::thread::spawn(move || writer.write_all(b"x").map(|()| writer).unwrap());
            poll_fn(|cx| reactor.poll_ready(cx)).await;
            drop(thread.join());
        });
    }

    #[test]
    fn what_is_readable_already_is_told_once_for_each_time_that_it_is_added() {
        in_runtimes(async || {
            let mut reactor = Reactor::find().unwrap();
            let (reader, mut writer) = io::pipe().unwrap();
            writer.write_all(b"x").unwrap();
            for _ in 0..3 {
                reactor.add(reader.try_clone().unwrap()).unwrap();
                poll_fn(|cx| reactor.poll_ready(cx)).await;
                let again =
                    tokio::time::timeout(Duration::from_millis(20), poll_fn(|cx| reactor.poll_ready(cx)));
                assert!(again.await.is_err(), "the runtime does not spin");
                reactor.clear();
            }
        });
    }
}
