//! The program of a worker: an actix system, the applications, accepting, draining.
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use actix_http::error::DispatchError;
use actix_rt::System;
use cluster_core::{Acceptor, BoxError, Connection, Draining, Runtime, Stream, Worker, adapter};
use futures::FutureExt as _;
use futures::future::{Either, join_all, select};
use tokio_util::task::TaskTracker;

use crate::connection::Connections;
use crate::server::Asked;

/// What one `bind` or `listen` made.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    /// The name by which the worker asks for it.
    pub(crate) name: String,
    /// At least one; several where a name resolves to several. A unix socket has none.
    pub(crate) addrs: Vec<Option<SocketAddr>>,
}

/// A listener as it is served: an application for each of its addresses, as actix-web has it.
struct Site {
    acceptor: Acceptor,
    draining: Draining,
    services: Vec<(Option<SocketAddr>, Connections)>,
}

/// Serves on this thread until the worker has drained.
pub(crate) fn run(
    worker: Worker,
    runtime: &Runtime,
    listeners: &[Listener],
    asked: Asked,
    make: impl AsyncFn(Option<SocketAddr>, &Worker) -> Result<Connections, BoxError>,
) -> Result<(), BoxError> {
    let runtime =
        adapter::build_runtime(runtime).map_err(|err| format!("cannot build the runtime: {err}"))?;
    let runtime = Arc::new(runtime);
    let system = System::with_tokio_rt(|| runtime.clone());
    system.block_on(async {
        actix_rt::spawn(worker.attend());
        let stop = async {
            asked.gracefully().await;
            worker.retire();
            // BEFORE anything ends: the primary has heard that this is no crash.
            worker.draining().await;
            asked.at_once().await;
        };
        let serve = AssertUnwindSafe(serve(&worker, listeners, make)).catch_unwind();
        let ended = match select(pin!(serve), pin!(stop)).await {
            Either::Left((ended, _)) => ended,
            Either::Right(((), _)) => Ok(Ok(())),
        };
        // Never dropped: that would wait for what `web::block` began, which may never end.
        std::mem::forget(runtime);
        worker.finish(ended).await
    })
}

async fn serve(
    worker: &Worker,
    listeners: &[Listener],
    make: impl AsyncFn(Option<SocketAddr>, &Worker) -> Result<Connections, BoxError>,
) -> Result<(), BoxError> {
    worker.begin().await?;
    let mut sites = Vec::new();
    // All applications are made BEFORE the first accept, which makes the worker ready.
    for Listener { name, addrs } in listeners {
        let mut services = Vec::new();
        for &addr in addrs {
            services.push((addr, make(addr, worker).await?));
        }
        sites.push(Site { acceptor: worker.acceptor(name)?, draining: worker.draining(), services });
    }
    let open = TaskTracker::new();
    join_all(sites.into_iter().map(|site| site.accept(worker, &open))).await;
    open.close();
    open.wait().await;
    Ok(())
}

impl Site {
    async fn accept(mut self, worker: &Worker, open: &TaskTracker) {
        loop {
            // BEFORE a connection is taken: while the application is not ready, others take it.
            if let Err(err) = self.ready().await {
                adapter::warn(&format!(
                    "worker {} retires: its application cannot serve: {err}",
                    worker.id()
                ));
                return worker.retire();
            }
            let Some(connection) = self.acceptor.accept().await else { return };
            self.serve(connection, open);
        }
    }

    /// Waits until the application takes a connection. In a drain it must: what is still queued has nobody else.
    async fn ready(&mut self) -> Result<(), DispatchError> {
        poll_fn(|cx| {
            if self.draining.poll_unpin(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            for (_, service) in &self.services {
                ready!(service.poll_ready(cx))?;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    fn serve(&self, connection: Connection, open: &TaskTracker) {
        let (stream, counted) = connection.into_stream();
        // Each kind of connection has a listener, and each listener a service.
        let Some(served) = self.service_for(&stream).call(stream) else { return };
        // A task of its own: a panic in a handler ends this one.
        actix_rt::spawn(open.track_future(async move {
            // How a connection ended concerns nobody else; actix-web's own server ignores it, too.
            let _ = served.await;
            drop(counted);
        }));
    }

    /// The application of the address at which the client arrived.
    fn service_for(&self, stream: &Stream) -> &Connections {
        let (_, first) = &self.services[0];
        if self.services.len() == 1 {
            return first;
        }
        let at = |wanted: &dyn Fn(Option<SocketAddr>) -> bool| {
            self.services.iter().find(|(addr, _)| wanted(*addr)).map(|(_, service)| service)
        };
        let Some(tcp) = stream.tcp() else { return at(&|addr| addr.is_none()).unwrap_or(first) };
        let Ok(local) = tcp.local_addr() else { return at(&|addr| addr.is_some()).unwrap_or(first) };
        let any = |addr: Option<SocketAddr>| {
            addr.is_some_and(|addr| addr.ip().is_unspecified() && addr.port() == local.port())
        };
        at(&|addr| addr == Some(local)).or_else(|| at(&any)).unwrap_or(first)
    }
}
