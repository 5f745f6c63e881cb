//! A listener as a worker serves it.
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use actix_http::error::DispatchError;
use cluster_core::{AcceptError, Acceptor, Connection, Draining, OpenConnection, Stream, Worker, adapter};
use futures::FutureExt as _;
use futures::future::{Either, LocalBoxFuture, select, select_all};
use tokio_util::task::TaskTracker;

use super::crew::{Counted, Crew};
use crate::asked::Asked;
use crate::connection::Connections;

/// The application at one address of a listener.
pub(super) struct Service {
    /// A unix socket has none.
    addr: Option<SocketAddr>,
    connections: Rc<Connections>,
}

impl Service {
    pub(super) fn new(addr: Option<SocketAddr>, connections: Connections) -> Self {
        Self { addr, connections: Rc::new(connections) }
    }
}

/// A listener as it is served: an application for each of its addresses, as actix-web has it.
pub(super) struct Site {
    /// Its place among the listeners.
    at: usize,
    acceptor: Acceptor,
    draining: Draining,
    services: Vec<Service>,
    asked: Vec<Asked>,
    /// Resolves when somebody pauses the server. Kept from one connection to the next.
    pause: LocalBoxFuture<'static, ()>,
}

impl Site {
    pub(super) fn new(
        worker: &Worker,
        at: usize,
        name: &str,
        services: Vec<Service>,
        asked: &[Asked],
    ) -> Result<Self, AcceptError> {
        let acceptor = worker.acceptor(name)?;
        let (asked, draining) = (asked.to_vec(), worker.draining());
        Ok(Self { at, acceptor, draining, services, pause: until_paused(asked.clone()), asked })
    }

    /// Takes connections until the worker drains.
    pub(super) async fn accept(mut self, worker: &Worker, crew: &Crew, open: &TaskTracker) {
        loop {
            // BEFORE a connection is taken: while the application is not ready, others take it.
            if let Err(err) = self.ready().await {
                adapter::warn(&format!(
                    "worker {} retires: its application cannot serve: {err}",
                    worker.id()
                ));
                return worker.retire();
            }
            match self.next().await {
                Taken::Connection(connection) => self.hand_on(connection, worker, crew, open),
                Taken::Pause => {}
                Taken::End => return,
            }
        }
    }

    /// Waits until the application takes a connection, and nobody has paused the server. In a drain it must: what is
    /// still queued has nobody else.
    async fn ready(&mut self) -> Result<(), DispatchError> {
        let Self { asked, draining, services, .. } = self;
        if asked.iter().any(Asked::is_paused) {
            let goes_on = pin!(async {
                for asked in asked.iter() {
                    asked.until_resumed().await;
                }
            });
            select(goes_on, &mut *draining).await;
        }
        poll_fn(|cx| {
            if draining.poll_unpin(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            for service in &*services {
                ready!(service.connections.poll_ready(cx))?;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    async fn next(&mut self) -> Taken {
        let Self { acceptor, pause, .. } = self;
        // The pause first: what comes after it is not taken, even if it is there already.
        match select(&mut *pause, pin!(acceptor.accept())).await {
            Either::Left(_) => {}
            Either::Right((taken, _)) => return taken.map_or(Taken::End, Taken::Connection),
        }
        self.pause = until_paused(self.asked.clone());
        Taken::Pause
    }

    /// Gives a connection to the thread that has fewest of them.
    fn hand_on(&self, connection: Connection, worker: &Worker, crew: &Crew, open: &TaskTracker) {
        let (stream, counted) = connection.into_stream();
        let Some((stream, counted)) = crew.take(self.at, stream, counted, worker) else { return };
        serve(&self.services, stream, counted, crew.count_here(), open);
    }
}

fn until_paused(asked: Vec<Asked>) -> LocalBoxFuture<'static, ()> {
    async move {
        select_all(asked.iter().map(|asked| asked.until_paused().boxed_local())).await;
    }
    .boxed_local()
}

enum Taken {
    Connection(Connection),
    Pause,
    /// The worker drains.
    End,
}

/// Serves a connection on this thread, in a task of its own: a panic in a handler ends that one.
pub(super) fn serve(
    services: &[Service],
    stream: Stream,
    counted: OpenConnection,
    here: Counted,
    open: &TaskTracker,
) {
    let connections = service_for(services, &stream).connections.clone();
    let arrival = connections.meet(stream);
    let counted = (counted, here, open.token());
    actix_rt::spawn(async move {
        let _counted = counted;
        connections.serve(arrival).await;
    });
}

/// The application of the address at which the client arrived.
fn service_for<'a>(services: &'a [Service], stream: &Stream) -> &'a Service {
    let first = &services[0];
    if services.len() == 1 {
        return first;
    }
    let at =
        |wanted: &dyn Fn(Option<SocketAddr>) -> bool| services.iter().find(|service| wanted(service.addr));
    let Some(tcp) = stream.tcp() else { return at(&|addr| addr.is_none()).unwrap_or(first) };
    let Ok(local) = tcp.local_addr() else { return at(&|addr| addr.is_some()).unwrap_or(first) };
    let any = |addr: Option<SocketAddr>| {
        addr.is_some_and(|addr| addr.ip().is_unspecified() && addr.port() == local.port())
    };
    at(&|addr| addr == Some(local)).or_else(|| at(&any)).unwrap_or(first)
}
