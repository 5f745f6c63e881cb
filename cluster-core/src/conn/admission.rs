//! Whether a worker takes one more connection: it counts those that it has, and keeps to the limits.
mod book;
pub(crate) mod gate;
mod ledger;
pub(crate) mod limits;
mod rate;
pub(crate) mod spare;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use crate::conn::admission::ledger::{Attempt, Waiting};
use crate::conn::admission::rate::Bucket;
use crate::conn::handoff::passing::ToPrimary;
use crate::conn::shared::Bell;
use crate::scoreboard::{Change, Page, Stance};
use crate::sys::page::Mapped;

pub(crate) use book::{Book, Counted, Entry};
pub(crate) use ledger::Ledger;
pub use limits::Overload;
pub(crate) use limits::{AdmissionPolicy, Limits};

/// The connections of a worker, and its limits. One for all its acceptors.
pub(crate) struct Admission {
    page: Arc<Mapped<Page>>,
    most: Option<u64>,
    rate: Option<Mutex<Bucket>>,
    /// Its part in what the whole cluster has.
    share: Option<Share>,
    /// To the primary, where that hands connections out.
    passing: Option<Arc<OwnedFd>>,
    /// Acceptors that wait until a connection ends.
    waiting: Mutex<Vec<Waker>>,
    /// There are some.
    anybody_waits: AtomicBool,
}

/// A worker's part in the connections of all workers.
pub(crate) struct Share {
    pub(crate) ledger: Mapped<Ledger>,
    pub(crate) place: usize,
    pub(crate) bell: Arc<Bell>,
}

/// Whether there is room for connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// For so many, at least one.
    For(usize),
    /// When a connection of this worker has ended.
    AfterOne,
    /// When its rate allows another.
    At(Instant),
    /// When a connection of any worker has ended.
    InCluster,
}

impl Admission {
    pub(crate) fn new(
        page: Arc<Mapped<Page>>,
        limits: &Limits,
        share: Option<Share>,
        passing: Option<Arc<OwnedFd>>,
    ) -> Self {
        let rate = limits.rate.map(|rate| Mutex::new(Bucket::new(rate)));
        let (waiting, anybody_waits) = (Mutex::default(), AtomicBool::new(false));
        Self { page, most: limits.worker, rate, share, passing, waiting, anybody_waits }
    }

    /// For how many there is room, up to `most`. The others learn whether this worker has any of its own.
    pub(crate) fn room(&self, most: usize) -> Room {
        let room = self.own_room(most);
        self.stand(match room {
            Room::For(_) | Room::InCluster => Stance::Takes,
            Room::AfterOne | Room::At(_) => Stance::Full,
        });
        match (room, &self.share) {
            (Room::For(_), Some(share)) if share.ledger.is_full() => Room::InCluster,
            (room, _) => room,
        }
    }

    /// Tells how this worker stands. Where it was full the primary may have found so, and waits to be told: an acceptor
    /// that is handed connections knows nothing of those that the others take and end.
    fn stand(&self, stance: Stance) {
        match self.page.stand(stance) {
            Change::HasRoomAgain => self.tell_primary(),
            Change::Other => {}
        }
    }

    /// The primary shall look whether there is room.
    fn tell_primary(&self) {
        if let Some(passing) = &self.passing {
            // Full only where the primary has not read for long: it will look then.
            let _ = ToPrimary::Room.send(passing.as_fd());
        }
    }

    fn own_room(&self, most: usize) -> Room {
        let places = self.most.map_or(u64::MAX, |limit| limit.saturating_sub(self.page.connections_open()));
        if places == 0 {
            return Room::AfterOne;
        }
        let mut tokens = u64::MAX;
        if let Some(bucket) = self.bucket() {
            let now = Instant::now();
            tokens = bucket.tokens(now);
            if tokens == 0 {
                return Room::At(bucket.next(now));
            }
        }
        Room::For(usize::try_from(places.min(tokens)).unwrap_or(usize::MAX).min(most))
    }

    /// The waker is woken when a connection of this worker ends: AFTER this look again, one may have ended before.
    pub(crate) fn wait(&self, waker: &Waker) {
        let mut waiting = self.waiting();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        self.anybody_waits.store(true, SeqCst);
    }

    /// Somebody in this worker waits until a connection of any worker ends: whether it still must.
    pub(crate) fn must_wait_for_cluster(&self) -> bool {
        self.share.as_ref().is_some_and(|share| share.ledger.must_wait(Waiting::WORKERS))
    }

