//! Takes connections, until the worker drains.
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::time::Sleep;

use crate::conn::appetite::Appetite;
use crate::conn::connection::Connection;
use crate::conn::exhaustion::{self, PAUSE};
use crate::conn::relay::Relay;
use crate::conn::shared::doorbell::Answer;
use crate::conn::shared::queue::{Left, Look};
use crate::conn::source::Source;
use crate::worker::{Draining, Worker};

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
    source: Source,
    /// What wakes it while it waits for a connection passes through this, where there is one.
    relay: Option<Relay>,
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
    /// It waits until the runtime has looked for events. The first request of that connection is one: until it is
    /// heard nobody knows for how long this loop will be busy.
    LooksUp,
    /// It waits until the loop's other tasks have had a turn: those of the connection that it has handed out.
    ComesRound,
    /// It has left a connection to another worker, for a moment.
    Leaves,
}

impl Acceptor {
    pub(crate) fn new(worker: Worker, source: Source) -> Self {
        let draining = worker.draining();
        let relay = Relay::of_this_runtime();
        Self {
            worker,
            draining,
            source,
            relay,
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
            return self.source.leave(self.worker.closes_queue(), cx);
        }
        match self.relay.take() {
            Some(relay) => {
                let polled = self.poll_source(&mut Context::from_waker(relay.waker(cx)));
                self.relay = Some(relay);
                polled
            }
            None => self.poll_source(cx),
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Connection>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        loop {
            // Then the look itself tells whether somebody waits.
            let looks_unasked = self.turn == Turn::ComesRound && self.takes_what_there_is();
            let looks = match self.turn {
                Turn::HasTaken if self.appetite.takes_another() && self.source.may_take(cx) => true,
                Turn::HasTaken if self.source.is_fast() => {
                    self.turn = Turn::ComesRound;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Turn::HasTaken => {
                    self.turn = Turn::LooksUp;
                    wake_after_events(cx);
                    return Poll::Pending;
                }
                // Not at once: the future that `main` waits for is polled BEFORE the tasks that events have woken.
                Turn::LooksUp => {
                    self.turn = Turn::ComesRound;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Turn::ComesRound => self.come_round(cx),
                Turn::Waits => match self.source.wait(&self.appetite, cx) {
                    // Where nobody waits any more there is nothing to leave to others.
                    Ok(Answer::Rung) if self.source.is_turn() || !self.source.somebody_waits() => true,
                    Ok(Answer::Rung) => self.leave_one(true),
                    Ok(Answer::Wait) => return Poll::Pending,
                    Err(err) => return self.rest(&err, cx),
                },
                Turn::Leaves => {
                    let left = ready!(self.source.poll_left(cx));
                    self.turn = Turn::Waits;
                    left == Left::Ours && self.source.may_take(cx)
                }
            };
            if looks {
                match self.source.look() {
                    Look::Taken(connection) => {
                        self.turn = Turn::HasTaken;
                        if looks_unasked {
                            self.appetite.saw(true);
                        }
                        self.appetite.took();
                        return Poll::Ready(Some(connection));
                    }
                    Look::Full => self.turn = Turn::Waits,
                    Look::Empty => {
                        self.turn = Turn::Waits;
                        self.appetite.saw(false);
                    }
                    Look::Exhausted(err) => return self.rest(&err, cx),
                }
            }
        }
    }

    /// The loop's other tasks have had a turn: whether to look for another connection at once.
    fn come_round(&mut self, cx: &mut Context<'_>) -> bool {
        self.appetite.come_round();
        self.turn = Turn::Waits;
        if self.takes_what_there_is() {
            return self.source.may_take(cx);
        }
        let somebody_waits = self.source.somebody_waits();
        self.appetite.saw(somebody_waits);
        // Not through the wait set, where that costs the connection time and nobody else wants it.
        somebody_waits && self.source.may_take(cx) && (self.source.is_turn() || self.leave_one(false))
    }

    /// Whether it looks into the queue without asking first whether somebody waits, and whose turn it is.
    fn takes_what_there_is(&self) -> bool {
        self.appetite.is_saturated() || self.source.is_fast_for_all()
    }

    /// Leaves a connection to another worker; true where that cannot be.
    fn leave_one(&mut self, was_woken: bool) -> bool {
        let left = self.source.leave_one(was_woken).is_ok();
        if left {
            self.turn = Turn::Leaves;
        }
        !left
    }

    /// Leaves the queue alone for a moment.
    fn rest(&mut self, why: &io::Error, cx: &mut Context<'_>) -> Poll<Option<Connection>> {
        exhaustion::warn(why);
        self.source.rest();
        let mut pause = Box::pin(tokio::time::sleep(PAUSE));
        if pause.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.pause = Some(pause);
        Poll::Pending
    }
}

/// Wakes the task when its runtime has looked for events.
fn wake_after_events(cx: &mut Context<'_>) {
    // It leaves the waker with the scheduler when it is polled for the first time, and is needed no more then.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("worker", &self.worker).finish_non_exhaustive()
    }
}
