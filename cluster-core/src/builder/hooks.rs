//! What the builder has called at a birth and before an end.
use std::future::Future;

use futures::FutureExt as _;

use crate::birth::hooks::WorkerHook;
use crate::builder::Builder;
use crate::error::BoxError;
use crate::ipc::handler::{Outcome, Returns};
use crate::worker::Worker;

impl Builder {
    /// Has a function called once per start and once per reload, in a process of its own, before the first worker of that
    /// generation is made: migrations. It may be sync or async. Any number, in their order.
    ///
    /// Nobody is made until the process has ended with exit code 0, by itself or by
    /// [`exit`](std::process::exit). An error, a panic or another end means that the generation has no workers: a start ends
    /// with [`Error::GaveUp`](crate::Error::GaveUp) (exit code 70) and the text, a reload fails with it, and the old
    /// workers serve on. It is not called again for workers that are replaced, nor when the fork server was lost.
    ///
    /// It has the identity, limits and environment of workers, is pinned to no core, and [`role()`](crate::role) is
    /// [`Role::ForkServer`](crate::Role::ForkServer). An async one runs on the worker's kind of
    /// [`runtime`](Self::runtime) (with `.await` that of `main`), a sync one outside of any. What it leaves running is killed with its process group.
    /// It has the [`boot_timeout`](Self::boot_timeout) (60 s) together with `main`: raise that where migrations take
    /// longer. At the deadline, and at a stop, it is killed, so it should be able to go on where it was, or
    /// work in a transaction.
    ///
    /// With `.await` that process is the program executed once more, which does it when it reaches the same `.await`, and
    /// ends there. A primary whose program has nothing to prepare does not look for it in a new one: a reload that brings
    /// the first `prepare(..)` fails, and says so.
    ///
    /// # Example
    /// ```
    /// use cluster_core::Cluster;
    /// Cluster::builder().prepare(|| async {
    ///     let script = std::fs::read_to_string("migrations.sql")?;
    ///     println!("{} statements to run", script.matches(';').count());
    ///     Ok::<_, std::io::Error>(())
    /// });
    /// ```
    pub fn prepare<F, R, K>(mut self, preparation: F) -> Self
    where
        F: FnOnce() -> R + Send + 'static,
        R: Returns<K>,
    {
        self.hooks.prepare.push(Box::new(move || preparation().into_called()));
        self
    }

    /// Has a function called in the fork server, before each fork of a worker or director: what it does there all of them
    /// inherit. Any number, in their order.
    ///
    /// It must start no thread that outlives it and use no Tokio, or the fork is refused as one of `main` would be. An
    /// error or a panic of it means that the worker is not forked: its boot has failed, with the text, and the next
    /// attempt calls it again. It has 5 s together with the fork: a fork server that takes longer is killed, and another
    /// one started, in which `main` runs again.
    ///
    /// There is no fork with `.await`, and this is an error at start.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().before_fork(|| println!("another one"));
    /// ```
    pub fn before_fork<F, R>(mut self, mut hook: F) -> Self
    where
        F: FnMut() -> R + Send + 'static,
        R: Outcome,
    {
        self.hooks.before_fork.add(Box::new(move || hook().into_result()));
        self
    }

    /// Has a function called in each worker and director, on its main thread, as the first of all after the fork:
    /// before its identity and limits, its runtime, and its last words are its own. [`role()`](crate::role) tells the two
    /// apart. Any number, in their order.
    ///
    /// It is for what a fork breaks: counters to be zeroed, generators to be seeded anew. Where the identity changes it
    /// must start no thread, which would keep the old one. An error or a panic of it fails the boot, with the text.
    ///
    /// There is no fork with `.await`, and this is an error at start.
    ///
    /// # Example
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// static SERVED: AtomicU64 = AtomicU64::new(0);
    /// cluster_core::Cluster::builder().after_fork(|| SERVED.store(0, Ordering::Relaxed));
    /// ```
    pub fn after_fork<F, R>(mut self, mut hook: F) -> Self
    where
        F: FnMut() -> R + Send + 'static,
        R: Outcome,
    {
        self.hooks.after_fork.add(Box::new(move || hook().into_result()));
        self
    }

    /// Has an async function run in each worker, on its runtime, before its program: before applications are made and
    /// connections taken. Any number, one after the other.
    ///
    /// An error or a panic of it fails the boot: [`ExitReason::BootFailed`](crate::ExitReason::BootFailed) has the text,
    /// the program never begins, and what follows is the restart policy's business. It counts in the boot timeout.
    ///
    /// # Example
    /// ```
    /// use cluster_core::{Cluster, Worker};
    /// Cluster::builder().on_worker_start(|worker: Worker| async move {
    ///     let settings = std::fs::read_to_string("shop.toml")?;
    ///     println!("worker {} has read {} bytes", worker.id(), settings.len());
    ///     Ok(())
    /// });
    /// ```
    pub fn on_worker_start<F, Fut>(mut self, hook: F) -> Self
    where
        F: FnOnce(Worker) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.hooks.worker.start.push(boxed(hook));
        self
    }

    /// Has an async function run in each worker that leaves, after its drain: the program has ended, spawned tasks and
    /// handlers have, and messages can still be sent. Any number, one after the other.
    ///
    /// It runs whatever the program's end was, a panic too, if the program ever began: not where
    /// [`on_worker_start`](Self::on_worker_start) failed, and not in a process that crashes, exits or is killed. It has
    /// what is left of the drain timeout; then the process is killed. An error or a panic of it is logged and changes
    /// nothing; the next one runs.
    ///
    /// # Example
    /// ```
    /// use cluster_core::{Cluster, Worker};
    /// Cluster::builder().on_worker_stop(|worker: Worker| async move {
    ///     worker.send(&format!("worker {} has left", worker.id())).await?;
    ///     Ok(())
    /// });
    /// ```
    pub fn on_worker_stop<F, Fut>(mut self, hook: F) -> Self
    where
        F: FnOnce(Worker) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.hooks.worker.stop.push(boxed(hook));
        self
    }
}

fn boxed<F, Fut>(hook: F) -> WorkerHook
where
    F: FnOnce(Worker) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    Box::new(move |worker| hook(worker).boxed())
}