    /// It was woken because there was room in the cluster: there may be more, and others who wait.
    pub(crate) fn pass_on(&self) {
        if let Some(share) = &self.share
            && !share.ledger.must_wait(Waiting::WORKERS)
        {
            share.bell.ring();
        }
    }

    /// Counts one more, unless a limit is reached.
    pub(crate) fn admit(this: &Arc<Self>) -> Option<OpenConnection> {
        if this.page.reserve(1, this.most) == 0 {
            return None;
        }
        let granted = this.share.as_ref().is_none_or(|share| match share.ledger.try_take(share.place) {
            Attempt::Granted => true,
            Attempt::Refused(waiting) => {
                this.tell(share, waiting);
                false
            }
        });
        if !granted {
            this.close_own(1);
            return None;
        }
        if let Some(mut bucket) = this.bucket() {
            bucket.take(Instant::now(), 1);
        }
        Some(OpenConnection { admission: Some(this.clone()) })
    }

    /// Nobody came whom the place was for.
    pub(crate) fn not_needed(open: OpenConnection) {
        if let Some(mut bucket) = open.admission.as_ref().and_then(|admission| admission.bucket()) {
            bucket.give_back();
        }
    }

    /// Counts what `claim` claims, up to `most`: it is told how many there is room for. In the cluster's count the
    /// primary has them, and gives them to this worker before it sends them.
    pub(crate) fn claim(&self, most: usize, claim: impl FnOnce(usize) -> usize) -> usize {
        let reserved = self.page.reserve(most as u64, self.most);
        let claimed = claim(usize::try_from(reserved).unwrap_or(usize::MAX)) as u64;
        if reserved > claimed {
            self.close_own(reserved - claimed);
        }
        if claimed > 0 {
            self.claimed(claimed);
        }
        claimed as usize
    }

    fn claimed(&self, count: u64) {
        if let Some(mut bucket) = self.bucket() {
            bucket.take(Instant::now(), count);
        }
        self.page.connections_claimed(count);
    }

    /// So many that were claimed will not come: the primary is gone.
    pub(crate) fn never_came(&self, count: usize) {
        self.close_own(count as u64);
    }

    /// This worker begins to take connections: clients are not refused for its sake before it has looked.
    pub(crate) fn begin(&self) {
        self.stand(Stance::Takes);
    }

    /// One that was claimed is here.
    pub(crate) fn arrived(this: &Arc<Self>) -> OpenConnection {
        OpenConnection { admission: Some(this.clone()) }
    }

    /// It takes none for now, because it has no descriptors for them.
    pub(crate) fn lacks_descriptors(&self) {
        self.stand(Stance::Full);
    }

    /// This worker takes none any more.
    pub(crate) fn leave(&self) {
        self.stand(Stance::Away);
    }

    fn close(&self) {
        if let Some(share) = &self.share {
            self.tell(share, share.ledger.give_back(share.place));
        }
        self.close_own(1);
    }

    fn close_own(&self, count: u64) {
        let open = self.page.connections_closed(count);
        // Whoever has found it full may never ask again: its acceptor may be gone.
        if self.most.is_some_and(|most| open >= most) && self.page.stance() == Stance::Full {
            let _ = self.room(1);
        }
        // A look is all it costs where nobody waits.
        if self.anybody_waits.load(SeqCst) {
            let wakers = {
                let mut waiting = self.waiting();
                self.anybody_waits.store(false, SeqCst);
                std::mem::take(&mut *waiting)
            };
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// There may be room in the cluster for them.
    fn tell(&self, share: &Share, waiting: Waiting) {
        if waiting.includes(Waiting::WORKERS) {
            share.bell.ring();
        }
        if waiting.includes(Waiting::PRIMARY) {
            self.tell_primary();
        }
    }

    fn bucket(&self) -> Option<MutexGuard<'_, Bucket>> {
        self.rate.as_ref().map(|bucket| bucket.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a connection as open until it is dropped.
///
/// # Example
/// ```no_run
/// # fn handle(connection: cluster_core::Connection) {
/// let (stream, open) = connection.into_stream();
/// // ... give the stream away ...
/// # drop(stream);
/// drop(open); // and say when it has ended
/// # }
/// ```
#[must_use = "the connection counts as closed once this is dropped"]
pub struct OpenConnection {
    admission: Option<Arc<Admission>>,
}

impl OpenConnection {
    /// Somebody has come.
    pub(crate) fn established(&self) {
        if let Some(admission) = &self.admission {
            admission.page.connection_accepted();
        }
    }
}

impl std::fmt::Debug for OpenConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenConnection")
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some(admission) = &self.admission {
            admission.close();
        }
    }
}
