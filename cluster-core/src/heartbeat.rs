//! The heartbeat: a process's runtime says in its page that it turns. How the primary sees it is `supervise/pulse.rs`.
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::HangLimit;
use crate::ebb::Ebb;
use crate::scoreboard::Page;
use crate::sys::memory;
use crate::sys::page::Mapped;

/// What beats.
pub(crate) struct Heart {
    page: Arc<Mapped<Page>>,
    every: Duration,
    /// On which thread it has beaten last.
    thread: Arc<AtomicI32>,
}

impl Heart {
    /// `thread` is for the number of the thread on which it has beaten last.
    pub(crate) fn new(page: Arc<Mapped<Page>>, limit: HangLimit, thread: Arc<AtomicI32>) -> Self {
        Self { page, every: limit.beat_every(), thread }
    }

    /// Beats for as long as the runtime turns. Never by the sentinel: that lives on when the runtime does not.
    pub(crate) async fn beat(&self) {
        let mut ebb = Ebb::default();
        loop {
            self.thread.store(nix::unistd::gettid().as_raw(), Relaxed);
            self.page.beat();
            let now = Instant::now();
            if ebb.has_come(now, self.page.connections_open()) {
                // On another thread: the pages of a large heap take a while. Where none is to be had they stay.
                let _ = thread::Builder::new().name("give-back".into()).spawn(memory::give_back);
            }
            let due = now + self.every;
            tokio::time::sleep_until(due).await;
            self.page.was_late(due.elapsed());
        }
    }
}
