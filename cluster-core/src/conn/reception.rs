//! What a worker takes connections with.
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::conn::acceptor::Acceptor;
use crate::conn::bell::Bell;
use crate::conn::doorbell::Door;
use crate::conn::listen::{BindKey, ClusterSocket};
use crate::conn::queue::Queue;
use crate::scoreboard::Page;
use crate::sys::page::Mapped;
use crate::worker::Worker;

/// The sockets of a worker, and its door.
pub(crate) struct Reception {
    sockets: Vec<ClusterSocket>,
    means: Means,
    /// Opened for the first acceptor.
    door: Mutex<Option<Arc<Door>>>,
}

/// What the primary gives a worker to take connections with.
pub(crate) struct Means {
    pub(crate) page: Arc<Mapped<Page>>,
    pub(crate) bell: Arc<Bell>,
}

impl Reception {
    pub(crate) fn new(sockets: Vec<ClusterSocket>, means: Means) -> Self {
        Self { sockets, means, door: Mutex::default() }
    }

    /// Takes connections of one listener.
    pub(crate) fn acceptor(&self, worker: Worker, key: &BindKey) -> io::Result<Acceptor> {
        let ours = self.sockets.iter().filter(|socket| key.is_of(&socket.name));
        // Descriptors of its own: a descriptor is in a wait set once (epoll_ctl(2), EEXIST).
        let listeners =
            ours.map(|socket| socket.listener.try_clone().map(Arc::new)).collect::<io::Result<_>>()?;
        Ok(Acceptor::new(worker, Queue::new(self.means.page.clone(), &self.door()?, listeners)))
    }

    fn door(&self) -> io::Result<Arc<Door>> {
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(door) = &*door {
            return Ok(door.clone());
        }
        Ok(door.insert(Door::open(self.means.bell.clone(), self.means.page.clone())?).clone())
    }
}
