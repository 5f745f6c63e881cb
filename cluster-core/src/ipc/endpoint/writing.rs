//! What waits for the socket to the primary, and the task that writes it.
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use crate::ipc::backlog::SharedParcel;
use crate::ipc::endpoint::{Endpoint, Inner, Way};
use crate::ipc::outbox::Outbox;
use crate::sys::{readiness, stream};

/// How long to leave a socket alone that has room and takes nothing.
const REFUSED: Duration = Duration::from_millis(10);

/// How writing what waits has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    All,
    /// There is no more room.
    Full,
    /// Not for want of room: too many descriptors are on their way (unix(7), ETOOMANYREFS), or there is no
    /// memory.
    Refused,
    /// Nobody will read it.
    Gone,
}

impl Written {
    pub(super) fn after(err: Errno) -> Self {
        match err {
            Errno::EAGAIN => Written::Full,
            Errno::EPIPE | Errno::ECONNRESET => Written::Gone,
            _ => Written::Refused,
        }
    }
}

impl Endpoint {
    /// The task that writes what the socket did not take at first, or what can go together.
    pub(super) async fn write(self, socket: Arc<OwnedFd>) {
        loop {
            self.inner.stalled.notified().await;
            loop {
                let written = self.inner.write(&mut self.outbox());
                match written {
                    Written::All => break,
                    Written::Full => {
                        if readiness::writable(socket.as_fd()).await.is_err() {
                            // This process may open no more descriptors, and waiting takes one.
                            tokio::time::sleep(REFUSED).await;
                        }
                    }
                    // The socket has room, and does not say when it will take this.
                    Written::Refused => tokio::time::sleep(REFUSED).await,
                    // The reading task sees it too, and tells all who wait.
                    Written::Gone => return,
                }
            }
            self.inner.flushed.notify_waiters();
            if self.outbox().some_wait_on() {
                // Those who were offered room first.
                tokio::task::yield_now().await;
                let mut outbox = self.outbox();
                outbox.offer_again();
                if outbox.some_wait_on() {
                    self.inner.stalled.notify_one();
                }
            }
        }
    }
}

impl Inner {
    pub(super) fn write(&self, outbox: &mut Outbox) -> Written {
        let Way::Socket(socket) = &self.way else { return Written::All };
        let mut short = Written::Full;
        let all = outbox.write(&mut |bytes, parcel| {
            let fd = parcel.map(|parcel| parcel.as_fd());
            stream::write(socket.as_fd(), bytes, fd).unwrap_or_else(|err| {
                short = Written::after(err);
                0
            })
        });
        if all { Written::All } else { short }
    }
}

/// Writes without waiting: how much was taken. Why not all of it was, the writing task finds out.
pub(super) fn write(socket: &OwnedFd, bytes: &[u8], parcel: Option<&SharedParcel>) -> usize {
    stream::write(socket.as_fd(), bytes, parcel.map(|parcel| parcel.as_fd())).unwrap_or(0)
}
