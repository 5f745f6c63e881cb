//! How the cluster stands: a picture that events keep up to date.
use serde::{Deserialize, Serialize};

use crate::event::{ConnectionCounts, Event, ListenerStatus, WorkerCounts};
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
    /// The listening sockets, in the order in which `main` asks for them. An address such as `localhost` may have
    /// several.
    pub listeners: Vec<ListenerStatus>,
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
    /// What it has counted of its connections. Told when it has changed, at most every 100 ms.
    pub connections: ConnectionCounts,
    /// Memory that it shares with nobody, in bytes: what would be free if it ended. What was loaded before a fork is
    /// shared until it is written to. `None` until it was measured, a second after its birth; then every 5 s while it
    /// changes, every 20 s while it does not, and less often where it has more than 1 GiB, because measuring takes time. A worker measures itself, and the primary
    /// believes none of it.
    pub private_memory: Option<u64>,
}

impl WorkerStatus {
    fn counts(&self) -> WorkerCounts {
        WorkerCounts { connections: self.connections, private_memory: self.private_memory }
    }
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
    /// What all workers that there are have counted, together.
    ///
    /// # Example
    /// ```
    /// fn line(status: &cluster_core::Status) -> String {
    ///     format!("{} connections are open", status.connections().open)
    /// }
    /// ```
    pub fn connections(&self) -> ConnectionCounts {
        let each = self.workers.iter().map(|worker| worker.connections);
        each.fold(ConnectionCounts::default(), ConnectionCounts::plus)
    }

    /// Takes in how things stand. What was counted is told apart, and stays.
    pub(crate) fn replace(&mut self, new: Self) {
        let old = std::mem::replace(self, new);
        self.listeners = old.listeners;
        self.count(old.workers.iter().map(|worker| (worker.id, worker.counts())));
    }

    /// Takes in what workers have counted. One that is not there any more is passed over.
    pub(crate) fn count(&mut self, counts: impl IntoIterator<Item = (WorkerId, WorkerCounts)>) {
        for (id, WorkerCounts { connections, private_memory }) in counts {
            if let Ok(at) = self.workers.binary_search_by_key(&id, |known| known.id) {
                self.workers[at].connections = connections;
                self.workers[at].private_memory = private_memory;
            }
        }
    }

    /// Takes in how a listener stands: they are told in their order.
    pub(crate) fn listens(&mut self, number: u16, listener: ListenerStatus) {
        match self.listeners.get_mut(usize::from(number)) {
            Some(known) => *known = listener,
            None => self.listeners.push(listener),
        }
    }

    /// Takes in what has happened. An event that the picture already shows changes nothing.
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::WorkerStarted { worker, slot, pid, generation } => {
                let state = WorkerState::Starting;
                let new = WorkerStatus {
                    id: *worker,
                    slot: *slot,
                    pid: *pid,
                    generation: *generation,
                    state,
                    connections: ConnectionCounts::default(),
                    private_memory: None,
                };
                if let Err(at) = self.workers.binary_search_by_key(worker, |known| known.id) {
                    self.workers.insert(at, new);
                }
            }
            Event::WorkerReady { worker, .. } => self.put(*worker, WorkerState::Serving),
            Event::WorkerDraining { worker, .. } => self.put(*worker, WorkerState::Draining),
            Event::WorkerExited(exit) => self.workers.retain(|known| known.id != exit.worker),
            Event::Scaled { to, .. } => self.slots = *to,
            Event::RollingOut { generation } | Event::RollingBack { generation, .. } => {
                self.generation = *generation;
            }
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
            | Event::Reloading { .. }
            | Event::Reloaded { .. }
            | Event::ReloadFailed { .. }
            | Event::ReopenLogs
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scheduling;

    fn worker(id: u64, open: u64) -> WorkerStatus {
        let connections = ConnectionCounts { open, ..ConnectionCounts::default() };
        let (id, slot, state) = (WorkerId(id), Slot(0), WorkerState::Serving);
        WorkerStatus { id, slot, pid: 1, generation: 1, state, connections, private_memory: None }
    }

    #[test]
    fn invariant_8_numbers_that_are_no_counts_add_up_all_the_same() {
        let status = Status { workers: vec![worker(1, u64::MAX), worker(2, 7)], ..Status::default() };
        assert_eq!(status.connections().open, u64::MAX);
        assert_eq!(status.connections().total, 0);
    }

    #[test]
    fn a_new_picture_keeps_what_was_counted() {
        let mut status = Status { workers: vec![worker(1, 5), worker(2, 6)], ..Status::default() };
        let at = ListenerStatus {
            address: "127.0.0.1:1".into(),
            scheduling: Scheduling::Shared,
            queued: Some(3),
            backlog: Some(9),
            refused: 0,
        };
        status.listens(0, at.clone());
        status.listens(0, ListenerStatus { queued: Some(4), ..at.clone() });
        status.replace(Status { workers: vec![worker(2, 0), worker(3, 0)], slots: 2, ..Status::default() });
        status.count([(WorkerId(9), WorkerCounts::default())]);
        assert_eq!((status.slots, status.connections().open), (2, 6));
        assert_eq!(status.listeners, [ListenerStatus { queued: Some(4), ..at }]);
    }
}
