//! actix-web's `HttpServer` as several worker processes on one port: change one `use`.
//!
//! ```no_run
//! use actix_web::{App, web};
//! use cluster_actix::{HttpServer, Worker};
//!
//! async fn hello(worker: Worker) -> String {
//!     format!("hello from worker {} (pid {})\n", worker.id(), worker.pid())
//! }
//!
//! #[actix_web::main]
//! async fn main() -> std::io::Result<()> {
//!     HttpServer::new(|| App::new().route("/", web::get().to(hello))).bind("127.0.0.1:3000")?.run().await
//! }
//! ```
//!
//! # Which of the two ways to start
//! With `.await` in an async `main`, as above, each worker is this program executed again: `main` runs once per
//! worker, and becomes one when it reaches the `.await`. In a plain `main`, [`Server::join`]: workers are forked,
//! and what `main` has loaded is shared with them until it is written to. What needs a Tokio runtime is then
//! made in the factory or in a handler, because `main` must not have used one.
//!
//! ```no_run
//! # use actix_web::{App, web};
//! # use cluster_actix::HttpServer;
//! fn main() -> std::io::Result<()> {
//!     HttpServer::new(|| App::new().route("/", web::get().to(|| async { "hello" })))
//!         .bind("127.0.0.1:3000")?
//!         .run()
//!         .join()
//! }
//! ```
//!
//! # What is different from actix-web's own server
//! - A worker is a process, not a thread. `web::Data`, statics and everything else in memory is per worker: a
//!   `Mutex` made in `main` and moved into the factory counts per worker.
//! - A worker has one thread that serves (and `web::block`'s threads), or [several](HttpServer::threads_per_worker). The
//!   factory runs once per worker, thread and listening address.
//! - A worker that dies is replaced, and the primary outlives it. A factory that panics or fails is a failed
//!   boot with its text in the log, retried under [`Restart`]'s rules.
//! - During a drain HTTP/1 answers say `Connection: close` for the *lame duck* (1 s), so that clients on
//!   keep-alive leave by themselves; what is idle after that is closed.
//! - A request's head that is not the first of its connection has a deadline, and so has
//!   [a body](HttpServer::client_body_timeout).
//! - [`Server`], [`ServerHandle`] and [`HttpServer::bind`] differ in the details that their pages tell.
//!
//! The guide `docs/actix.md` has each method of actix-web's `HttpServer`, and what becomes of it.
//!
//! # Features
//! `rustls-0_23` and `openssl`, as actix-web calls them: [`bind_rustls_0_23`](HttpServer#method.bind_rustls_0_23) and
//! [`bind_openssl`](HttpServer#method.bind_openssl). HTTP/2 is there without a feature.
//!
//! # Messages
//! Workers share no memory. They send each other any serde type: [`Worker::send`] to the primary's side,
//! [`Worker::send_to`] to somebody, [`Worker::broadcast`] to all others, [`Worker::ask`] with an answer.
//! [`SendError`] and [`AskError`] answer 503 (504 where no answer came in time), so `?` works in a handler.
//!
//! Handlers are registered by [`on_message`] in `main`, once per worker, or in the factory, once per worker and
//! listening address.
//!
//! ```no_run
//! use actix_web::{App, post};
//! use cluster_actix::{HttpServer, SendError, Worker};
//!
//! #[post("/say")]
//! async fn say(worker: Worker, text: String) -> Result<String, SendError> {
//!     let delivery = worker.broadcast(&text).await?;
//!     Ok(format!("{} others will hear it\n", delivery.reached))
//! }
//!
//! #[actix_web::main]
//! async fn main() -> std::io::Result<()> {
//!     cluster_actix::on_message(|text: String| println!("another worker says {text}"));
//!     HttpServer::new(|| App::new().service(say)).bind("127.0.0.1:3000")?.run().await
//! }
//! ```
//!
//! What is to run once, and not once per worker, is given to the builder, which [`HttpServer::cluster`] lends:
//! [`Builder::primary`], [`Builder::on_message`], [`Builder::on_exit`] and others. It runs in a process of its own.
#![forbid(unsafe_code)]
// Elsewhere cluster-core says in one sentence why not.
#![cfg(target_os = "linux")]

mod handle;
mod http_server;
mod messages;
mod metrics;
mod server;
mod settings;
mod transport;

mod asked;
mod gathering;
mod plan;

mod connection;
mod farewell;
mod handshakes;
mod program;

pub use handle::{ServerHandle, Stopping};
pub use http_server::HttpServer;
pub use messages::{broadcast, on_message, send};
pub use metrics::{health, livez, metrics, readyz};
pub use server::Server;

pub use cluster_core::{
    Account, Addr, Ask, AskError, Asking, BoxError, Broadcasting, Builder, ClusterHandle, CommandError,
    ConnectionCounts, Counter, CounterError, Delivery, Done, Draining, Error, Event, Events, Exit,
    ExitReason, Handler, Inherited, Json, Leave, ListenerStatus, Message, MessageStream, Metrics,
    MetricsError, Next, Outcome, Overload, Peer, ReloadError, Reloading, ReopenLogs, Resource, Restart,
    Returns, Role, Runtime, Scheduling, SendError, Sending, Slot, StartError, Status, To, Uds, Usage,
    WithSender, Worker, WorkerId, WorkerRef, WorkerState, WorkerStatus, bind_tcp, bind_uds, is_primary,
    is_worker, restore_limits, role, try_worker, worker,
};
