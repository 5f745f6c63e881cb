//! A connection as a make service sees it.
use std::net::SocketAddr;

use axum::extract::connect_info::Connected;
use tokio::net::TcpStream;

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
/// struct Port(u16);
///
/// impl Connected<Accepted<'_>> for Port {
///     fn connect_info(accepted: Accepted<'_>) -> Self {
///         Self(accepted.remote_addr().port())
///     }
/// }
///
/// async fn your_port(ConnectInfo(port): ConnectInfo<Port>) -> String {
///     format!("you come from port {}", port.0)
/// }
///
/// let app = Router::new().route("/", get(your_port));
/// cluster_axum::serve(app.into_make_service_with_connect_info::<Port>()).bind("127.0.0.1:3000").run()?;
/// # Ok::<(), cluster_axum::Error>(())
/// ```
#[derive(Debug)]
pub struct Accepted<'a> {
    tcp: &'a TcpStream,
    remote: SocketAddr,
}

impl<'a> Accepted<'a> {
    pub(crate) fn new(tcp: &'a TcpStream, remote: SocketAddr) -> Self {
        Self { tcp, remote }
    }

    /// The client's address.
    ///
    /// # Example
    /// ```
    /// # fn f(accepted: cluster_axum::Accepted<'_>) {
    /// println!("a client at {}", accepted.remote_addr());
    /// # }
    /// ```
    pub fn remote_addr(&self) -> &SocketAddr {
        &self.remote
    }

    /// The TCP stream: its local address, its socket options.
    ///
    /// # Example
    /// ```
    /// # fn f(accepted: cluster_axum::Accepted<'_>) -> std::io::Result<()> {
    /// println!("a client of {}", accepted.io().local_addr()?);
    /// # Ok(()) }
    /// ```
    pub fn io(&self) -> &'a TcpStream {
        self.tcp
    }
}

impl Connected<Accepted<'_>> for SocketAddr {
    fn connect_info(accepted: Accepted<'_>) -> Self {
        accepted.remote
    }
}
