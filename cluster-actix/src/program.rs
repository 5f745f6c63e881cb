//! The program of a worker: an actix system, the applications, accepting, draining.
mod crew;
mod site;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::thread;

use actix_rt::System;
use cluster_core::{BoxError, Runtime, Worker, adapter};
use futures::FutureExt as _;
use futures::future::{Either, LocalBoxFuture, join_all, select, select_all};
use tokio_util::task::TaskTracker;

use self::crew::Crew;
use self::site::{Service, Site};
use crate::asked::Asked;
use crate::connection::{Address, Connections};
use crate::transport::Transport;

/// What one `bind` or `listen` made.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    /// The name by which the worker asks for it.
    pub(crate) name: String,
    /// At least one; several where a name resolves to several. A unix socket has none.
    pub(crate) addrs: Vec<Option<SocketAddr>>,
    pub(crate) transport: Transport,
    /// Where it listens, as `main` says it: in each process it is the same.
    pub(crate) written: String,
    /// Which application is served on it, of those of the program.
    pub(crate) app: usize,
}

/// Makes applications of one server, whatever their types.
pub(crate) trait Apps: Send {
    /// The service for a listener's address.
    fn make<'a>(
        &'a self,
        address: Address<'a>,
        worker: &'a Worker,
    ) -> LocalBoxFuture<'a, Result<Connections, BoxError>>;

    /// Another one of the kind, for another thread.
    fn copy(&self) -> Box<dyn Apps>;
}

/// What a worker serves, and how.
pub(crate) struct Serving {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) apps: Vec<Box<dyn Apps>>,
    /// What the handles of its servers ask for.
    pub(crate) asked: Vec<Asked>,
    /// Threads that serve; at least 1.
    pub(crate) threads: usize,
    /// Threads for what blocks, of all those that serve together. None: as actix-web has it.
    pub(crate) blocking: Option<usize>,
}

impl Serving {
    /// As actix-web has it: 512 shared among its workers, unless something else was asked for.
    pub(crate) fn blocking_in_all(&self) -> usize {
        let parallel = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.blocking.unwrap_or_else(|| 512 / parallel())
    }

    /// For each thread its share.
    fn blocking_threads(&self) -> usize {
        (self.blocking_in_all() / self.threads).max(1)
    }

    fn copy_apps(&self) -> Vec<Box<dyn Apps>> {
        self.apps.iter().map(|apps| apps.copy()).collect()
    }
}

/// Serves on this thread, and those that it starts, until the worker has drained.
pub(crate) fn run(worker: Worker, runtime: &Runtime, serving: &Serving) -> Result<(), BoxError> {
    let runtime = adapter::build_runtime_with(runtime, serving.blocking_threads())
        .map_err(|err| format!("cannot build the runtime: {err}"))?;
    let runtime = Arc::new(runtime);
    let system = System::with_tokio_rt(|| runtime.clone());
    system.block_on(async {
        actix_rt::spawn(worker.attend());
        let stop = async {
            asked_gracefully(&serving.asked).await;
            worker.retire();
            // BEFORE anything ends: the primary has heard that this is no crash.
            worker.draining().await;
            asked_at_once(&serving.asked).await;
        };
        let serve = AssertUnwindSafe(serve(&worker, serving)).catch_unwind();
        let ended = match select(pin!(serve), pin!(stop)).await {
            Either::Left((ended, _)) => ended,
            Either::Right(((), _)) => Ok(Ok(())),
        };
        // Never dropped: that would wait for what `web::block` began, which may never end.
        std::mem::forget(runtime);
        worker.finish(ended).await
    })
}

async fn asked_gracefully(asked: &[Asked]) {
    select_all(asked.iter().map(|asked| asked.gracefully().boxed_local())).await;
}

async fn asked_at_once(asked: &[Asked]) {
    select_all(asked.iter().map(|asked| asked.at_once().boxed_local())).await;
}

async fn serve(worker: &Worker, serving: &Serving) -> Result<(), BoxError> {
    worker.begin().await?;
    // All applications are made BEFORE the first accept, which makes the worker ready.
    let services = services(worker, &serving.listeners, &serving.apps).await?;
    let crew = Crew::start(worker, serving).await?;
    let mut sites = Vec::new();
    for (at, (listener, services)) in serving.listeners.iter().zip(services).enumerate() {
        sites.push(Site::new(worker, at, &listener.name, services, &serving.asked)?);
    }
    let open = TaskTracker::new();
    join_all(sites.into_iter().map(|site| site.accept(worker, &crew, &open))).await;
    open.close();
    open.wait().await;
    crew.end().await;
    Ok(())
}

/// For each listener the services of its addresses.
async fn services(
    worker: &Worker,
    listeners: &[Listener],
    apps: &[Box<dyn Apps>],
) -> Result<Vec<Vec<Service>>, BoxError> {
    let mut all = Vec::new();
    for Listener { addrs, transport, written, app, .. } in listeners {
        let mut services = Vec::new();
        for &addr in addrs {
            let address = Address { addr, transport, listener: written };
            services.push(Service::new(addr, apps[*app].make(address, worker).await?));
        }
        all.push(services);
    }
    Ok(all)
}
