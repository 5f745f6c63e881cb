//! A client's stream on the runtime, of either kind.
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::conn::socket::{Incoming, PeerAddr};

/// A client's stream: Tokio's own, of either kind.
///
/// # Example
/// ```no_run
/// use cluster_core::Stream;
/// fn handle(connection: cluster_core::Connection) -> std::io::Result<()> {
///     let (stream, _open) = connection.into_stream();
///     match &stream {
///         Stream::Tcp(tcp) => tcp.set_nodelay(true),
///         Stream::Unix(unix) => Ok(println!("a client of uid {}", unix.peer_cred()?.uid())),
///     }
/// }
/// ```
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Registers a connection with the current runtime.
    pub(crate) fn of(incoming: Incoming) -> io::Result<Self> {
        match incoming.peer {
            PeerAddr::Tcp(_) => TcpStream::from_std(incoming.fd.into()).map(Stream::Tcp),
            PeerAddr::Unix => UnixStream::from_std(incoming.fd.into()).map(Stream::Unix),
        }
    }

    /// The stream of a TCP client.
    ///
    /// # Example
    /// ```no_run
    /// # fn f(stream: cluster_core::Stream) {
    /// if let Some(tcp) = stream.tcp() {
    ///     let _ = tcp.set_nodelay(true);
    /// }
    /// # }
    /// ```
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(tcp) => Some(tcp),
            Stream::Unix(_) => None,
        }
    }

    /// The stream of a client of a unix socket.
    ///
    /// # Example
    /// ```no_run
    /// # fn f(stream: cluster_core::Stream) -> std::io::Result<()> {
    /// let pid = stream.unix().map(|unix| unix.peer_cred()).transpose()?.and_then(|peer| peer.pid());
    /// # Ok(()) }
    /// ```
    pub fn unix(&self) -> Option<&UnixStream> {
        match self {
            Stream::Unix(unix) => Some(unix),
            Stream::Tcp(_) => None,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Stream::Unix(unix) => Pin::new(unix).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Unix(unix) => Pin::new(unix).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Stream::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Tcp(tcp) => tcp.is_write_vectored(),
            Stream::Unix(unix) => unix.is_write_vectored(),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Self {
        Stream::Tcp(tcp)
    }
}

impl From<UnixStream> for Stream {
    fn from(unix: UnixStream) -> Self {
        Stream::Unix(unix)
    }
}
