//! A connection as a make service sees it.
use std::net::{Ipv4Addr, SocketAddr};

use axum::extract::connect_info::Connected;
use cluster_core::{PeerAddr, Stream};

/// A connection that was accepted: what axum's `IncomingStream` is to `axum::serve`.
///
/// # Example
/// ```no_run
/// use axum::Router;
/// use axum::extract::ConnectInfo;
/// use axum::extract::connect_info::Connected;
/// use axum::routing::get;
/// use cluster_axum::Accepted;
///
/// #[derive(Clone)]
/// struct Port(Option<u16>);
///
/// impl Connected<Accepted<'_>> for Port {
///     fn connect_info(accepted: Accepted<'_>) -> Self {
///         Self(accepted.remote_addr().tcp().map(|addr| addr.port()))
///     }
/// }
///
/// async fn your_port(ConnectInfo(port): ConnectInfo<Port>) -> String {
///     format!("you come from port {:?}", port.0)
/// }
///
/// let app = Router::new().route("/", get(your_port));
/// cluster_axum::serve(app.into_make_service_with_connect_info::<Port>()).bind("127.0.0.1:3000").run()?;
/// # Ok::<(), cluster_axum::Error>(())
/// ```
#[derive(Debug)]
pub struct Accepted<'a> {
    io: &'a Stream,
    remote: PeerAddr,
}

impl<'a> Accepted<'a> {
    pub(crate) fn new(io: &'a Stream, remote: PeerAddr) -> Self {
        Self { io, remote }
    }

    /// Where the client is.
    ///
    /// # Example
    /// ```
    /// # fn f(accepted: cluster_axum::Accepted<'_>) {
    /// println!("a client at {}", accepted.remote_addr());
    /// # }
    /// ```
    pub fn remote_addr(&self) -> PeerAddr {
        self.remote
    }

    /// The stream: its local address, its socket options, the credentials of a client on a unix socket.
    ///
    /// # Example
    /// ```
    /// # fn f(accepted: cluster_axum::Accepted<'_>) -> std::io::Result<()> {
    /// if let Some(tcp) = accepted.io().tcp() {
    ///     println!("a client of {}", tcp.local_addr()?);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn io(&self) -> &'a Stream {
        self.io
    }
}

/// The client's address; `0.0.0.0:0` for a client on a unix socket, which has none. [`PeerAddr`] tells them apart.
impl Connected<Accepted<'_>> for SocketAddr {
    fn connect_info(accepted: Accepted<'_>) -> Self {
        accepted.remote.tcp().unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
    }
}

impl Connected<Accepted<'_>> for PeerAddr {
    fn connect_info(accepted: Accepted<'_>) -> Self {
        accepted.remote
    }
}
