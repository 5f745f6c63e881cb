//! When a connection is told to end, or closed: by a drain, or because its client has used up its time.
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use cluster_core::adapter::Traffic;

use crate::connection::alarm::Alarm;
use crate::connection::patience::{Awaited, Timeouts};
use crate::drain::{Drain, Phase};

/// What is to be done with a connection that has nothing more to do by itself.
pub(crate) enum Next {
    Wait,
    /// Poll it again: something has changed meanwhile.
    Again,
    /// HTTP/2: GOAWAY, and what is open is finished. HTTP/1: it is idle, and closed.
    Tell,
    Cut,
}

/// How far a connection has come.
pub(crate) struct Course<'a> {
    drain: &'a Drain,
    traffic: &'a Traffic,
    /// The client does not take what is to be written.
    writes: Arc<AtomicBool>,
    alarm: Alarm,
    heeded: Option<Phase>,
    is_told: bool,
}

impl<'a> Course<'a> {
    pub(crate) fn new(
        drain: &'a Drain,
        timeouts: Timeouts,
        traffic: &'a Traffic,
        writes: Arc<AtomicBool>,
    ) -> Self {
        Self { drain, traffic, writes, alarm: Alarm::new(timeouts), heeded: None, is_told: false }
    }

    /// Looks at a connection that was polled. `requests` have come until now.
    pub(crate) fn look(
        &mut self,
        may_close: Pin<&mut impl Future<Output = ()>>,
        requests: u32,
        cx: &mut Context<'_>,
    ) -> Next {
        if !self.is_told {
            match self.heed(may_close, cx) {
                Next::Wait => {}
                next @ (Next::Again | Next::Tell | Next::Cut) => return next,
            }
        }
        let awaited = self.awaited(requests);
        if self.alarm.poll(awaited, requests, cx).is_pending() {
            return Next::Wait;
        }
        if awaited == Awaited::Request && self.traffic.is_http2() {
            self.is_told = true;
            return Next::Tell;
        }
        Next::Cut
    }

    /// Follows the drain.
    fn heed(&mut self, may_close: Pin<&mut impl Future<Output = ()>>, cx: &mut Context<'_>) -> Next {
        let phase = self.drain.phase();
        if phase == Phase::Serving || !self.traffic.is_http2() {
            if self.heeded == Some(phase) && phase != Phase::Closing {
                return Next::Wait;
            }
            self.heeded = Some(phase);
            match may_close.poll(cx) {
                // It began a request and did not go on.
                Poll::Ready(()) if !self.traffic.is_quiet() => return Next::Cut,
                Poll::Ready(()) => {}
                Poll::Pending if self.drain.phase() == phase => return Next::Wait,
                Poll::Pending => return Next::Again,
            }
        }
        self.is_told = true;
        Next::Tell
    }

    /// Whether the application has no request, and the client has taken all of its answers.
    pub(crate) fn is_idle(&self) -> bool {
        !self.writes.load(Relaxed) && self.traffic.has_answered()
    }

    fn awaited(&self, requests: u32) -> Awaited {
        if !self.is_idle() {
            return Awaited::Nothing;
        }
        match (self.traffic.is_http2(), self.is_told) {
            (true, true) => Awaited::End,
            (true, false) => Awaited::Request,
            (false, _) if requests == 0 || !self.traffic.is_quiet() => Awaited::Head,
            (false, _) => Awaited::Request,
        }
    }
}
