//! How the cluster stands, for a process that has asked: looked at when somebody asks, and never else.
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::conn::listen::ClusterSocket;
use crate::id::{PeerId, WorkerId};
use crate::ipc::control::Surveyed;
use crate::ipc::survey;
use crate::metrics::Survey;
use crate::scoreboard::{Page, Stance};
use crate::supervise::driver::Driver;
use crate::supervise::past::Reading;

/// Who asks again within this time is told what was seen last: many who ask cost no more than fifty per second.
const FRESH: Duration = Duration::from_millis(20);

/// What was seen last.
pub(super) struct Seen {
    at: Instant,
    pieces: Vec<Surveyed>,
}

impl Driver {
    /// Answers a process that asks how the cluster stands.
    pub(super) fn answer_survey(&mut self, peer: PeerId, id: u64) {
        let now = Instant::now();
        let is_fresh = self.seen.as_ref().is_some_and(|seen| now.duration_since(seen.at) < FRESH);
        if !is_fresh {
            self.seen = Some(Seen { at: now, pieces: survey::pieces(self.survey()) });
        }
        if let Some(seen) = &self.seen {
            self.exchange.tell_survey(peer, id, &seen.pieces);
        }
    }

    fn survey(&mut self) -> Survey {
        let peers = &self.peers;
        let read = |worker: WorkerId| peers.get(&PeerId::Worker(worker)).map(|held| reading(held.page()));
        let (whole, slots) = self.past.survey(&self.pool.status(), read);
        Survey { whole, listeners: self.sockets.iter().map(ClusterSocket::status).collect(), slots }
    }

    /// What a worker whose process has ended has counted stays.
    pub(super) fn keep_counts(&mut self, peer: PeerId, page: &Page) {
        if let PeerId::Worker(worker) = peer {
            self.past.ended(worker, &reading(page));
        }
    }
}

fn reading(page: &Page) -> Reading {
    Reading {
        connections: page.connections(),
        requests: page.requests(),
        in_flight: page.in_flight(),
        loop_delay: page.loop_delay(),
        private_memory: page.private_memory(),
        is_full: page.stance() == Stance::Full,
    }
}

/// The time of day, in milliseconds since 1970.
pub(super) fn time_of_day() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
