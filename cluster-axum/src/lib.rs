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
//! HTTP/1, HTTP/2 and upgrades, with `TCP_NODELAY`. A client has 30 s to send its first request, and on HTTP/1
//! 30 s from the end of an answer for the head of the next; then it is closed. A handler that panics costs its
//! connection (on HTTP/2 its stream), and no worker. When a worker drains, what is in flight is finished;
//! see [`Serve::drain_timeout`].
#![forbid(unsafe_code)]
// Elsewhere cluster-core says in one sentence why not.
#![cfg(target_os = "linux")]

mod accepted;
mod app;
mod serve;

mod connection;
mod drain;
mod program;
mod stream;

pub use accepted::Accepted;
pub use app::App;
pub use serve::{Serve, Serving, serve, serve_with};

pub use cluster_core::{
    Addr, BoxError, Builder, Draining, Error, Restart, Role, Runtime, Slot, StartError, Worker, WorkerId,
    bind_tcp, is_primary, is_worker, role, try_worker, worker,
};
