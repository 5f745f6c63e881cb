//! A connection while it is served: its client may not be slow for ever, and in a drain it is told to leave.
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use cluster_core::{Draining, Worker};
use futures::FutureExt as _;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::wire::{Spoken, Talk};
use crate::settings::Settings;

pin_project! {
    /// A connection that is served to its end, or until it has to be closed.
    pub(super) struct Attended<F> {
        #[pin]
        served: F,
        talk: Rc<Talk>,
        asking: Patience,
        taking: Patience,
        // In HTTP/1 actix-http says it.
        farewell: Option<Farewell>,
    }
}

impl<F: Future<Output = ()>> Attended<F> {
    pub(super) fn new(served: F, talk: Rc<Talk>, settings: &Settings, worker: &Worker) -> Self {
        let speaks_http2 = talk.frames().is_some();
        Self {
            served,
            talk,
            asking: Patience::new(settings.client_request_timeout),
            taking: Patience::new(settings.client_write_timeout),
            farewell: speaks_http2.then(|| Farewell::new(worker, settings.client_disconnect_timeout)),
        }
    }
}

impl<F: Future<Output = ()>> Future for Attended<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let (mut served, talk) = (this.served, &*this.talk);
        let mut serve = |cx: &mut Context<'_>| {
            let _spoken = Spoken::of(talk);
            served.as_mut().poll(cx)
        };
        if serve(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(farewell) = this.farewell else {
            if this.asking.poll(half_a_head(talk), cx).is_ready() {
                return Poll::Ready(());
            }
            return this.taking.poll(talk.waits_for_taking(), cx);
        };
        if farewell.poll(talk, cx) {
            // It has a word to say, which this writes.
            if serve(cx).is_ready() {
                return Poll::Ready(());
            }
        }
        if this.taking.poll(talk.waits_for_taking(), cx).is_ready() {
            return Poll::Ready(());
        }
        farewell.poll_end(talk, cx)
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
    #[inline]
    fn poll(&mut self, waits_for: Option<u64>, cx: &mut Context<'_>) -> Poll<()> {
        if waits_for.is_none() && self.waits_for.is_none() {
            return Poll::Pending;
        }
        self.wait(waits_for, cx)
    }

    fn wait(&mut self, waits_for: Option<u64>, cx: &mut Context<'_>) -> Poll<()> {
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
    /// For so long a client that was told so may keep the connection. Zero: for as long as it likes.
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
        if !talk.frames().expect("it speaks HTTP/2").is_over() || self.linger.is_zero() {
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
