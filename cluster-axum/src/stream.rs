//! A client's stream, with what is held for as long as it is open.
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use cluster_core::adapter::{Traffic, Watched};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::Transport;

/// A stream that drops `held` when it is closed. An upgraded connection takes its stream along, out of the
/// task that served it: so a WebSocket counts as open, and a drain waits for it, wherever it went.
#[derive(Debug)]
pub(crate) struct Counted<H> {
    io: Watched<Transport>,
    _held: H,
}

impl<H> Counted<H> {
    pub(crate) fn new(io: Transport, held: H) -> Self {
        Self { io: Watched::new(io), _held: held }
    }

    pub(crate) fn transport(&self) -> &Transport {
        self.io.io()
    }

    /// What goes over it, as a drain has to know it.
    pub(crate) fn traffic(&self) -> &Arc<Traffic> {
        self.io.traffic()
    }
}

impl<H: Unpin> AsyncRead for Counted<H> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<H: Unpin> AsyncWrite for Counted<H> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
