//! A connection while it is served: its client may not be slow for ever, and in a drain it is told to leave.
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use cluster_core::{Draining, Worker};
use futures::FutureExt as _;
use tokio::time::{Instant, Sleep, sleep_until};

use super::wire::{TALK, Talk};
use crate::settings::Settings;

/// Serves a connection to its end, or until it has to be closed.
pub(super) async fn attend(
    served: impl Future<Output = ()>,
    talk: Rc<Talk>,
    settings: &Settings,
    worker: &Worker,
) {
    let mut served = pin!(TALK.scope(talk.clone(), served));
    let mut taking = Patience::new(settings.client_write_timeout);
    if talk.frames().is_none() {
        let mut asking = Patience::new(settings.client_request_timeout);
        poll_fn(|cx| {
            if served.as_mut().poll(cx).is_ready()
                || asking.poll(half_a_head(&talk), cx).is_ready()
                || taking.poll(talk.waits_for_taking(), cx).is_ready()
            {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    } else {
        let mut farewell = Farewell::new(worker, settings.client_disconnect_timeout);
        poll_fn(|cx| {
            let mut ended = served.as_mut().poll(cx);
            if ended.is_pending() && farewell.poll(&talk, cx) {
                // It has a word to say, which this writes.
                ended = served.as_mut().poll(cx);
            }
            if ended.is_ready() || taking.poll(talk.waits_for_taking(), cx).is_ready() {
                return Poll::Ready(());
            }
            farewell.poll_end(&talk, cx)
        })
        .await;
    }
}

/// The number of a request of HTTP/1 whose head is half sent, where it is not the first. With that actix-http is impatient
/// itself, and answers 408.
fn half_a_head(talk: &Talk) -> Option<u64> {
    let (begun, traffic) = (talk.begun(), talk.traffic());
    (begun > 0 && !traffic.is_quiet() && traffic.has_answered()).then_some(begun)
}

/// How long a client may take for one thing.
struct Patience {
    /// Zero: for ever.
    limit: Duration,
    /// For what, by its number.
    waits_for: Option<u64>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { limit, waits_for: None, timer: None }
    }

    /// Ready when the client has had its time for what it is waited for.
    fn poll(&mut self, waits_for: Option<u64>, cx: &mut Context<'_>) -> Poll<()> {
        let is_new = waits_for != self.waits_for;
        self.waits_for = waits_for;
        if waits_for.is_none() || self.limit.is_zero() {
            return Poll::Pending;
        }
        let deadline = || Instant::now() + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline())));
        if is_new {
            timer.as_mut().reset(deadline());
        }
        timer.as_mut().poll(cx)
    }
}

/// A drain, as HTTP/2 is told of it: at its begin to ask elsewhere, at the end of the lame duck that all is over.
struct Farewell {
    begin: Option<Draining>,
    end: Option<Draining>,
    /// For so long a client that was told so may keep the connection.
    linger: Duration,
    lingers: Option<Pin<Box<Sleep>>>,
}

impl Farewell {
    fn new(worker: &Worker, linger: Duration) -> Self {
        let (begin, end) = (Some(worker.draining()), Some(worker.lame_duck_over()));
        Self { begin, end, linger, lingers: None }
    }

    /// Whether there is a new word.
    fn poll(&mut self, talk: &Talk, cx: &mut Context<'_>) -> bool {
        let mut frames = talk.frames().expect("it speaks HTTP/2");
        if has_come(&mut self.begin, cx) {
            frames.announce();
        }
        let over = has_come(&mut self.end, cx);
        if over {
            frames.dismiss();
        }
        frames.word().is_some()
    }

    /// Ready when the client was told that all is over, and has had a moment to hear it.
    fn poll_end(&mut self, talk: &Talk, cx: &mut Context<'_>) -> Poll<()> {
        if !talk.frames().expect("it speaks HTTP/2").is_over() {
            return Poll::Pending;
        }
        let linger = self.linger;
        self.lingers.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + linger))).as_mut().poll(cx)
    }
}

/// Whether it resolves, or has.
fn has_come(moment: &mut Option<Draining>, cx: &mut Context<'_>) -> bool {
    if moment.as_mut().is_some_and(|moment| moment.poll_unpin(cx).is_ready()) {
        *moment = None;
    }
    moment.is_none()
}
