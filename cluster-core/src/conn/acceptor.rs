//! Takes connections from the shared accept queue, until the worker drains.
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep};

use crate::conn::connection::Connection;
use crate::conn::socket::{self, Incoming, ListeningSocket};
use crate::ipc::control::Queue;
use crate::sys::readiness;
use crate::worker::{Draining, Worker};

/// How long an acceptor that is out of descriptors leaves the queue alone.
const PAUSE: Duration = Duration::from_millis(50);
/// How often it says so.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// Accepts connections on one listener of the cluster.
///
/// The queue belongs to all workers: what this one does not accept, because it is busy, draining or dead,
/// another takes.
///
/// # Example
/// ```no_run
/// use cluster_core::Cluster;
/// Cluster::builder().bind("echo", "127.0.0.1:7000").worker(|worker| async move {
///     let mut acceptor = worker.acceptor("echo")?;
///     while let Some(connection) = acceptor.accept().await {
///         worker.spawn(async move {
///             let (mut read, mut write) = tokio::io::split(connection);
///             tokio::io::copy(&mut read, &mut write).await.ok();
///         });
///     }
///     Ok(()) // draining: nothing more comes, and what was spawned is waited for
/// });
/// ```
pub struct Acceptor {
    worker: Worker,
    draining: Draining,
    /// Empty once the worker drains.
    listeners: Vec<AsyncFd<ListeningSocket>>,
    /// The listener to ask first, so that none starves.
    first: usize,
    pause: Option<Pin<Box<Sleep>>>,
}

/// What to do about a failed accept.
enum Trouble {
    /// It concerns that connection alone (accept(2), "Error handling").
    OneConnection,
    /// No descriptor or memory: wait for some to become free.
    Exhausted(io::Error),
    /// The socket is no listener any more: the primary is gone and its queue was closed.
    Closed,
}

impl Acceptor {
    pub(crate) fn new(worker: Worker, listeners: Vec<ListeningSocket>) -> io::Result<Self> {
        let draining = worker.draining();
        let listeners = listeners.into_iter().map(readiness::watch_reading).collect::<io::Result<_>>()?;
        Ok(Self { worker, draining, listeners, first: 0, pause: None })
    }

    /// The next connection; `None` once the worker drains. Cancel-safe.
    ///
    /// The first call makes the worker ready, unless it was told to wait for [`Worker::ready`].
    pub async fn accept(&mut self) -> Option<Connection> {
        self.worker.listening();
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Connection>> {
        if Pin::new(&mut self.draining).poll(cx).is_ready() {
            return Poll::Ready(self.leave());
        }
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let mut asked = 0;
        while asked < self.listeners.len() {
            let at = (self.first + asked) % self.listeners.len();
            let accepted = poll_accept(&self.listeners[at], cx)
                .map(|accepted| accepted.and_then(|incoming| self.connection(incoming)));
            let trouble = match accepted {
                Poll::Pending => {
                    asked += 1;
                    continue;
                }
                Poll::Ready(Ok(connection)) => {
                    self.first = at + 1;
                    return Poll::Ready(Some(connection));
                }
                Poll::Ready(Err(err)) => Trouble::of(err),
            };
            match trouble {
                Trouble::OneConnection => {}
                Trouble::Closed => drop(self.listeners.swap_remove(at)),
                Trouble::Exhausted(err) => {
                    warn_exhausted(&err);
                    let mut pause = Box::pin(tokio::time::sleep(PAUSE));
                    let waiting = pause.as_mut().poll(cx).is_pending();
                    self.pause = waiting.then_some(pause);
                    return Poll::Pending;
                }
            }
        }
        Poll::Pending
    }

    fn connection(&self, incoming: Incoming) -> io::Result<Connection> {
        Connection::new(incoming, self.worker.page())
    }

    /// Leaves the queue to the others. Where the cluster ends, or its primary is gone, there will soon be no
    /// others: then what is queued is served first, and the queue is closed, so that new clients are refused
    /// at once and a successor can bind. What waits for a socket that is lent is its next user's.
    fn leave(&mut self) -> Option<Connection> {
        while self.worker.closes_queue()
            && let Some(listener) = self.listeners.last()
        {
            let accepted = match listener.get_ref().queue() {
                Queue::Ours => socket::accept(listener.get_ref().as_fd()),
                Queue::Lent => Err(Errno::EAGAIN.into()),
            };
            match accepted {
                Ok(incoming) => {
                    if let Ok(connection) = self.connection(incoming) {
                        return Some(connection);
                    }
                }
                Err(err) if matches!(Trouble::of_ref(&err), Some(Trouble::OneConnection)) => {}
                Err(_) => {
                    listener.get_ref().shut_down();
                    self.listeners.pop();
                }
            }
        }
        self.listeners.clear();
        None
    }
}

/// The next connection in the queue.
fn poll_accept(listener: &AsyncFd<ListeningSocket>, cx: &mut Context<'_>) -> Poll<io::Result<Incoming>> {
    loop {
        let mut ready = std::task::ready!(listener.poll_read_ready(cx))?;
        // Otherwise somebody else has taken it.
        if let Ok(accepted) = ready.try_io(|listener| socket::accept(listener.as_fd())) {
            return Poll::Ready(accepted);
        }
    }
}

impl Trouble {
    fn of(err: io::Error) -> Self {
        Self::of_ref(&err).unwrap_or(Trouble::Exhausted(err))
    }

    fn of_ref(err: &io::Error) -> Option<Self> {
        match Errno::from_raw(err.raw_os_error().unwrap_or(0)) {
            Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => None,
            Errno::EINVAL | Errno::EBADF | Errno::ENOTSOCK => Some(Trouble::Closed),
            Errno::EAGAIN => None,
            _ => Some(Trouble::OneConnection),
        }
    }
}

/// At most once per second in this process: there is one message in it, however many connections wait.
fn warn_exhausted(err: &io::Error) {
    static LAST: AtomicU64 = AtomicU64::new(0);
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let now = START.get_or_init(Instant::now).elapsed().as_millis() as u64 + WARN_EVERY.as_millis() as u64;
    let last = LAST.load(Ordering::Relaxed);
    if now.saturating_sub(last) >= WARN_EVERY.as_millis() as u64
        && LAST.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    {
        crate::event::warn(&format!("cannot accept connections for now: {err}; they wait in the queue"));
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}
