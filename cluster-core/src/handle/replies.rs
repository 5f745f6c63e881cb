//! Commands that were given, and the primary's replies to them.
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use tokio::sync::oneshot;

use crate::error::{CommandError, ReloadError};
use crate::id::PeerId;

/// A command that was given: resolves when it has happened, or says why it has not.
///
/// # Example
/// ```no_run
/// # async fn program(cluster: cluster_core::ClusterHandle) {
/// let scaled = cluster.scale(8);
/// if let Err(err) = scaled.await {
///     eprintln!("{err}");
/// }
/// # }
/// ```
#[derive(Debug)]
#[must_use = "await it, to learn when it has happened, or why not"]
pub struct Done {
    result: oneshot::Receiver<Result<(), CommandError>>,
}

impl Future for Done {
    type Output = Result<(), CommandError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(self.result.poll_unpin(cx)).unwrap_or(Err(CommandError::Gone)))
    }
}

/// A reload that was asked for: resolves when it is done, or says why it has changed nothing.
///
/// # Example
/// ```no_run
/// # async fn program(cluster: cluster_core::ClusterHandle) {
/// match cluster.reload().await {
///     Ok(()) => println!("all workers run the new program"),
///     Err(err) => eprintln!("{err}"),
/// }
/// # }
/// ```
#[derive(Debug)]
#[must_use = "await it, to learn when it is done, or why not"]
pub struct Reloading {
    result: oneshot::Receiver<Result<(), ReloadError>>,
}

impl Future for Reloading {
    type Output = Result<(), ReloadError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(self.result.poll_unpin(cx)).unwrap_or(Err(ReloadError::Gone)))
    }
}

/// Who waits for which reply.
#[derive(Debug)]
pub(super) struct Replies(Mutex<State>);

#[derive(Debug)]
struct State {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<(), CommandError>>>,
    reloading: HashMap<u64, oneshot::Sender<Result<(), ReloadError>>>,
    /// Nobody will reply any more.
    over: bool,
}

impl Replies {
    pub(super) fn new(me: PeerId) -> Self {
        // Ids of its own: an answer to a director's command may come to its successor.
        let last = match me {
            PeerId::Director(number) => number << 32,
            PeerId::Worker(_) => 0,
        };
        let (waiting, reloading) = (HashMap::new(), HashMap::new());
        Self(Mutex::new(State { last, waiting, reloading, over: false }))
    }

    /// A command is given: under this id, where somebody will reply.
    pub(super) fn expect(&self) -> (Option<u64>, Done) {
        let (reply, result) = oneshot::channel();
        let mut state = self.lock();
        let id = state.next();
        if let Some(id) = id {
            state.waiting.insert(id, reply);
        }
        (id, Done { result })
    }

    /// A reload is asked for: under this id, where somebody will reply.
    pub(super) fn expect_reload(&self) -> (Option<u64>, Reloading) {
        let (reply, result) = oneshot::channel();
        let mut state = self.lock();
        let id = state.next();
        if let Some(id) = id {
            state.reloading.insert(id, reply);
        }
        (id, Reloading { result })
    }

    pub(super) fn reloaded(&self, id: u64, result: Result<(), ReloadError>) {
        let reply = self.lock().reloading.remove(&id);
        if let Some(reply) = reply {
            let _ = reply.send(result);
        }
    }

    pub(super) fn replied(&self, id: u64, result: Result<(), CommandError>) {
        let reply = self.lock().waiting.remove(&id);
        if let Some(reply) = reply {
            let _ = reply.send(result);
        }
    }

    /// Nobody will reply any more: who waits is told so.
    pub(super) fn over(&self) {
        let mut state = self.lock();
        state.over = true;
        state.waiting.clear();
        state.reloading.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next id; none where nobody will reply.
    fn next(&mut self) -> Option<u64> {
        (!self.over).then(|| {
            self.last += 1;
            self.last
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_own_reply_and_none_is_waited_for_in_vain() {
        let replies = Replies::new(PeerId::Director(3));
        let (first, done_first) = replies.expect();
        let (second, done_second) = replies.expect();
        assert_eq!((first, second), (Some((3 << 32) + 1), Some((3 << 32) + 2)));
        replies.replied((3 << 32) + 2, Err(CommandError::NoWorkers));
        assert_eq!(done_second.now_or_never(), Some(Err(CommandError::NoWorkers)));
        // One to a predecessor's command.
        replies.replied((2 << 32) + 1, Ok(()));
        replies.over();
        assert_eq!(done_first.now_or_never(), Some(Err(CommandError::Gone)));
        let (none, done) = replies.expect();
        assert_eq!((none, done.now_or_never()), (None, Some(Err(CommandError::Gone))));
    }
}
