//! Runs an axum application as several worker processes on one port.
//!
//! ```no_run
//! use axum::Router;
//! use axum::routing::get;
//! use cluster_axum::Worker;
//!
//! fn main() -> Result<(), cluster_axum::Error> {
//!     let app = Router::new().route("/", get(hello));
//!     cluster_axum::serve(app).bind("127.0.0.1:3000").run()
//! }
//!
//! async fn hello(worker: Worker) -> String {
//!     format!("hello from worker {} (pid {})\n", worker.id(), worker.pid())
//! }
//! ```
//!
//! # Which of the two ways to start
//! In a plain `main`, [`Serve::run`]: workers are forked, and what `main` has loaded is shared with them until
//! it is written to. What needs a Tokio runtime (a pool of database connections) is made in each worker, by
//! [`serve_with`]:
//!
//! ```no_run
//! # use axum::Router;
//! # use axum::routing::get;
//! # #[derive(Clone)]
//! # struct Pool;
//! # impl Pool { async fn connect(_: usize) -> Result<Self, std::io::Error> { Ok(Self) } }
//! fn main() -> Result<(), cluster_axum::Error> {
//!     cluster_axum::serve_with(|worker| async move {
//!         let pool = Pool::connect(100 / worker.slots()).await?;
//!         Ok(Router::new().route("/", get(|| async { "hello" })).with_state(pool))
//!     })
//!     .bind("127.0.0.1:3000")
//!     .run()
//! }
//! ```
//!
//! In an async `main`, `.await`: each worker is this program executed again, so `main` runs once per worker,
//! and everything before the `.await` is each worker's own:
//!
//! ```no_run
//! # use axum::Router;
//! # use axum::routing::get;
//! #[tokio::main]
//! async fn main() -> Result<(), cluster_axum::Error> {
//!     let app = Router::new().route("/", get(|| async { "hello" }));
//!     cluster_axum::serve(app).bind("127.0.0.1:3000").await
//! }
//! ```
//!
//! # What serves
//! HTTP/1, HTTP/2 and upgrades, with `TCP_NODELAY`; with the feature `tls` also over TLS (`Serve::bind_tls`). Slow
//! clients are closed: a head has 30 s to come, each 16 KiB of a body 30 s, a connection is idle for at most 75 s,
//! and who takes nothing of an answer for 60 s gets no more of it. All that can be set:
//! [`Serve::header_read_timeout`], [`body_timeout`](Serve::body_timeout),
//! [`keep_alive_timeout`](Serve::keep_alive_timeout), [`write_timeout`](Serve::write_timeout), and what hyper knows
//! by [`http`](Serve::http). A handler that panics costs its connection (on HTTP/2 its stream), and no worker. When a
//! worker drains, what is in flight is finished; see [`Serve::drain_timeout`], and [`until_draining`] for streams
//! that have no end of their own.
//!
//! # Messages
//! Workers share no memory. They send each other any serde type: [`Worker::send`] to the primary's side,
//! [`Worker::send_to`] to somebody, [`Worker::broadcast`] to all others, [`Worker::ask`] with an answer. Handlers
//! are registered in [`serve_with`], or by [`on_message`] in `main`. [`SendError`] and [`AskError`] answer 503 (504
//! where no answer came in time), so `?` works in a handler.
//!
//! ```no_run
//! use axum::{Router, routing::post};
//! use cluster_axum::{SendError, Worker};
//!
//! fn main() -> Result<(), cluster_axum::Error> {
//!     cluster_axum::on_message(|text: String| println!("another worker says {text}"));
//!     cluster_axum::serve(Router::new().route("/say", post(say))).bind("127.0.0.1:3000").run()
//! }
//!
//! async fn say(worker: Worker, text: String) -> Result<String, SendError> {
//!     let delivery = worker.broadcast(&text).await?;
//!     Ok(format!("{} others will hear it\n", delivery.reached))
//! }
//! ```
//!
//! What is to run once, and not once per worker, is given to the builder, which [`Serve::cluster`] lends:
//! [`Builder::primary`], [`Builder::on_message`], [`Builder::on_exit`] and others. It runs in a process of its own.
#![forbid(unsafe_code)]
// Elsewhere cluster-core says in one sentence why not.
#![cfg(target_os = "linux")]

mod accepted;
mod app;
mod messages;
mod metrics;
mod peer;
mod serve;

mod connection;
mod drain;
mod entrance;
mod program;
mod settings;
mod stream;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod until;

pub use accepted::Accepted;
pub use app::App;
pub use connection::{BodyTimeout, Executor};
pub use messages::{broadcast, on_message, send};
pub use metrics::{health, livez, metrics, readyz};
pub use peer::UnixPeer;
pub use serve::{Serve, Serving, serve, serve_with};
pub use settings::HttpBuilder;
/// What [`Serve::bind_rustls`] takes. With the feature `tls`.
#[cfg(feature = "tls")]
pub use tokio_rustls::rustls;
pub use until::{UntilDraining, until_draining};

pub use cluster_core::{
    Account, Addr, Ask, AskError, Asking, BoxError, Broadcasting, Builder, ClusterHandle, CommandError,
    ConnectionCounts, Counter, CounterError, Delivery, Done, Draining, Error, Event, Events, Exit,
    ExitReason, Handler, Inherited, Json, Leave, ListenerStatus, Message, MessageStream, Metrics,
    MetricsError, Next, Outcome, Overload, Peer, PeerAddr, ReloadError, Reloading, ReopenLogs, Resource,
    Restart, Returns, Role, Runtime, Scheduling, SendError, Sending, Slot, StartError, Status, Stream, To,
    Uds, Usage, WithSender, Worker, WorkerId, WorkerRef, WorkerState, WorkerStatus, bind_tcp, bind_uds,
    is_primary, is_worker, restore_limits, role, try_worker, worker,
};
