//! The heartbeat: a process's runtime says in its page that it turns. How the primary sees it is `supervise/pulse.rs`.
use std::sync::Arc;
use std::time::Duration;

use crate::config::HangLimit;
use crate::scoreboard::Page;
use crate::sys::page::Mapped;

/// What beats.
pub(crate) struct Heart {
    page: Arc<Mapped<Page>>,
    every: Duration,
}

impl Heart {
    pub(crate) fn new(page: Arc<Mapped<Page>>, limit: HangLimit) -> Self {
        Self { page, every: limit.beat_every() }
    }

    /// Beats for as long as the runtime turns. Never by the sentinel: that lives on when the runtime does not.
    pub(crate) async fn beat(&self) {
        loop {
            self.page.beat();
            tokio::time::sleep(self.every).await;
        }
    }
}
