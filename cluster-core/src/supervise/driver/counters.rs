//! What is counted, for the director: looked at every 100 ms, and only while there is one.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::conn::listen::ClusterSocket;
use crate::id::PeerId;
use crate::supervise::driver::Driver;

/// No count that the director knows is older, if it reads.
const EVERY: Duration = Duration::from_millis(100);

impl Driver {
    /// Tells the director what has changed. One that does not read is told later.
    pub(super) fn tell_counters(&mut self) {
        self.counters_due = Instant::now() + EVERY;
        let workers: BTreeMap<_, _> = self
            .peers
            .iter()
            .filter_map(|(peer, held)| match peer {
                PeerId::Worker(worker) => Some((*worker, held.page().counts())),
                PeerId::Director(_) => None,
            })
            .collect();
        self.tell_listeners();
        self.told.tell_counts(workers, |word| self.exchange.tell_director(word));
    }

    /// Tells the director how the listeners stand.
    pub(super) fn tell_listeners(&mut self) {
        let listeners = self.sockets.iter().map(ClusterSocket::status);
        self.told.tell_listeners(listeners, |word| self.exchange.tell_director(word));
    }

    /// When to look again: never while nobody is told.
    pub(super) fn counters_due(&self) -> Option<Instant> {
        let lives = self.director.is_some_and(|director| self.peers.contains_key(&director));
        lives.then_some(self.counters_due)
    }
}
