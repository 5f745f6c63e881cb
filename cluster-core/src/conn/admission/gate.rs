//! An acceptor at the limits: it learns whether to take connections, and is woken when it may again.
use std::future::Future;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use tokio::time::{Instant, Sleep};

use crate::conn::admission::{Admission, OpenConnection, Room};
use crate::conn::connection::Connection;
use crate::conn::socket::{self, ListeningSocket, Trouble};

/// What an acceptor asks before it waits for connections.
pub(crate) struct Gate {
    admission: Arc<Admission>,
    /// Until the rate allows another.
    timer: Option<Pin<Box<Sleep>>>,
    /// It has waited for room in the cluster.
    has_waited: bool,
}

/// Whether an acceptor waits for connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// For up to so many.
    Open(usize),
    /// It takes none, and is woken when it may again.
    Closed,
    /// No worker takes any: the bell wakes it when one may.
    ClusterFull,
}

impl Gate {
    pub(crate) fn new(admission: Arc<Admission>) -> Self {
        Self { admission, timer: None, has_waited: false }
    }

    /// Whether it may take connections: up to `most`.
    pub(crate) fn ask(&mut self, most: usize, cx: &mut Context<'_>) -> Entry {
        loop {
            match self.admission.room(most) {
                Room::For(count) => {
                    self.timer = None;
                    if std::mem::take(&mut self.has_waited) {
                        self.admission.pass_on();
                    }
                    return Entry::Open(count);
                }
                Room::AfterOne => {
                    self.admission.wait(cx.waker());
                    if self.admission.room(most) == Room::AfterOne {
                        return Entry::Closed;
                    }
                }
                Room::At(then) => {
                    let then = Instant::from_std(then);
                    let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(then)));
                    timer.as_mut().reset(then);
                    if timer.as_mut().poll(cx).is_pending() {
                        return Entry::Closed;
                    }
                }
                Room::InCluster => {
                    self.has_waited = true;
                    if self.admission.must_wait_for_cluster() {
                        return Entry::ClusterFull;
                    }
                }
            }
        }
    }

    /// Whether its own worker has no room: others may.
    pub(crate) fn has_its_fill(&self) -> bool {
        match self.admission.room(1) {
            Room::AfterOne | Room::At(_) => true,
            Room::For(_) | Room::InCluster => false,
        }
    }

    /// Accepts a connection and counts it, unless a limit is reached.
    pub(crate) fn accept(&self, listener: &ListeningSocket) -> Result<Connection, Trouble> {
        let open = Admission::admit(&self.admission).ok_or(Trouble::Full)?;
        match socket::accept(listener.as_fd()) {
            Ok(incoming) => {
                open.established();
                Connection::new(incoming, open).map_err(Trouble::from)
            }
            Err(err) => {
                Admission::not_needed(open);
                Err(Trouble::from(err))
            }
        }
    }

    /// A connection that was claimed has come.
    pub(crate) fn arrived(&self) -> OpenConnection {
        Admission::arrived(&self.admission)
    }

    /// It takes none any more, nor do the worker's other acceptors.
    pub(crate) fn leave(&self) {
        self.admission.leave();
    }
}
