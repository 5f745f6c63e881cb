//! A connection as a make service sees it.
use std::net::{Ipv4Addr, SocketAddr};

use axum::extract::connect_info::Connected;
use cluster_core::{PeerAddr, Stream};

use crate::transport::Transport;

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
    transport: &'a Transport,
    remote: PeerAddr,
}

impl<'a> Accepted<'a> {
    pub(crate) fn new(transport: &'a Transport, remote: PeerAddr) -> Self {
        Self { transport, remote }
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
        self.transport.io()
    }

    /// What was agreed on with the client, where it speaks TLS: the protocol (ALPN), the name that it asked for
    /// (SNI), the certificates that it has shown, if the listener's configuration asks for them, and whether it has
    /// resumed a session. With the feature `tls`.
    ///
    /// # Example
    /// ```
    /// use axum::extract::connect_info::Connected;
    /// use cluster_axum::Accepted;
    ///
    /// #[derive(Clone)]
    /// struct Host(Option<String>);
    ///
    /// impl Connected<Accepted<'_>> for Host {
    ///     fn connect_info(accepted: Accepted<'_>) -> Self {
    ///         Self(accepted.tls().and_then(|tls| tls.server_name()).map(str::to_owned))
    ///     }
    /// }
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(&self) -> Option<&'a tokio_rustls::rustls::ServerConnection> {
        self.transport.session()
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
