//! Several worker processes on one port: forked or executed, supervised, restarted.
//!
//! This is the core of `cluster-axum` and `cluster-actix`, and enough for a server without a framework.
//!
//! # The processes
//! A *primary* supervises and owns the listening sockets. *Workers* run the application, each on a Tokio
//! runtime of its own, and share the sockets' accept queues. With [`Ready::run`] in a plain `main` workers are
//! forked, by a *fork server* that never touches Tokio; with `.await` in an async `main` each worker is this
//! program executed again.
//!
//! # A server
//! ```no_run
//! use cluster_core::Cluster;
//! use tokio::io::AsyncWriteExt;
//!
//! fn main() -> Result<(), cluster_core::Error> {
//!     Cluster::builder()
//!         .bind("hello", "127.0.0.1:7000")
//!         .worker(|worker| async move {
//!             let mut acceptor = worker.acceptor("hello")?;
//!             while let Some(mut connection) = acceptor.accept().await {
//!                 worker.spawn(async move { connection.write_all(b"hello\n").await });
//!             }
//!             Ok(())
//!         })
//!         .run()
//! }
//! ```
//!
//! # Messages
//! Any serde type that owns its data can be sent ([`Message`]): by a [`Worker`] to the primary's side, to a
//! slot, to a worker or to all ([`To`]), and by the primary's side to workers. [`Worker::ask`] waits for an
//! answer. What is on the way is bounded, so `send(..).await` waits for a receiver that is slow; one that is
//! gone makes it an error. `Ok` says that a message is on its way, not that somebody has handled it.
//!
//! What the builder is given for the primary's side ([`Builder::primary`], [`Builder::on_message`],
//! [`Builder::on_ask`], [`Builder::on_exit`], [`Builder::on_event`]) runs in a process of its own, the
//! *director*: it may block or crash, and workers serve on. Its memory is its own, and begins anew after a crash.
//!
//! ```no_run
//! use cluster_core::{Cluster, Exit, WorkerRef};
//!
//! fn main() -> Result<(), cluster_core::Error> {
//!     Cluster::builder()
//!         .on_message(|from: WorkerRef, text: String| println!("worker {} says {text}", from.id()))
//!         .on_exit(|exit: Exit| eprintln!("{exit}"))
//!         .worker(|worker| async move {
//!             worker.ready();
//!             worker.send(&"hello".to_string()).await?;
//!             worker.draining().await;
//!             Ok(())
//!         })
//!         .run()
//! }
//! ```
#![deny(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "cluster-core runs on Linux only for now: it is built on pidfds, subreapers and sealed shared memory."
);

// What the user holds.
#[cfg(target_os = "linux")]
mod addr;
#[cfg(target_os = "linux")]
mod builder;
#[cfg(target_os = "linux")]
mod cluster;
#[cfg(target_os = "linux")]
mod config;
#[cfg(target_os = "linux")]
mod error;
#[cfg(target_os = "linux")]
mod event;
#[cfg(target_os = "linux")]
mod handle;
#[cfg(target_os = "linux")]
mod id;
#[cfg(target_os = "linux")]
mod peer;
#[cfg(target_os = "linux")]
mod program;
#[cfg(target_os = "linux")]
mod role;
#[cfg(target_os = "linux")]
mod scheduling;
#[cfg(target_os = "linux")]
mod worker;

// How it works: who lives, who serves, what they say.
#[cfg(target_os = "linux")]
mod birth;
#[cfg(target_os = "linux")]
mod command;
#[cfg(target_os = "linux")]
mod conn;
#[cfg(target_os = "linux")]
mod counter;
#[cfg(target_os = "linux")]
mod director;
#[cfg(target_os = "linux")]
mod dump;
mod ebb;
#[cfg(target_os = "linux")]
mod heartbeat;
#[cfg(target_os = "linux")]
mod ipc;
#[cfg(target_os = "linux")]
mod life;
#[cfg(target_os = "linux")]
mod metrics;
#[cfg(target_os = "linux")]
mod scoreboard;
#[cfg(target_os = "linux")]
mod secret;
#[cfg(target_os = "linux")]
mod supervise;
#[cfg(target_os = "linux")]
mod sys;
#[cfg(target_os = "linux")]
mod tail;
#[cfg(target_os = "linux")]
mod trace;
#[cfg(target_os = "linux")]
mod traffic;

#[cfg(all(target_os = "linux", any(feature = "axum", feature = "actix")))]
mod extract;
#[cfg(all(target_os = "linux", any(fuzzing, test)))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(all(target_os = "linux", feature = "testing"))]
pub mod testing;

