//! How far a worker's drain has come, as its connections see it.
use std::sync::atomic::{AtomicU8, Ordering};

use cluster_core::Worker;
use cluster_core::adapter::Traffic;
use tokio::sync::Notify;

/// The parts of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    Serving = 0,
    /// Answers tell their clients to leave; who has nothing to ask may stay.
    LameDuck = 1,
    /// Who has nothing to ask is closed.
    Closing = 2,
}

/// A worker's drain. Each request reads it, so reading is one atomic load and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    phase: AtomicU8,
    change: Notify,
}

impl Drain {
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::LameDuck,
            _ => Phase::Closing,
        }
    }

    /// Whether responses tell their clients to close: from the start of the lame duck on.
    pub(crate) fn says_close(&self) -> bool {
        self.phase.load(Ordering::Relaxed) != Phase::Serving as u8
    }

    /// Resolves when a connection of HTTP/1 may be closed. Wakes its task at each change of the phase; until then
    /// there is no need to poll it again, and that would take a lock.
    pub(crate) async fn may_close(&self, traffic: &Traffic) {
        self.reached(Phase::LameDuck).await;
        self.reached(Phase::Closing).await;
        traffic.may_close().await;
    }

    /// Resolves when the drain has come so far.
    pub(crate) async fn reached(&self, phase: Phase) {
        loop {
            // BEFORE the look, so that no change is missed after it.
            let change = self.change.notified();
            if self.phase() >= phase {
                return;
            }
            change.await;
        }
    }

    pub(crate) fn begin_lame_duck(&self) {
        self.enter(Phase::LameDuck);
    }

    pub(crate) fn close(&self) {
        self.enter(Phase::Closing);
    }

    fn enter(&self, phase: Phase) {
        // BEFORE the wake-up: who is woken reads the phase, once.
        self.phase.store(phase as u8, Ordering::Release);
        self.change.notify_waiters();
    }

    /// Follows the worker's drain to its end.
    pub(crate) async fn follow(&self, worker: &Worker) {
        worker.draining().await;
        self.begin_lame_duck();
        worker.lame_duck_over().await;
        self.close();
    }
}
