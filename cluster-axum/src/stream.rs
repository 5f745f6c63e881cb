//! A client's stream, with what is held for as long as it is open.
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use cluster_core::adapter::{Traffic, Watched};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::Transport;

/// Up to so many bytes, head and body of an answer are copied into one piece: for little, copying costs less than what the
/// kernel does for more than one.
const SMALL: usize = 512;

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
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut room = [const { MaybeUninit::uninit() }; SMALL];
        let mut together = ReadBuf::uninit(&mut room);
        if put_together(bufs, &mut together) {
            Pin::new(&mut self.io).poll_write(cx, together.filled())
        } else {
            Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Copies what is to be written into one piece, if there is room for it.
fn put_together(bufs: &[IoSlice<'_>], together: &mut ReadBuf<'_>) -> bool {
    for buf in bufs {
        if buf.len() > together.remaining() {
            return false;
        }
        together.put_slice(buf);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn together(pieces: &[&[u8]]) -> Option<Vec<u8>> {
        let pieces: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut room = [0; SMALL];
        let mut together = ReadBuf::new(&mut room);
        put_together(&pieces, &mut together).then(|| together.filled().to_vec())
    }

    #[test]
    fn what_is_small_is_put_together_and_what_is_not_is_left() {
        assert_eq!(together(&[b"head", b"", b"body"]).as_deref(), Some(&b"headbody"[..]));
        assert_eq!(together(&[]).as_deref(), Some(&b""[..]));
        let all = [b'x'; SMALL];
        assert_eq!(together(&[&all[1..], b"y"]).map(|all| all.len()), Some(SMALL));
        assert_eq!(together(&[&all, b"y"]), None);
        assert_eq!(together(&[&[b'x'; SMALL + 1]]), None);
    }
}
