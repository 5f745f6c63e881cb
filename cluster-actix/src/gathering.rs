//! Servers that are awaited together become one cluster: a program can be one only.
//!
//! Whoever is awaited first waits for the others that this process has made, for a moment: two futures of one `try_join`
//! are polled one after the other, and tasks soon. The same happens in each process in which `main` runs.
use std::future::IntoFuture as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use cluster_core::Running;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

use crate::plan::Plan;

/// So long is waited for a server that is there and that nobody awaits.
const PATIENCE: Duration = Duration::from_millis(100);

static HALL: Mutex<Hall> = Mutex::new(Hall { made: 0, idle: 0, waiting: Vec::new() });

/// The servers of this process.
struct Hall {
    /// So many there were.
    made: u64,
    /// So many are there that have not been awaited.
    idle: usize,
    waiting: Vec<Waiting>,
}

struct Waiting {
    number: u64,
    plan: Plan,
    begin: oneshot::Sender<Begun>,
}

/// A cluster that runs.
enum Begun {
    Alone(Running),
    /// Whoever of its servers is polled carries it on.
    Together(Shared<BoxFuture<'static, Result<(), Arc<io::Error>>>>),
}

fn hall() -> MutexGuard<'static, Hall> {
    HALL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hall {
    /// Those that wait begin, as one, in the order in which they were made.
    fn begin(&mut self) {
        // Who was dropped meanwhile (a `select!` was over) is not served.
        self.waiting.retain(|waiting| !waiting.begin.is_closed());
        self.waiting.sort_by_key(|waiting| waiting.number);
        let mut waiting = std::mem::take(&mut self.waiting).into_iter();
        let Some(Waiting { plan, begin, .. }) = waiting.next() else { return };
        let (mut plan, mut others) = (plan, Vec::new());
        for other in waiting {
            plan = plan.joined(other.plan);
            others.push(other.begin);
        }
        let running = plan.ready().into_future();
        // One that is gone meanwhile is not told.
        if others.is_empty() {
            drop(begin.send(Begun::Alone(running)));
            return;
        }
        let together = running.map(|ended| ended.map_err(|err| Arc::new(err.into()))).boxed().shared();
        for begin in others.into_iter().chain([begin]) {
            drop(begin.send(Begun::Together(together.clone())));
        }
    }
}

/// A server that has not been awaited, until it is dropped.
pub(crate) struct Entry {
    number: u64,
}

impl Entry {
    pub(crate) fn new() -> Self {
        let mut hall = hall();
        hall.idle += 1;
        hall.made += 1;
        Self { number: hall.made }
    }

    /// The server is awaited.
    pub(crate) fn gather(self, plan: Plan) -> Gathered {
        let (begin, begun) = oneshot::channel();
        hall().waiting.push(Waiting { number: self.number, plan, begin });
        // It is idle no more: if it was the last, all begin.
        drop(self);
        Gathered {
            begun: Some(begun),
            patience: Handle::try_current().is_ok().then(|| Box::pin(sleep(PATIENCE))),
            cluster: None,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut hall = hall();
        hall.idle -= 1;
        if hall.idle == 0 {
            hall.begin();
        }
    }
}

/// The end of the cluster of a server.
pub(crate) struct Gathered {
    begun: Option<oneshot::Receiver<Begun>>,
    patience: Option<Pin<Box<Sleep>>>,
    cluster: Option<Begun>,
}

impl Gathered {
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(begun) = &mut self.begun else { return Poll::Ready(()) };
        let mut polled = begun.poll_unpin(cx);
        let is_over = match &mut self.patience {
            Some(patience) if polled.is_pending() => patience.as_mut().poll(cx).is_ready(),
            Some(_) => false,
            // Where there is no clock nobody waits.
            None => true,
        };
        if is_over && polled.is_pending() {
            hall().begin();
            polled = begun.poll_unpin(cx);
        }
        let Poll::Ready(begun) = polled else { return Poll::Pending };
        self.cluster = begun.ok();
        self.begun = None;
        self.patience = None;
        Poll::Ready(())
    }
}

impl Future for Gathered {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        std::task::ready!(self.poll_begin(cx));
        match &mut self.cluster {
            Some(Begun::Alone(running)) => running.poll_unpin(cx).map_err(io::Error::from),
            Some(Begun::Together(cluster)) => {
                cluster.poll_unpin(cx).map_err(|err| io::Error::new(err.kind(), Joint(err)))
            }
            // Whoever begins sends to all.
            None => Poll::Ready(Err(io::Error::other("the servers that were awaited together are gone"))),
        }
    }
}

/// An error of several servers at once.
#[derive(Clone)]
struct Joint(Arc<io::Error>);

impl fmt::Display for Joint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Joint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::error::Error for Joint {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.get_ref().map(|err| err as _)
    }
}
