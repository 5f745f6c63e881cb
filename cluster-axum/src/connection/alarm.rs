//! Wakes a connection when its client has used up its time.
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::connection::patience::{Awaited, Patience, Timeouts};

/// How often a connection is looked at on which nobody is waited for. An answer of HTTP/2 may end on another thread, just
/// after its connection was looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// One timer for a connection's whole life. It is set anew only where it would ring too late, or has rung: with a
/// deadline per request, setting it would be most of what deadlines cost.
pub(crate) struct Alarm {
    timeouts: Timeouts,
    patience: Patience,
    /// Made when it is first needed, that is when the first request does not come with the connection.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    pub(crate) fn new(timeouts: Timeouts) -> Self {
        Self { timeouts, patience: Patience::begin(Instant::now()), timer: None }
    }

    /// Resolves when the client has used up its time. The caller is one task, and calls again when it is woken.
    pub(crate) fn poll(&mut self, awaited: Awaited, requests: u32, cx: &mut Context<'_>) -> Poll<()> {
        self.patience.note(awaited, requests, Instant::now);
        let deadline = self.patience.deadline(&self.timeouts);
        loop {
            let has_rung = self.timer.as_ref().is_some_and(|timer| timer.is_elapsed());
            let at = match deadline {
                Some(at) if has_rung && at <= Instant::now() => return Poll::Ready(()),
                Some(at) => at,
                None if has_rung || self.timer.is_none() => Instant::now() + LOOK_AGAIN,
                None => return Poll::Pending,
            };
            let timer = match &mut self.timer {
                Some(timer) if !has_rung && timer.deadline() <= at => return Poll::Pending,
                Some(timer) => {
                    timer.as_mut().reset(at);
                    timer
                }
                none => none.insert(Box::pin(sleep_until(at))),
            };
            // So that it wakes this task, whatever that has done in this turn: it is not asked again before it rings. It
            // may have rung at once.
            if pin!(unconstrained(timer.as_mut())).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
