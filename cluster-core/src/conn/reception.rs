//! What a worker takes connections with.
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use crate::conn::acceptor::Acceptor;
use crate::conn::admission::gate::Gate;
use crate::conn::admission::{Admission, Ledger, Limits, Share};
use crate::conn::handoff::handed::Handed;
use crate::conn::handoff::intake::Intake;
use crate::conn::listen::{BindKey, ClusterSocket};
use crate::conn::shared::Bell;
use crate::conn::shared::Rota;
use crate::conn::shared::doorbell::Door;
use crate::conn::shared::queue::Queue;
use crate::conn::shared::turns::Turns;
use crate::conn::source::Source;
use crate::id::Slot;
use crate::scheduling::Scheduling;
use crate::scoreboard::Page;
use crate::sys::page::Mapped;
use crate::worker::Worker;

/// The sockets of a worker, and its door.
pub(crate) struct Reception {
    sockets: Vec<ClusterSocket>,
    means: Means,
    admission: Arc<Admission>,
    /// Opened for the first acceptor that helps itself.
    door: Mutex<Option<Arc<Door>>>,
    /// Opened for the first acceptor that is handed connections.
    intake: Mutex<Option<Arc<Intake>>>,
}

/// What the primary gives a worker to take connections with.
pub(crate) struct Means {
    pub(crate) page: Arc<Mapped<Page>>,
    pub(crate) bell: Arc<Bell>,
    pub(crate) rota: Arc<Mapped<Rota>>,
    pub(crate) slot: Slot,
    /// By which connections are handed out, where some are.
    pub(crate) passing: Option<Arc<OwnedFd>>,
    /// What the whole cluster has open, where that is limited, and this worker's place in it.
    pub(crate) ledger: Option<(Mapped<Ledger>, usize)>,
}

impl Reception {
    pub(crate) fn new(sockets: Vec<ClusterSocket>, mut means: Means, limits: &Limits) -> Self {
        let share =
            means.ledger.take().map(|(ledger, place)| Share { ledger, place, bell: means.bell.clone() });
        let passing = means.passing.clone();
        let admission = Arc::new(Admission::new(means.page.clone(), limits, share, passing));
        Self { sockets, means, admission, door: Mutex::default(), intake: Mutex::default() }
    }

    /// Takes connections of one listener.
    pub(crate) fn acceptor(&self, worker: Worker, key: &BindKey) -> io::Result<Acceptor> {
        let ours = self.sockets.iter().enumerate().filter(|(_, socket)| key.is_of(&socket.name));
        let (mut listeners, mut numbers, mut scheduling) = (Vec::new(), Vec::new(), Scheduling::default());
        for (number, socket) in ours {
            // Descriptors of its own: a descriptor is in a wait set once (epoll_ctl(2), EEXIST).
            listeners.push(Arc::new(socket.listener.try_clone()?));
            numbers.push(u16::try_from(number).map_err(io::Error::other)?);
            scheduling = socket.name.scheduling;
        }
        let page = self.means.page.clone();
        let source = match (scheduling, &self.means.passing) {
            (Scheduling::RoundRobin | Scheduling::LeastConnections, Some(passing)) => {
                let gate = Gate::new(self.admission.clone());
                Source::Handed(Handed::new(self.intake(passing)?, gate, listeners, numbers))
            }
            (Scheduling::Shared, _) | (_, None) => {
                let gate = Gate::new(self.admission.clone());
                let turns = Turns::new(self.means.rota.clone(), self.means.slot);
                Source::Queue(Queue::new(page, turns, gate, &self.door()?, listeners))
            }
        };
        // BEFORE the worker is ready, which it is when it accepts.
        self.admission.begin();
        Ok(Acceptor::new(worker, source))
    }

    fn intake(&self, passing: &Arc<OwnedFd>) -> io::Result<Arc<Intake>> {
        let mut intake = self.intake.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(intake) = &*intake {
            return Ok(intake.clone());
        }
        Ok(intake
            .insert(Intake::open(passing.clone(), self.means.page.clone(), self.admission.clone())?)
            .clone())
    }

    fn door(&self) -> io::Result<Arc<Door>> {
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(door) = &*door {
            return Ok(door.clone());
        }
        Ok(door.insert(Door::open(self.means.bell.clone(), self.means.page.clone())?).clone())
    }
}
