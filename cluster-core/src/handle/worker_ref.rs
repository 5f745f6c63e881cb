//! A worker as the primary's side sees it.
use crate::handle::ClusterHandle;
use crate::id::{Slot, WorkerId};
use crate::ipc::message::{Ask, Message};
use crate::ipc::request::Asking;
use crate::ipc::sending::Sending;

/// A worker as the primary's side sees it.
///
/// # Example
/// ```no_run
/// use cluster_core::{Cluster, WorkerRef};
/// Cluster::builder().on_message(|from: WorkerRef, text: String| async move {
///     println!("worker {} in slot {} says {text}", from.id(), from.slot());
///     from.send(&"thank you".to_string()).await
/// });
/// ```
#[derive(Debug, Clone)]
pub struct WorkerRef {
    pub(super) id: WorkerId,
    pub(super) slot: Slot,
    pub(super) pid: u32,
    pub(super) cluster: ClusterHandle,
}

impl WorkerRef {
    /// Its number.
    ///
    /// # Example
    /// ```no_run
    /// # fn look(worker: cluster_core::WorkerRef) {
    /// println!("{}", worker.id());
    /// # }
    /// ```
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// Its place.
    ///
    /// # Example
    /// ```no_run
    /// # fn look(worker: cluster_core::WorkerRef) {
    /// println!("{}", worker.slot());
    /// # }
    /// ```
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Its process id; 0 where the worker was gone before anybody asked.
    ///
    /// # Example
    /// ```no_run
    /// # fn look(worker: cluster_core::WorkerRef) {
    /// println!("{}", worker.pid());
    /// # }
    /// ```
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The cluster that it is of.
    ///
    /// # Example
    /// ```no_run
    /// # async fn look(worker: cluster_core::WorkerRef) -> Result<(), cluster_core::CommandError> {
    /// worker.cluster().restart(worker.slot()).await
    /// # }
    /// ```
    pub fn cluster(&self) -> ClusterHandle {
        self.cluster.clone()
    }

    /// Sends it a message.
    ///
    /// # Errors
    /// As [`Worker::send_to`](crate::Worker::send_to).
    ///
    /// # Example
    /// ```no_run
    /// # async fn look(worker: cluster_core::WorkerRef) -> Result<(), cluster_core::SendError> {
    /// worker.send(&"hello".to_string()).await
    /// # }
    /// ```
    pub fn send<T: Message>(&self, message: &T) -> Sending {
        self.cluster.send_to(self.id, message)
    }

    /// Asks it.
    ///
    /// # Errors
    /// As [`Worker::ask`](crate::Worker::ask).
    ///
    /// # Example
    /// ```no_run
    /// # use cluster_core::{Ask, AskError, WorkerRef};
    /// # async fn look<Q: Ask>(worker: WorkerRef, question: Q) -> Result<(), AskError> {
    /// let answer = worker.ask(&question).await?;
    /// # Ok(()) }
    /// ```
    pub fn ask<Q: Ask>(&self, question: &Q) -> Asking<Q::Answer> {
        self.cluster.ask(self.id, question)
    }
}
