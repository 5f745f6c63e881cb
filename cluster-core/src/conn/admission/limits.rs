//! How many connections a cluster has at a time, and what becomes of the others.
use std::sync::Arc;

use crate::conn::admission::book::Book;
use crate::scoreboard::{Page, Stance};

/// What becomes of connections above the limits
/// ([`max_connections`](crate::Builder::max_connections),
/// [`max_cluster_connections`](crate::Builder::max_cluster_connections),
/// [`max_connection_rate`](crate::Builder::max_connection_rate)).
///
/// # Example
/// ```
/// use cluster_core::{Cluster, Overload};
/// Cluster::builder().max_connections(10_000).overload(Overload::Refuse);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Overload {
    /// They wait in the kernel's queue, and are accepted as soon as there is room. A client sees its connection
    /// established, and no answer until then. When the queue is full as well (its length is
    /// [`Addr::backlog`](crate::Addr::backlog)) the kernel lets further clients wait to connect.
    #[default]
    Wait,
    /// Where no worker has room they are accepted and reset, by the primary, within milliseconds. A client sees
    /// `ECONNRESET`, and can go elsewhere: nothing of a request was handled. A reset leaves nothing behind on this
    /// side, where an orderly end would keep each connection for a minute (TIME_WAIT), just when there are too many.
    /// A client at a unix socket sees the end of the stream.
    Refuse,
}

/// The limits of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    /// Open connections of a worker.
    pub(crate) worker: Option<u64>,
    /// Open connections of all workers.
    pub(crate) cluster: Option<u64>,
    /// New connections of a worker per second.
    pub(crate) rate: Option<u32>,
    pub(crate) overload: Overload,
}

impl Limits {
    /// Whether there are connections to refuse.
    pub(crate) fn refuse(&self) -> bool {
        let any = self.worker.is_some() || self.cluster.is_some() || self.rate.is_some();
        any && self.overload == Overload::Refuse
    }
}

/// What the primary knows of the limits: workers keep to theirs themselves.
pub(crate) struct AdmissionPolicy {
    /// What the cluster has open, where that is limited.
    pub(crate) book: Option<Arc<Book>>,
    /// Whoever there is no room for is refused.
    pub(crate) refuses: bool,
}

/// Whether all workers that take connections have no room, so that whoever waits, waits for room and for nothing
/// else. Where nobody takes any, because all start or drain, nobody is full.
pub(crate) fn all_full<'p>(pages: impl IntoIterator<Item = &'p Page>) -> bool {
    let mut any = false;
    for page in pages {
        match page.stance() {
            Stance::Away => {}
            Stance::Takes => return false,
            Stance::Full => any = true,
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::page::Mapped;

    #[test]
    fn a_cluster_is_full_when_all_who_take_connections_are() {
        let page = |stance| {
            let (page, _) = Mapped::<Page>::create(c"test").unwrap();
            page.stand(stance);
            page
        };
        let full = |stances: &[Stance]| {
            let pages: Vec<_> = stances.iter().map(|stance| page(*stance)).collect();
            all_full(pages.iter().map(|page| &**page))
        };
        use Stance::{Away, Full, Takes};
        assert!(full(&[Full, Full]) && full(&[Away, Full]));
        assert!(!full(&[Full, Takes]) && !full(&[Away]) && !full(&[]));
    }
}
