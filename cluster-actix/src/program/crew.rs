//! The threads of a worker that serve, where there are several: each with applications of its own.
//!
//! The first is the worker's own, which also takes all connections; the others are arbiters of actix. A connection goes to
//! the thread that has fewest, and stays there.
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use actix_rt::Arbiter;
use cluster_core::{BoxError, OpenConnection, Runtime, Stream, Worker, adapter};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::site::serve;
use super::{Apps, Listener, Serving, services};

/// The threads besides the first.
pub(super) struct Crew {
    /// Connections of the first thread.
    here: Count,
    mates: Vec<Mate>,
}

/// Another thread.
struct Mate {
    open: Count,
    hand: mpsc::UnboundedSender<Handed>,
    /// Resolves when it has served all.
    over: oneshot::Receiver<()>,
    /// Runs for as long as this is there.
    _arbiter: Arbiter,
}

/// A connection on its way to another thread: off the runtime of the first, and not yet on that of the second.
struct Handed {
    /// The listener's place.
    at: usize,
    stream: Loose,
    counted: OpenConnection,
    here: Counted,
}

enum Loose {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// Open connections of a thread.
#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

/// One of those, until it is dropped.
pub(super) struct Counted(Count);

impl Count {
    fn one(&self) -> Counted {
        self.0.fetch_add(1, Relaxed);
        Counted(self.clone())
    }

    fn now(&self) -> usize {
        self.0.load(Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

impl Crew {
    /// Starts them; each has made its applications when this returns.
    pub(super) async fn start(worker: &Worker, serving: &Serving) -> Result<Self, BoxError> {
        let mut mates = Vec::new();
        for _ in 1..serving.threads {
            mates.push(Mate::start(worker, serving).await?);
        }
        Ok(Self { here: Count::default(), mates })
    }

    /// Counts a connection of the first thread.
    pub(super) fn count_here(&self) -> Counted {
        self.here.one()
    }

    /// Hands a connection to another thread, if one has fewer than this.
    pub(super) fn take(
        &self,
        at: usize,
        stream: Stream,
        counted: OpenConnection,
        worker: &Worker,
    ) -> Option<(Stream, OpenConnection)> {
        let freest = self.mates.iter().min_by_key(|mate| mate.open.now());
        let Some(mate) = freest.filter(|mate| mate.open.now() < self.here.now()) else {
            return Some((stream, counted));
        };
        match loosen(stream) {
            Ok(stream) => {
                let handed = Handed { at, stream, counted, here: mate.open.one() };
                if mate.hand.send(handed).is_err() {
                    adapter::warn(&format!("worker {} retires: one of its threads is gone", worker.id()));
                    worker.retire();
                }
            }
            Err(err) => adapter::warn(&format!("worker {} has lost a connection: {err}", worker.id())),
        }
        None
    }

    /// Waits until all have served what they were handed.
    pub(super) async fn end(self) {
        for Mate { hand, over, _arbiter, .. } in self.mates {
            drop(hand);
            // One that is gone has nothing to be waited for.
            let _ = over.await;
        }
    }
}

impl Mate {
    async fn start(worker: &Worker, serving: &Serving) -> Result<Self, BoxError> {
        let (hand, handed) = mpsc::unbounded_channel();
        let (ready, is_ready) = oneshot::channel();
        let (done, over) = oneshot::channel();
        let runtime = adapter::build_runtime_with(&Runtime::default(), serving.blocking_threads())
            .map_err(|err| format!("cannot build a thread's runtime: {err}"))?;
        let (worker, apps, listeners) = (worker.clone(), serving.copy_apps(), serving.listeners.clone());
        // Never dropped, as that of the first thread.
        let runtime = Arc::new(runtime);
        std::mem::forget(runtime.clone());
        let arbiter = Arbiter::with_tokio_rt(move || runtime);
        arbiter.spawn_fn(move || {
            actix_rt::spawn(async move {
                live(worker, apps, listeners, handed, ready).await;
                let _ = done.send(());
            });
        });
        is_ready.await.map_err(|_| "a thread of the worker panicked")??;
        Ok(Self { open: Count::default(), hand, over, _arbiter: arbiter })
    }
}

/// A thread's life: it makes its applications, and serves what it is handed.
async fn live(
    worker: Worker,
    apps: Vec<Box<dyn Apps>>,
    listeners: Vec<Listener>,
    mut handed: mpsc::UnboundedReceiver<Handed>,
    ready: oneshot::Sender<Result<(), BoxError>>,
) {
    let services = match services(&worker, &listeners, &apps).await {
        Ok(services) => Rc::new(services),
        Err(err) => return drop(ready.send(Err(err))),
    };
    let _ = ready.send(Ok(()));
    let open = TaskTracker::new();
    while let Some(Handed { at, stream, counted, here }) = handed.recv().await {
        match fasten(stream) {
            Ok(stream) => serve(&services[at], stream, counted, here, &open),
            Err(err) => adapter::warn(&format!("worker {} has lost a connection: {err}", worker.id())),
        }
    }
    open.close();
    open.wait().await;
}

/// Takes a stream off this thread's runtime.
fn loosen(stream: Stream) -> io::Result<Loose> {
    match stream {
        Stream::Tcp(tcp) => tcp.into_std().map(Loose::Tcp),
        Stream::Unix(unix) => unix.into_std().map(Loose::Unix),
    }
}

/// Puts a stream on this thread's runtime.
fn fasten(stream: Loose) -> io::Result<Stream> {
    match stream {
        Loose::Tcp(tcp) => tokio::net::TcpStream::from_std(tcp).map(Stream::Tcp),
        Loose::Unix(unix) => tokio::net::UnixStream::from_std(unix).map(Stream::Unix),
    }
}
