//! An accepted connection.
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::conn::admission::OpenConnection;
use crate::conn::socket::{Incoming, PeerAddr};
use crate::conn::stream::Stream;

/// A client's connection, to read and write. It counts as open until it is dropped.
///
/// # Example
/// ```no_run
/// use cluster_core::Cluster;
/// use tokio::io::AsyncWriteExt;
/// Cluster::builder().bind("hello", "127.0.0.1:7000").worker(|worker| async move {
///     let mut acceptor = worker.acceptor("hello")?;
///     while let Some(mut connection) = acceptor.accept().await {
///         println!("a client at {}", connection.peer_addr());
///         connection.write_all(b"hello\n").await?;
///     }
///     Ok(())
/// });
/// ```
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    peer: PeerAddr,
    open: OpenConnection,
}

impl Connection {
    /// Registers an accepted connection with the current runtime. Fails where the runtime cannot wait for another
    /// descriptor.
    pub(crate) fn new(incoming: Incoming, open: OpenConnection) -> io::Result<Self> {
        let peer = incoming.peer;
        Ok(Self { stream: Stream::of(incoming)?, peer, open })
    }

    /// Where the client is.
    ///
    /// # Example
    /// ```no_run
    /// # fn handle(connection: cluster_core::Connection) {
    /// println!("{}", connection.peer_addr()); // 127.0.0.1:4711, or unix
    /// # }
    /// ```
    pub fn peer_addr(&self) -> PeerAddr {
        self.peer
    }

    /// The stream underneath, where the client came over TCP.
    ///
    /// # Example
    /// ```no_run
    /// # fn handle(connection: cluster_core::Connection) -> std::io::Result<()> {
    /// connection.tcp().map_or(Ok(()), |tcp| tcp.set_nodelay(true))
    /// # }
    /// ```
    pub fn tcp(&self) -> Option<&TcpStream> {
        self.stream.tcp()
    }

    /// The stream underneath, where the client came over a unix socket.
    ///
    /// # Example
    /// ```no_run
    /// # fn handle(connection: cluster_core::Connection) -> std::io::Result<()> {
    /// if let Some(unix) = connection.unix() {
    ///     println!("a client of uid {}", unix.peer_cred()?.uid());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn unix(&self) -> Option<&UnixStream> {
        self.stream.unix()
    }

    /// Takes it apart, for libraries that want Tokio's stream.
    ///
    /// # Example
    /// ```no_run
    /// # fn handle(connection: cluster_core::Connection) {
    /// let (stream, open) = connection.into_stream();
    /// # drop((stream, open));
    /// # }
    /// ```
    pub fn into_stream(self) -> (Stream, OpenConnection) {
        (self.stream, self.open)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
