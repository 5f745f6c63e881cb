//! Two builders that become one cluster.
use std::num::NonZeroUsize;
use std::thread;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join, ready, select};

use crate::builder::Builder;
use crate::config::Ends;
use crate::director::PrimarySide;
use crate::handle::ClusterHandle;
use crate::ipc::handler::{Called, Program};

impl Builder {
    /// For adapters: one cluster of two, with the listeners, hooks and handlers of both. `rename` says what a listener of
    /// `other` is called in it.
    ///
    /// It has the larger number of workers, the longer drain, the larger limit of connections; all else that a cluster
    /// has once is this builder's.
    #[doc(hidden)]
    pub fn joined(mut self, other: Self, rename: impl Fn(&str) -> String) -> Self {
        let parallel = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let (ours, theirs) = (&mut self.settings, &other.settings);
        if ours.workers.is_some() || theirs.workers.is_some() {
            let count = |asked: Option<usize>| asked.unwrap_or_else(parallel);
            ours.workers = Some(count(ours.workers).max(count(theirs.workers)));
        }
        ours.drain_timeout = ours.drain_timeout.max(theirs.drain_timeout);
        ours.limits.worker = ours.limits.worker.zip(theirs.limits.worker).map(|(one, two)| one.max(two));
        if theirs.ends == Ends::LeftAlone {
            ours.ends = Ends::LeftAlone;
        }
        // A listener's rule is that of the builder that it comes from. A rule for one that is not there is kept, and
        // refused at the start.
        let own = other.listeners.iter().map(|listener| (rename(&listener.name), theirs.scheduling));
        self.schedulings.extend(own.collect::<Vec<_>>());
        let named = other.schedulings.into_iter().map(|(name, scheduling)| (rename(&name), scheduling));
        self.schedulings.extend(named);
        for mut listener in other.listeners {
            listener.name = rename(&listener.name);
            self.listeners.push(listener);
        }
        self.stop = match (self.stop.take(), other.stop) {
            (Some(one), Some(two)) => Some(select(one, two).map(drop).boxed()),
            (one, two) => one.or(two),
        };
        self.side.join(other.side);
        self.hooks.join(other.hooks);
        self.unsupported = self.unsupported.or(other.unsupported);
        self
    }
}

impl PrimarySide {
    fn join(&mut self, other: Self) {
        self.program = match (self.program.take(), other.program) {
            (Some(one), Some(two)) => {
                let both: Program<ClusterHandle> = Box::new(move |cluster| {
                    let (one, two) = (one(cluster.clone()), two(cluster));
                    Called::Later(join(later(one), later(two)).map(|(one, two)| one.and(two)).boxed())
                });
                Some(both)
            }
            (one, two) => one.or(two),
        };
        self.handlers.extend(other.handlers);
        self.on_exit.extend(other.on_exit);
        self.on_event.extend(other.on_event);
    }
}

fn later(called: Called) -> BoxFuture<'static, Result<(), String>> {
    match called {
        Called::Done(outcome) => ready(outcome).boxed(),
        Called::Later(outcome) => outcome,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{Cluster, ClusterHandle, Scheduling, Worker};

    #[test]
    fn a_cluster_of_two_has_the_listeners_of_both_and_the_larger_numbers() {
        let hook = |_: Worker| async { Ok(()) };
        let program = |_: ClusterHandle| {};
        let one = Cluster::builder().workers(2).drain_timeout(Duration::from_secs(30)).name("shop");
        let one =
            one.bind("http-1", "127.0.0.1:0").on_worker_start(hook).max_connections(10).primary(program);
        let two = Cluster::builder().workers(3).drain_timeout(Duration::from_secs(5)).name("admin");
        let two =
            two.bind("http-1", "127.0.0.1:0").on_worker_start(hook).max_connections(20).primary(program);
        let two = two.scheduling(Scheduling::RoundRobin).leave_ends_alone();
        let both = one.joined(two, |name| format!("{name}-of-two"));
        assert_eq!(both.settings.workers, Some(3));
        assert_eq!(both.settings.drain_timeout, Duration::from_secs(30));
        assert_eq!(both.settings.limits.worker, Some(20));
        assert_eq!(both.settings.name.as_deref(), Some("shop"));
        assert_eq!(both.settings.ends, crate::config::Ends::LeftAlone);
        let names: Vec<_> = both.listeners.iter().map(|listener| &*listener.name).collect();
        assert_eq!(names, ["http-1", "http-1-of-two"]);
        assert_eq!(both.schedulings, [("http-1-of-two".to_owned(), Scheduling::RoundRobin)]);
        assert_eq!(both.hooks.worker.start.len(), 2);
        assert!(both.side.into_program().is_some());
    }

    #[test]
    fn a_server_that_names_no_number_counts_as_many_as_it_would_have() {
        let parallel = super::thread::available_parallelism().unwrap().get();
        let none = || Cluster::builder();
        assert_eq!(none().joined(none(), str::to_owned).settings.workers, None);
        assert_eq!(none().workers(1).joined(none(), str::to_owned).settings.workers, Some(parallel.max(1)));
    }
}
