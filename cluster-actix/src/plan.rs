//! What a server is to be, or several that are one cluster.
use cluster_core::{Builder, Ready};
use futures::FutureExt as _;
use futures::future::select_all;

use crate::program::{self, Serving};

/// A server that has not started.
pub(crate) struct Plan {
    pub(crate) builder: Builder,
    pub(crate) serving: Serving,
}

impl Plan {
    /// Both as one cluster.
    pub(crate) fn joined(mut self, other: Self) -> Self {
        let Self { builder, serving } = other;
        let (before, apps) = (self.serving.listeners.len(), self.serving.apps.len());
        // A server's own listeners are called by their number; others keep their names.
        let rename =
            |name: &str| match name.strip_prefix("http-").and_then(|number| number.parse::<usize>().ok()) {
                Some(number) => format!("http-{}", number + before),
                None => name.to_owned(),
            };
        if self.serving.blocking.is_some() || serving.blocking.is_some() {
            self.serving.blocking = Some(self.serving.blocking_in_all().max(serving.blocking_in_all()));
        }
        self.builder = self.builder.joined(builder, rename);
        self.serving.listeners.extend(serving.listeners.into_iter().map(|mut listener| {
            listener.name = rename(&listener.name);
            listener.app += apps;
            listener
        }));
        self.serving.apps.extend(serving.apps);
        self.serving.asked.extend(serving.asked);
        self.serving.threads = self.serving.threads.max(serving.threads);
        self
    }

    pub(crate) fn ready(self) -> Ready {
        let Self { builder, serving } = self;
        let asked = serving.asked.clone();
        let stop = select_all(asked.into_iter().map(|asked| asked.of_the_primary().boxed())).map(drop);
        builder
            .stop_when(stop)
            .worker_blocking(move |worker, runtime| program::run(worker, &runtime, &serving))
    }
}
