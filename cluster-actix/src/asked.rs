//! What handles ask of a server, on its way to who can do it.
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::watch;

/// What has been asked of a server; it only ever gets more urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    NotAsked,
    Gracefully,
    AtOnce,
}

/// The wish for an end, from the handles to who can fulfil it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    stop: Arc<watch::Sender<Stop>>,
    /// The primary has heard the wish, so it handles signals.
    heard: Arc<AtomicBool>,
    paused: Arc<watch::Sender<bool>>,
}

impl Asked {
    pub(crate) fn new() -> Self {
        let (stop, paused) = (watch::Sender::new(Stop::NotAsked), watch::Sender::new(false));
        Self { stop: Arc::new(stop), heard: Arc::default(), paused: Arc::new(paused) }
    }

    pub(crate) fn for_stop(&self, stop: Stop) {
        self.stop.send_if_modified(|asked| stop > std::mem::replace(asked, stop.max(*asked)));
        if stop == Stop::AtOnce && self.heard.load(Ordering::SeqCst) {
            insist();
        }
    }

    /// For a pause, or for its end.
    pub(crate) fn for_pause(&self, paused: bool) {
        self.paused.send_if_modified(|now| std::mem::replace(now, paused) != paused);
    }

    pub(crate) fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    pub(crate) async fn until_paused(&self) {
        self.until_pause_is(true).await;
    }

    pub(crate) async fn until_resumed(&self) {
        self.until_pause_is(false).await;
    }

    async fn until_pause_is(&self, wanted: bool) {
        if self.paused.subscribe().wait_for(|paused| *paused == wanted).await.is_err() {
            // Not while `self` holds the sender.
            pending().await
        }
    }

    pub(crate) async fn gracefully(&self) {
        self.until(Stop::Gracefully).await;
    }

    pub(crate) async fn at_once(&self) {
        self.until(Stop::AtOnce).await;
    }

    async fn until(&self, least: Stop) {
        if self.stop.subscribe().wait_for(|asked| *asked >= least).await.is_err() {
            // Not while `self` holds the sender.
            pending().await
        }
    }

    /// For the primary, which polls it once it hears signals: resolves when a graceful stop is asked for, and
    /// sees to it that a stop at once is one.
    pub(crate) async fn of_the_primary(self) {
        self.gracefully().await;
        // BEFORE the second look: a wish that comes in between is seen by one of the two.
        self.heard.store(true, Ordering::SeqCst);
        if *self.stop.borrow() == Stop::AtOnce {
            insist();
        }
    }
}

/// A stop at once is the primary's answer to QUIT.
fn insist() {
    // One's own process is there and may be signalled.
    let _ = kill(Pid::this(), Signal::SIGQUIT);
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[actix_web::test]
    async fn a_wish_for_an_end_only_gets_more_urgent() {
        let asked = Asked::new();
        assert_eq!(asked.gracefully().now_or_never(), None);
        asked.for_stop(Stop::AtOnce);
        asked.for_stop(Stop::Gracefully);
        assert_eq!(asked.gracefully().now_or_never(), Some(()));
        assert_eq!(asked.at_once().now_or_never(), Some(()));
    }

    #[actix_web::test]
    async fn a_pause_lasts_until_it_is_taken_back() {
        let asked = Asked::new();
        assert_eq!(asked.until_paused().now_or_never(), None);
        asked.for_pause(true);
        assert_eq!(asked.until_paused().now_or_never(), Some(()));
        assert_eq!(asked.until_resumed().now_or_never(), None);
        asked.for_pause(false);
        assert_eq!(asked.until_resumed().now_or_never(), Some(()));
    }
}
