//! How far a worker's drain has come, as its connections see it.
use std::sync::atomic::{AtomicU8, Ordering};

use cluster_core::Worker;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

const SERVING: u8 = 0;
const LAME_DUCK: u8 = 1;
const CLOSING: u8 = 2;

/// A worker's drain. Each request reads it, so reading is one atomic load and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    phase: AtomicU8,
    closing: Notify,
}

impl Drain {
    /// Whether responses tell their clients to close: from the start of the lame duck on.
    pub(crate) fn says_close(&self) -> bool {
        self.phase.load(Ordering::Relaxed) != SERVING
    }

    /// Whether idle connections are closed: from the end of the lame duck on.
    pub(crate) fn is_closing(&self) -> bool {
        self.phase.load(Ordering::Acquire) == CLOSING
    }

    /// Wakes its task when [`is_closing`](Self::is_closing) becomes true, if it is made BEFORE that is asked.
    pub(crate) fn closing(&self) -> Notified<'_> {
        self.closing.notified()
    }

    pub(crate) fn begin_lame_duck(&self) {
        debug_assert_eq!(self.phase.load(Ordering::Relaxed), SERVING);
        self.phase.store(LAME_DUCK, Ordering::Release);
    }

    pub(crate) fn close(&self) {
        // BEFORE the wake-up: who is woken reads the phase, once.
        self.phase.store(CLOSING, Ordering::Release);
        self.closing.notify_waiters();
    }

    /// Follows the worker's drain to its end.
    pub(crate) async fn follow(&self, worker: &Worker) {
        worker.draining().await;
        self.begin_lame_duck();
        worker.lame_duck_over().await;
        self.close();
    }
}
