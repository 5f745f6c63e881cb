//! What a handler says without a `Worker` in hand.
use cluster_core::{Broadcasting, Handler, Message, Peer, Sending, adapter};

/// Sends a message from this worker to the primary's side; see [`Worker::send`](crate::Worker::send).
///
/// # Errors
/// As there, and [`SendError::NoWorker`](crate::SendError::NoWorker) outside a worker.
///
/// # Example
/// ```no_run
/// async fn visited() -> Result<&'static str, cluster_axum::SendError> {
///     cluster_axum::send(&"somebody was here".to_string()).await?;
///     Ok("welcome")
/// }
/// ```
pub fn send<T: Message>(message: &T) -> Sending {
    adapter::send(message)
}

/// Sends a message from this worker to all others; see [`Worker::broadcast`](crate::Worker::broadcast).
///
/// # Errors
/// As there, and [`SendError::NoWorker`](crate::SendError::NoWorker) outside a worker.
///
/// # Example
/// ```no_run
/// async fn forget() -> Result<String, cluster_axum::SendError> {
///     let delivery = cluster_axum::broadcast(&"forget what is cached".to_string()).await?;
///     Ok(format!("{} other workers forget", delivery.reached))
/// }
/// ```
pub fn broadcast<T: Message>(message: &T) -> Broadcasting {
    adapter::broadcast(message)
}

/// Has a function called for every message of its type that comes to this worker; see
/// [`Worker::on_message`](crate::Worker::on_message).
///
/// In `main`, before the server runs, it registers with every worker that this process will be, or fork; in
/// the primary it does nothing.
///
/// # Panics
/// As there.
///
/// # Example
/// ```no_run
/// use axum::{Router, routing::get};
///
/// fn main() -> Result<(), cluster_axum::Error> {
///     cluster_axum::on_message(|text: String| println!("worker {} hears {text}", cluster_axum::worker().id()));
///     let app = Router::new().route("/", get(|| async { "hello" }));
///     cluster_axum::serve(app).bind("127.0.0.1:3000").run()
/// }
/// ```
pub fn on_message<A: 'static>(handler: impl Handler<Peer, A>) {
    adapter::on_message(handler);
}
