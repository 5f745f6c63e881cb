//! What a primary begins with.
use crate::birth::forkserver::Started;
use crate::birth::identity::Identity;
use crate::config::{Settings, Workers};
use crate::conn::Cut;
use crate::conn::listen::ClusterSocket;
use crate::supervise::input::Policy;

/// All that a primary needs to begin.
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    /// What workers and the director are.
    pub(crate) identity: Identity,
    pub(crate) workers: Workers,
    /// The most workers that there can be.
    pub(crate) most_workers: u16,
    /// Whether there is code for the primary's side.
    pub(crate) director: bool,
    pub(crate) sockets: Vec<ClusterSocket>,
    /// What the kernel has cut off their queues.
    pub(crate) cut: Option<Cut>,
    /// How each socket is announced: `http://127.0.0.1:3000`.
    pub(crate) places: Vec<String>,
    pub(crate) method: Method,
}

impl Plan {
    /// What the pool goes by.
    pub(super) fn policy(&self) -> Policy {
        Policy {
            workers: self.workers.count,
            director: self.director,
            most_workers: self.most_workers,
            restart: self.settings.restart.clone(),
            boot_timeout: self.settings.boot_timeout,
            drain_timeout: self.settings.drain_timeout,
            hang: self.settings.hang,
            rollout: self.settings.rollout,
            recycling: self.settings.recycling,
            fork_server: matches!(self.method, Method::Fork(_)),
            prepares: matches!(self.method, Method::Exec { prepares: true }),
            seed: fastrand::u64(..),
        }
    }
}

/// How workers are made.
pub(crate) enum Method {
    /// Forked, by this fork server first.
    Fork(Started),
    /// Executed; once before that, where there is something to prepare.
    Exec { prepares: bool },
}
