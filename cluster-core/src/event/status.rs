//! How the cluster stands: a picture that events keep up to date.
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::id::{Slot, WorkerId};

/// How the cluster stands.
///
/// # Example
/// ```
/// use cluster_core::{Status, WorkerState};
/// fn is_healthy(status: &Status) -> bool {
///     let serving = status.workers.iter().filter(|worker| worker.state == WorkerState::Serving).count();
///     serving >= usize::from(status.slots)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// Which run of `main` new workers are from. Grows from 1.
    pub generation: u64,
    /// How many workers there are meant to be.
    pub slots: u16,
    /// Whether the cluster is on its way to its end: nobody is replaced any more.
    pub stopping: bool,
    /// The processes that run as workers, by their numbers. A slot may have two for a while, one that drains
    /// and its successor, or none, while its next worker waits for its restart.
    pub workers: Vec<WorkerStatus>,
}

/// How one worker stands.
///
/// # Example
/// ```
/// fn line(worker: &cluster_core::WorkerStatus) -> String {
///     format!("worker {} in slot {}: pid {}, {:?}", worker.id, worker.slot, worker.pid, worker.state)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// Its number.
    pub id: WorkerId,
    /// Its place.
    pub slot: Slot,
    /// Its process id.
    pub pid: u32,
    /// Which run of `main` it is from.
    pub generation: u64,
    /// What it does.
    pub state: WorkerState,
}

/// What a worker does.
///
/// # Example
/// ```
/// # use cluster_core::WorkerState;
/// let takes_connections = |state| state == WorkerState::Serving;
/// assert!(!takes_connections(WorkerState::Draining));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WorkerState {
    /// A process, not ready yet.
    Starting,
    /// Ready.
    Serving,
    /// It takes nothing new and will end.
    Draining,
}

impl Status {
    /// Takes in what has happened. An event that the picture already shows changes nothing.
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::WorkerStarted { worker, slot, pid, generation } => {
                let state = WorkerState::Starting;
                let new =
                    WorkerStatus { id: *worker, slot: *slot, pid: *pid, generation: *generation, state };
                if let Err(at) = self.workers.binary_search_by_key(worker, |known| known.id) {
                    self.workers.insert(at, new);
                }
            }
            Event::WorkerReady { worker, .. } => self.put(*worker, WorkerState::Serving),
            Event::WorkerDraining { worker, .. } => self.put(*worker, WorkerState::Draining),
            Event::WorkerExited(exit) => self.workers.retain(|known| known.id != exit.worker),
            Event::Scaled { to, .. } => self.slots = *to,
            Event::Stopping { .. } | Event::StoppingNow | Event::GivingUp { .. } | Event::Stopped => {
                self.stopping = true;
            }
            Event::Starting { .. }
            | Event::OomGroup
            | Event::BacklogCut { .. }
            | Event::Listening { .. }
            | Event::WorkerOnline { .. }
            | Event::WorkerStalled { .. }
            | Event::AllReady { .. }
            | Event::DirectorReady { .. }
            | Event::DirectorStalled { .. }
            | Event::DirectorExited { .. }
            | Event::ForkServerReady { .. }
            | Event::ForkServerLost { .. }
            | Event::Undelivered { .. }
            | Event::EventsLost { .. } => {}
        }
    }

    fn put(&mut self, worker: WorkerId, state: WorkerState) {
        if let Ok(at) = self.workers.binary_search_by_key(&worker, |known| known.id) {
            self.workers[at].state = state;
        }
    }
}
