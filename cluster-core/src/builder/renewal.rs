//! Settings of what replaces workers that serve: reloads, and recycling.
use std::path::PathBuf;
use std::time::Duration;

use crate::builder::Builder;
use crate::config::bounded;

impl Builder {
    /// Where a reload finds the program (default: where this one was started from, through symlinks as they were
    /// written, so that a deployment may turn a link; a name without a slash is looked for in `PATH`). A relative path
    /// starts at the directory in which the program was started.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().binary("/srv/shop/current/bin/shop");
    /// ```
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.binary = Some(path.into());
        self
    }

    /// How long the first worker of a new generation has to serve before a reload replaces others (default 1 s). One
    /// that ends before that ends the reload, and nothing has changed.
    ///
    /// # Example
    /// ```
    /// # use std::time::Duration;
    /// cluster_core::Cluster::builder().reload_health(Duration::from_secs(10));
    /// ```
    pub fn reload_health(mut self, time: Duration) -> Self {
        self.settings.rollout.health = bounded(time);
        self
    }

    /// How many workers a reload replaces at a time, once the first has been found healthy (default 1; 0 counts as 1).
    /// So many more workers than slots there are meanwhile, beside those that drain.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().reload_batch(4);
    /// ```
    pub fn reload_batch(mut self, workers: usize) -> Self {
        self.settings.rollout.batch = u16::try_from(workers).unwrap_or(u16::MAX).max(1);
        self
    }

    /// Recycles a worker that has answered so many requests (default: never). Each worker's own limit is up to 10 % lower, so
    /// that those which began together do not leave together. Its successor serves before it drains, and one worker is
    /// recycled at a time.
    ///
    /// Requests are counted by the adapters. With the core alone they are what the program says in
    /// [`Worker::count_request`](crate::Worker::count_request).
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().max_requests(1_000_000);
    /// ```
    pub fn max_requests(mut self, requests: u64) -> Self {
        self.settings.recycling.requests = Some(requests.max(1));
        self
    }

    /// Recycles a worker whose private memory ([`WorkerStatus::private_memory`](crate::WorkerStatus::private_memory))
    /// is more than so many bytes at three looks in a row, each 5 s to 20 s after the one before (default: never). As
    /// [`max_requests`](Self::max_requests) otherwise.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().max_memory(512 << 20);
    /// ```
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.settings.recycling.memory = Some(bytes);
        self
    }

    /// Recycles a worker that has served for so long (default: never). As [`max_requests`](Self::max_requests) otherwise.
    ///
    /// # Example
    /// ```
    /// # use std::time::Duration;
    /// cluster_core::Cluster::builder().max_lifetime(Duration::from_secs(24 * 60 * 60));
    /// ```
    pub fn max_lifetime(mut self, time: Duration) -> Self {
        self.settings.recycling.lifetime = Some(bounded(time));
        self
    }
}