#[cfg(target_os = "linux")]
pub use addr::Addr;
#[cfg(target_os = "linux")]
pub use birth::descriptor_limit::restore_limits;
#[cfg(target_os = "linux")]
pub use builder::{Builder, Cluster};
#[cfg(target_os = "linux")]
pub use cluster::{Ready, Running};
#[cfg(target_os = "linux")]
pub use config::{Account, Resource, Restart, Runtime};
#[cfg(target_os = "linux")]
pub use conn::listen::{bind_tcp, bind_uds};
#[cfg(target_os = "linux")]
pub use conn::{Acceptor, Connection, Inherited, OpenConnection, Overload, PeerAddr, Stream, Uds};
#[cfg(target_os = "linux")]
pub use counter::{Counter, CounterError};
#[cfg(target_os = "linux")]
pub use error::{AcceptError, BoxError, CommandError, Error, ReloadError, StartError};
#[cfg(target_os = "linux")]
pub use event::{
    ConnectionCounts, Event, Exit, ExitReason, Leave, ListenerStatus, Next, Status, Usage, WorkerState,
    WorkerStatus,
};
#[cfg(target_os = "linux")]
pub use handle::{ClusterHandle, Done, Events, Reloading, WorkerRef};
#[cfg(target_os = "linux")]
pub use id::{Slot, WorkerId};
#[cfg(target_os = "linux")]
pub use ipc::error::{AskError, SendError};
#[cfg(target_os = "linux")]
pub use ipc::handler::{Handler, Outcome, Returns};
#[cfg(target_os = "linux")]
pub use ipc::message::{Ask, Json, Message};
#[cfg(target_os = "linux")]
pub use ipc::request::Asking;
#[cfg(target_os = "linux")]
pub use ipc::sending::{Broadcasting, Delivery, Sending};
#[cfg(target_os = "linux")]
pub use ipc::stream::{MessageStream, WithSender};
#[cfg(target_os = "linux")]
pub use metrics::{Metrics, MetricsError};
#[cfg(target_os = "linux")]
pub use peer::{Peer, To};
#[cfg(target_os = "linux")]
pub use role::{Role, is_primary, is_worker, role};
#[cfg(target_os = "linux")]
pub use scheduling::Scheduling;
#[cfg(target_os = "linux")]
pub use worker::{Draining, ReopenLogs, Worker, try_worker, worker};

/// For the adapters; no promise is made about it.
#[cfg(target_os = "linux")]
#[doc(hidden)]
pub mod adapter {
    use std::borrow::Borrow;
    use std::net::SocketAddr;

    use crate::StartError;
    pub use crate::conn::listen::{BindKey, Wanted};
    pub use crate::conn::{BACKLOG, Reach};
    #[cfg(any(feature = "axum", feature = "actix"))]
    pub use crate::extract::NoWorker;
    pub use crate::metrics::exposition::CONTENT_TYPE as METRICS_TYPE;
    #[cfg(feature = "rustls")]
    pub use crate::secret::tickets::share as share_tickets;
    pub use crate::secret::{Secret, Secrets};
    pub use crate::traffic::{HALF_SENT, OpenRequest, Traffic, Watched};

    /// A request that the application has, until its answer has gone out to the end: it counts as in flight for as long
    /// as this is held.
    #[derive(Debug)]
    pub struct InFlight<W: Borrow<crate::Worker>>(W);

    impl<W: Borrow<crate::Worker>> InFlight<W> {
        /// The application is given a request.
        pub fn begin(worker: W) -> Self {
            worker.borrow().request_begins();
            Self(worker)
        }

        /// Its worker.
        pub fn worker(&self) -> &crate::Worker {
            self.0.borrow()
        }
    }

    impl<W: Borrow<crate::Worker>> Drop for InFlight<W> {
        fn drop(&mut self) {
            self.0.borrow().request_ends();
        }
    }

    /// What is said to whoever asks whether to send requests; an error: not now.
    pub fn readiness(worker: &crate::Worker) -> Result<&'static str, &'static str> {
        match (worker.is_serving(), worker.is_draining()) {
            (true, _) => Ok("ready\n"),
            (false, true) => Err("draining\n"),
            (false, false) => Err("not ready yet\n"),
        }
    }

    /// Opens at once, or takes the sockets from the primary. Of each its address, if that is one of TCP.
    pub fn bind(wanted: &Wanted) -> Result<(BindKey, Vec<Option<SocketAddr>>), StartError> {
        let (key, listeners) = crate::conn::listen::bind(wanted)?;
        Ok((key, listeners.iter().map(|listener| listener.tcp_addr()).collect()))
    }

    /// For frameworks that have a backlog of their own: an address, or a socket, that says nothing gets this one.
    pub fn with_backlog(wanted: Wanted, backlog: u32) -> Wanted {
        match wanted {
            Wanted::Tcp(addr, reach) => Wanted::Tcp(addr.or_backlog(backlog), reach),
            Wanted::Uds(uds) => Wanted::Uds(uds.or_backlog(backlog)),
            Wanted::Inherited(_) => wanted,
            Wanted::InheritedOr(passed, addr, reach) => {
                Wanted::InheritedOr(passed, addr.or_backlog(backlog), reach)
            }
        }
    }

    /// The free `on_message`: registers with the worker that this process is, or will be.
    pub fn on_message<A: 'static>(handler: impl crate::Handler<crate::Peer, A>) {
        crate::worker::messages::on_message(handler);
    }

    /// The free `send`: an error outside a worker.
    pub fn send<T: crate::Message>(message: &T) -> crate::Sending {
        crate::worker::messages::send(message)
    }

    /// The free `broadcast`: an error outside a worker.
    pub fn broadcast<T: crate::Message>(message: &T) -> crate::Broadcasting {
        crate::worker::messages::broadcast(message)
    }

    /// Builds the runtime that the user asked for.
    pub fn build_runtime(runtime: &crate::Runtime) -> std::io::Result<tokio::runtime::Runtime> {
        runtime.build()
    }

    /// The same, with so many threads at most for what blocks. One that the user builds has what it has.
    pub fn build_runtime_with(
        runtime: &crate::Runtime,
        blocking: usize,
    ) -> std::io::Result<tokio::runtime::Runtime> {
        runtime.build_with(Some(blocking))
    }

    /// A time that can be added to any other: more than a year means for ever, and must not overflow a clock.
    pub fn bounded(time: std::time::Duration) -> std::time::Duration {
        crate::config::bounded(time)
    }

    /// Says something that somebody should know, where the cluster's events go.
    pub fn warn(line: &str) {
        crate::event::warn(line);
    }
}
