//! The program of a worker: accepts, serves, drains.
use std::pin::{Pin, pin};
use std::sync::Arc;

use cluster_core::{Acceptor, BoxError, Connection, OpenConnection, Worker};
use futures::future::{join_all, select};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::accepted::Accepted;
use crate::app::App;
use crate::connection::{HEADER_READ_TIMEOUT, Protocol};
use crate::drain::Phase;
use crate::entrance::{Entrance, Entrances, Opened};
use crate::stream::Counted;

/// Held by each stream while it is open: the worker's count of open connections, and ours.
type Held = (OpenConnection, TaskTrackerToken);

/// What all applications of a worker share.
#[derive(Clone)]
pub(crate) struct Shared {
    protocol: &'static Protocol,
    open: TaskTracker,
    entrances: Entrances,
}

/// An application that accepts on its listeners until the worker drains.
pub(crate) type Accepting = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Makes an application in the worker, for the listeners of these names.
pub(crate) type Make = Box<dyn FnOnce(Worker, Shared, Vec<String>) -> Making + Send>;
pub(crate) type Making = Pin<Box<dyn Future<Output = Result<Accepting, BoxError>> + Send>>;

/// An application and the names of its listeners, in the order in which they were asked for.
pub(crate) struct Site {
    pub(crate) make: Make,
    pub(crate) listeners: Vec<String>,
}

/// What the accept loops of an application share.
struct Server<A> {
    /// A make service is called one connection at a time, as axum calls it.
    app: Mutex<A>,
    shared: Shared,
}

impl Shared {
    pub(crate) fn new(worker: Worker, opened: Opened) -> Self {
        let entrances = opened.in_worker(&worker);
        // A process is one worker once, so this is as if it were a static; a reference saves each request a count.
        let protocol = Box::leak(Box::new(Protocol::new(HEADER_READ_TIMEOUT, Some(worker))));
        Self { protocol, open: TaskTracker::new(), entrances }
    }
}

/// Serves the applications until the worker has drained.
pub(crate) async fn run(worker: Worker, sites: Vec<Site>, opened: Opened) -> Result<(), BoxError> {
    let shared = Shared::new(worker.clone(), opened);
    let mut accepting = Vec::new();
    // All applications are made BEFORE the first accept, which makes the worker ready.
    for Site { make, listeners } in sites {
        accepting.push(make(worker.clone(), shared.clone(), listeners).await?);
    }
    let drain = async {
        shared.protocol.drain.follow(&worker).await;
        std::future::pending::<()>().await
    };
    let serve = async {
        join_all(accepting).await;
        shared.open.close();
        shared.open.wait().await;
    };
    select(pin!(serve), pin!(drain)).await;
    Ok(())
}

/// Has an application accept on the listeners of these names.
pub(crate) fn accept_all<K: 'static, A: App<K>>(
    worker: &Worker,
    app: A,
    shared: Shared,
    listeners: &[String],
) -> Result<Accepting, BoxError> {
    let open = |name: &String| Ok((worker.acceptor(name)?, shared.entrances.of(name)));
    let doors: Vec<(Acceptor, Entrance)> = listeners.iter().map(open).collect::<Result<_, BoxError>>()?;
    let server = Arc::new(Server { app: Mutex::new(app), shared });
    Ok(Box::pin(async move {
        join_all(doors.into_iter().map(|(acceptor, entrance)| accept(&server, acceptor, entrance))).await;
    }))
}

async fn accept<K: 'static, A: App<K>>(server: &Arc<Server<A>>, mut acceptor: Acceptor, entrance: Entrance) {
    while let Some(connection) = acceptor.accept().await {
        let held = server.shared.open.token();
        // A task of its own: a panic in a handler ends this one.
        tokio::spawn(serve(server.clone(), connection, entrance.clone(), held));
    }
}

async fn serve<K: 'static, A: App<K>>(
    server: Arc<Server<A>>,
    connection: Connection,
    entrance: Entrance,
    token: TaskTrackerToken,
) {
    let remote = connection.peer_addr();
    let (io, open) = connection.into_stream();
    if let Some(tcp) = io.tcp() {
        // Fails where the client is gone already; reading will say so.
        let _ = tcp.set_nodelay(true);
    }
    let Some(transport) = entrance.enter(io, &server.shared.protocol.drain).await else { return };
    let stream: Counted<Held> = Counted::new(transport, (open, token));
    let protocol = server.shared.protocol;
    // Where it was late for the lame duck it is closed as one that has nothing to ask, unless it is known to be one that has.
    if entrance.has_handshake() && protocol.drain.phase() != Phase::Serving {
        stream.traffic().is_awaited();
    }
    let service = server.app.lock().await.service_for(Accepted::new(stream.transport(), remote)).await;
    drop(server);
    protocol.serve(stream, service).await;
}
