//! Tells handlers who the client is.
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::{ConnectInfo, Request};
use axum::http::Extensions;
use cluster_core::Stream;
use tower::Service;

use crate::accepted::Accepted;

/// A client on a unix socket, as the kernel vouches for it (SO_PEERCRED, unix(7)): what `ConnectInfo` has in handlers of
/// a router that is served by [`Serve::bind_uds`](crate::Serve::bind_uds).
///
/// # Example
/// ```no_run
/// use axum::{Router, extract::ConnectInfo, routing::get};
/// use cluster_axum::UnixPeer;
///
/// async fn who(ConnectInfo(peer): ConnectInfo<UnixPeer>) -> String {
///     format!("you are uid {}\n", peer.uid)
/// }
///
/// fn main() -> Result<(), cluster_axum::Error> {
///     cluster_axum::serve(Router::new().route("/", get(who))).bind_uds("/run/shop/http.sock").run()
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnixPeer {
    /// Its process id; none where that is of another pid namespace.
    pub pid: Option<u32>,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl UnixPeer {
    fn of(stream: &Stream) -> Option<Self> {
        let peer = stream.unix()?.peer_cred().ok()?;
        let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
        Some(Self { pid, uid: peer.uid(), gid: peer.gid() })
    }
}

/// An application whose requests know their client.
#[derive(Debug, Clone)]
pub struct WithPeer<S> {
    app: S,
    /// What each request knows from the start.
    known: Arc<Extensions>,
}

impl<S> WithPeer<S> {
    pub(crate) fn new(app: S, accepted: &Accepted<'_>) -> Self {
        let mut known = Extensions::new();
        if let Some(addr) = accepted.remote_addr().tcp() {
            known.insert(ConnectInfo(addr));
        } else if let Some(peer) = UnixPeer::of(accepted.io()) {
            known.insert(ConnectInfo(peer));
        }
        make_room(&mut known);
        Self { app, known: Arc::new(known) }
    }
}

/// For what axum puts there for each request: matched path, parameters, original URI. A table that had to grow for them
/// would cost each request more than all else here; a clone has the room of what it is cloned from.
fn make_room(known: &mut Extensions) {
    #[derive(Clone)]
    struct Room<const N: usize>;

    known.insert(Room::<0>);
    known.insert(Room::<1>);
    known.insert(Room::<2>);
    known.remove::<Room<0>>();
    known.remove::<Room<1>>();
    known.remove::<Room<2>>();
}

impl<S: Service<Request>> Service<Request> for WithPeer<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.app.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> S::Future {
        request.extensions_mut().extend((*self.known).clone());
        self.app.call(request)
    }
}
