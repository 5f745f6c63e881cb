//! The program of a worker: accepts, serves, drains.
use std::pin::pin;
use std::sync::Arc;

use cluster_core::{Acceptor, BoxError, Connection, OpenConnection, Worker};
use futures::future::{join_all, select};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::accepted::Accepted;
use crate::app::App;
use crate::connection::{HEADER_READ_TIMEOUT, Protocol};
use crate::stream::Stream;

/// Held by each stream while it is open: the worker's count of open connections, and ours.
type Held = (OpenConnection, TaskTrackerToken);

/// What the accept loops of a worker share.
struct Server<A> {
    /// A make service is called one connection at a time, as axum calls it.
    app: Mutex<A>,
    protocol: &'static Protocol,
    open: TaskTracker,
}

/// Serves the application on the listeners of these names until the worker has drained.
pub(crate) async fn run<K: 'static, A: App<K>>(
    worker: Worker,
    app: A,
    listeners: Vec<String>,
) -> Result<(), BoxError> {
    // A process is one worker once, so this is as if it were a static; a reference saves each request a count.
    let protocol: &'static Protocol = Box::leak(Box::new(Protocol::new(HEADER_READ_TIMEOUT)));
    let server = Arc::new(Server { app: Mutex::new(app), protocol, open: TaskTracker::new() });
    let acceptors: Vec<Acceptor> =
        listeners.iter().map(|name| worker.acceptor(name)).collect::<Result<_, _>>()?;
    let drain = async {
        protocol.drain.follow(&worker).await;
        std::future::pending::<()>().await
    };
    let serve = async {
        join_all(acceptors.into_iter().map(|acceptor| accept(&server, acceptor))).await;
        server.open.close();
        server.open.wait().await;
    };
    select(pin!(serve), pin!(drain)).await;
    Ok(())
}

async fn accept<K: 'static, A: App<K>>(server: &Arc<Server<A>>, mut acceptor: Acceptor) {
    while let Some(connection) = acceptor.accept().await {
        let held = server.open.token();
        // A task of its own: a panic in a handler ends this one.
        tokio::spawn(serve(server.clone(), connection, held));
    }
}

async fn serve<K: 'static, A: App<K>>(
    server: Arc<Server<A>>,
    connection: Connection,
    token: TaskTrackerToken,
) {
    let Some(remote) = connection.peer_addr().tcp() else { return };
    let (cluster_core::Stream::Tcp(tcp), open) = connection.into_stream() else { return };
    // Fails where the client is gone already; reading will say so.
    let _ = tcp.set_nodelay(true);
    let stream: Stream<Held> = Stream::new(tcp, (open, token));
    let service = server.app.lock().await.service_for(Accepted::new(stream.tcp(), remote)).await;
    let protocol = server.protocol;
    drop(server);
    protocol.serve(stream, service).await;
}
