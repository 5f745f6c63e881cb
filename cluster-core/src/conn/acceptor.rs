//! Takes connections, until the worker drains.
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::time::{Instant, Sleep};

use crate::conn::appetite::Appetite;
use crate::conn::connection::Connection;
use crate::conn::doorbell::{Answer, Chair, Door};
use crate::conn::socket::{self, ListeningSocket};
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
    /// Its place at the door; none once the worker drains.
    chair: Option<Chair>,
    /// Empty once the worker drains.
    listeners: Vec<Arc<ListeningSocket>>,
    /// The listener to ask first, so that none starves.
    first: usize,
    turn: Turn,
    appetite: Appetite,
    pause: Option<Pin<Box<Sleep>>>,
}

/// What an acceptor does next when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It waits at the door.
    Waits,
    /// It has handed a connection out.
    HasTaken,
    /// It waits until the loop's other tasks have had a turn: those of the connection that it has handed out.
    ComesRound,
}

/// What came of a look into the queue.
enum Look {
    Taken(Connection),
    Empty,
    /// Out of descriptors or memory.
    Exhausted(io::Error),
}

/// What to do about a failed accept.
enum Trouble {
    /// Nobody waits.
    Empty,
    /// It concerns that connection alone (accept(2), "Error handling").
    OneConnection,
    /// No descriptor or memory: wait for some to become free.
    Exhausted(io::Error),
    /// The socket is no listener any more: the primary is gone and its queue was closed.
    Closed,
}

impl Acceptor {
    pub(crate) fn new(worker: Worker, door: Arc<Door>, listeners: Vec<Arc<ListeningSocket>>) -> Self {
        let draining = worker.draining();
        let chair = Some(Door::sit(&door, listeners.clone()));
        Self {
            worker,
            draining,
            chair,
            listeners,
            first: 0,
            turn: Turn::Waits,
            appetite: Appetite::default(),
            pause: None,
        }
    }

    /// The next connection; `None` once the worker drains. Cancel-safe.
    ///
    /// The first call makes the worker ready, unless it was told to wait for [`Worker::ready`]. Between two calls
    /// other tasks have a turn, so that a worker takes no more than it gets done.
    pub async fn accept(&mut self) -> Option<Connection> {
        self.worker.listening();
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Connection>> {
        if Pin::new(&mut self.draining).poll(cx).is_ready() {
            return Poll::Ready(self.leave());
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        loop {
            let Some(chair) = &self.chair else { return Poll::Ready(None) };
            let looks = match self.turn {
                Turn::HasTaken if self.appetite.takes_another() => true,
                Turn::HasTaken => {
                    self.turn = Turn::ComesRound;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Turn::ComesRound => {
                    self.appetite.come_round();
                    if !self.appetite.is_saturated() {
                        self.appetite.saw(self.somebody_waits());
                    }
                    self.turn = Turn::Waits;
                    self.appetite.is_saturated()
                }
                Turn::Waits => match chair.answer(cx.waker()) {
                    Ok(Answer::Rung) => true,
                    Ok(Answer::Wait) => return Poll::Pending,
                    Err(err) => return self.rest(&err, cx),
                },
            };
            if looks {
                match self.look() {
                    Look::Taken(connection) => {
                        self.turn = Turn::HasTaken;
                        self.appetite.took();
                        return Poll::Ready(Some(connection));
                    }
                    Look::Empty => {
                        self.turn = Turn::Waits;
                        self.appetite.saw(false);
                    }
                    Look::Exhausted(err) => return self.rest(&err, cx),
                }
            }
        }
    }

    /// Leaves the queue alone for a moment.
    fn rest(&mut self, why: &io::Error, cx: &mut Context<'_>) -> Poll<Option<Connection>> {
        warn_exhausted(why);
        let mut pause = Box::pin(tokio::time::sleep(PAUSE));
        if pause.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.pause = Some(pause);
        Poll::Pending
    }

    /// Takes the first connection that there is.
    fn look(&mut self) -> Look {
        let mut asked = 0;
        while asked < self.listeners.len() {
            let at = (self.first + asked) % self.listeners.len();
            match self.take_from(at) {
                Ok(connection) => {
                    self.first = at + 1;
                    return Look::Taken(connection);
                }
                Err(Trouble::Empty) => asked += 1,
                Err(Trouble::OneConnection) => {}
                Err(Trouble::Exhausted(err)) => return Look::Exhausted(err),
                Err(Trouble::Closed) => {
                    let closed = self.listeners.remove(at);
                    if let Some(chair) = &self.chair {
                        chair.forget(&closed);
                    }
                }
            }
        }
        Look::Empty
    }

    fn take_from(&self, at: usize) -> Result<Connection, Trouble> {
        let incoming = socket::accept(self.listeners[at].as_fd()).map_err(Trouble::of)?;
        Connection::new(incoming, self.worker.page()).map_err(Trouble::of)
    }

    /// Whether a connection waits in one of the queues.
    fn somebody_waits(&self) -> bool {
        let wanted = |listener: &'_ Arc<ListeningSocket>| PollFd::new(listener.as_fd(), PollFlags::POLLIN);
        let mut fds: Vec<PollFd<'_>> = self.listeners.iter().map(wanted).collect();
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Leaves the queue to the others. Where the cluster ends, or its primary is gone, there will soon be no
    /// others: then what is queued is served first, and the queue is closed, so that new clients are refused
    /// at once and a successor can bind.
    fn leave(&mut self) -> Option<Connection> {
        self.chair = None;
        while self.worker.closes_queue() && !self.listeners.is_empty() {
            match self.take_from(self.listeners.len() - 1) {
                Ok(connection) => return Some(connection),
                Err(Trouble::OneConnection) => {}
                Err(Trouble::Empty | Trouble::Exhausted(_) | Trouble::Closed) => {
                    if let Some(listener) = self.listeners.pop() {
                        listener.shut_down();
                    }
                }
            }
        }
        self.listeners.clear();
        None
    }
}

impl Trouble {
    fn of(err: io::Error) -> Self {
        match Errno::from_raw(err.raw_os_error().unwrap_or(0)) {
            Errno::EAGAIN => Trouble::Empty,
            Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => Trouble::Exhausted(err),
            Errno::EINVAL | Errno::EBADF | Errno::ENOTSOCK => Trouble::Closed,
            _ => Trouble::OneConnection,
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
