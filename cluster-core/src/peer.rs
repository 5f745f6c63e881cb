//! Whom a worker talks to: names of receivers, and senders of what it hears.
use crate::id::{Slot, WorkerId};
use crate::ipc::endpoint::Endpoint;
use crate::ipc::frame::Address;
use crate::ipc::message::Message;
use crate::ipc::router::worker_of;
use crate::ipc::sending::Sending;

/// Who is to receive a message.
///
/// # Example
/// ```
/// use cluster_core::{Slot, To, WorkerId};
/// assert_eq!(To::from(Slot(0)), To::Slot(Slot(0)));
/// assert_eq!(To::from(WorkerId(7)), To::Worker(WorkerId(7)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum To {
    /// The primary's side: the builder's handlers and program, in the director. While it is being restarted,
    /// messages wait for it.
    Primary,
    /// The worker that has this slot. While it is being restarted, messages wait for its successor.
    Slot(Slot),
    /// This very worker. Once it has ended, sending to it is an error.
    Worker(WorkerId),
    /// All workers but the sender.
    Others,
    /// All workers, the sender among them.
    Everyone,
}

impl From<Slot> for To {
    fn from(slot: Slot) -> Self {
        To::Slot(slot)
    }
}

impl From<WorkerId> for To {
    fn from(worker: WorkerId) -> Self {
        To::Worker(worker)
    }
}

impl From<To> for Address {
    fn from(to: To) -> Self {
        match to {
            To::Primary => Address::Director,
            To::Slot(slot) => Address::Slot(slot),
            To::Worker(worker) => Address::Worker(worker),
            To::Others => Address::Others,
            To::Everyone => Address::Everyone,
        }
    }
}

/// Who sent a message to this worker. `worker` and `slot` are `None` for the primary's side.
///
/// # Example
/// ```no_run
/// use cluster_core::Peer;
/// cluster_core::worker().on_message(|from: Peer, text: String| async move {
///     from.send(&format!("you said {text}")).await
/// });
/// ```
#[derive(Clone)]
pub struct Peer {
    /// The worker, or `None` for the primary's side.
    pub worker: Option<WorkerId>,
    /// Its slot; `None` also for a worker that has ended meanwhile.
    pub slot: Option<Slot>,
    endpoint: Endpoint,
}

impl Peer {
    pub(crate) fn of(endpoint: &Endpoint, sender: Address) -> Self {
        let worker = worker_of(sender);
        let slot = worker.and_then(|worker| endpoint.outbox().roster.slot_of(worker));
        Self { worker, slot, endpoint: endpoint.clone() }
    }

    /// Sends it a message; see [`Worker::send`](crate::Worker::send).
    ///
    /// # Errors
    /// As for [`Worker::send_to`](crate::Worker::send_to).
    ///
    /// # Example
    /// ```no_run
    /// # async fn answer(peer: cluster_core::Peer) -> Result<(), cluster_core::SendError> {
    /// peer.send(&"thank you".to_string()).await
    /// # }
    /// ```
    pub fn send<T: Message>(&self, message: &T) -> Sending {
        let to = self.worker.map_or(Address::Director, Address::Worker);
        Sending::send(&self.endpoint, to, message)
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("worker", &self.worker).field("slot", &self.slot).finish()
    }
}
