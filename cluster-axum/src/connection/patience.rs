//! How long a client is waited for between requests. Decides, without a clock; `alarm.rs` waits.
use std::time::Duration;

use tokio::time::Instant;

/// Whom a body is not too slow for: one that sends, or takes, so much within the time that it has.
pub(crate) const PROGRESS: usize = 16 * 1024;

/// How long a client may take; none: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// For the head of a request, from its first byte; for that of the first from the connection's begin.
    pub(crate) header_read: Option<Duration>,
    /// Until it begins its next request.
    pub(crate) keep_alive: Option<Duration>,
    /// For each [`PROGRESS`] of a request's body.
    pub(crate) body: Option<Duration>,
    /// Without taking any part of an answer.
    pub(crate) write: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header_read: Some(Duration::from_secs(30)),
            // Longer than the 60 s that proxies and balancers keep theirs open: they are to close first.
            keep_alive: Some(Duration::from_secs(75)),
            body: Some(Duration::from_secs(30)),
            write: Some(Duration::from_secs(60)),
        }
    }
}

/// What its client is to do next, as a connection sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// Nothing: a request is being served, or an answer is on its way.
    Nothing,
    /// It sends the head of a request of HTTP/1.
    Head,
    /// It may send another request.
    Request,
    /// It has been told that the connection ends (HTTP/2).
    End,
}

/// Since when a client is waited for, and for what.
#[derive(Debug)]
pub(crate) struct Patience {
    awaited: Awaited,
    /// Requests that had come.
    requests: u32,
    since: Instant,
}

impl Patience {
    /// A connection begins.
    pub(crate) fn begin(now: Instant) -> Self {
        Self { awaited: Awaited::Head, requests: 0, since: now }
    }

    /// Takes note of what is so now. The clock is asked only where the wait is a new one.
    pub(crate) fn note(&mut self, awaited: Awaited, requests: u32, now: impl FnOnce() -> Instant) {
        if (awaited, requests) == (self.awaited, self.requests) {
            return;
        }
        (self.awaited, self.requests) = (awaited, requests);
        if awaited != Awaited::Nothing {
            self.since = now();
        }
    }

    /// When the client has used up its time.
    pub(crate) fn deadline(&self, timeouts: &Timeouts) -> Option<Instant> {
        let limit = match self.awaited {
            Awaited::Nothing => None,
            Awaited::Head | Awaited::End => timeouts.header_read,
            Awaited::Request => timeouts.keep_alive,
        };
        limit.map(|limit| self.since + limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn timeouts() -> Timeouts {
        Timeouts { header_read: Some(3 * SECOND), keep_alive: Some(7 * SECOND), ..Timeouts::default() }
    }

    #[test]
    fn more_bytes_of_a_head_buy_no_time() {
        let start = Instant::now();
        let mut patience = Patience::begin(start);
        patience.note(Awaited::Head, 0, || start + 2 * SECOND);
        assert_eq!(patience.deadline(&timeouts()), Some(start + 3 * SECOND));
    }

    #[test]
    fn each_answer_begins_a_new_wait_for_a_request() {
        let start = Instant::now();
        let mut patience = Patience::begin(start);
        for request in 1..4 {
            let now = start + request * SECOND;
            patience.note(Awaited::Request, request, || now);
            assert_eq!(patience.deadline(&timeouts()), Some(now + 7 * SECOND));
        }
    }

    #[test]
    fn the_first_byte_of_a_head_ends_the_wait_for_a_request() {
        let start = Instant::now();
        let mut patience = Patience::begin(start);
        patience.note(Awaited::Request, 1, || start);
        patience.note(Awaited::Head, 1, || start + 6 * SECOND);
        assert_eq!(patience.deadline(&timeouts()), Some(start + 9 * SECOND));
    }

    #[test]
    fn who_is_served_has_no_deadline_and_none_is_asked_for_the_time() {
        let mut patience = Patience::begin(Instant::now());
        patience.note(Awaited::Nothing, 1, || unreachable!("nobody is waited for"));
        assert_eq!(patience.deadline(&timeouts()), None);
    }

    #[test]
    fn without_limits_nobody_is_hurried() {
        let never = Timeouts { header_read: None, keep_alive: None, body: None, write: None };
        let mut patience = Patience::begin(Instant::now());
        assert_eq!(patience.deadline(&never), None);
        patience.note(Awaited::Request, 1, Instant::now);
        assert_eq!(patience.deadline(&never), None);
    }
}
