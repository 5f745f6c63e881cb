//! A stream that is closed in two steps, so that its client loses nothing of what it was sent.
//!
//! Who closes a socket on which something is unread, or comes later, resets it, and what the client has not read by then is
//! lost (RFC 9112, 9.6). HTTP/2 clients nearly always send something yet: they give windows back, and answer pings. hyper
//! closes at once.
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// So long a client that is told the end has to read it, and to close its side.
const LINGER: Duration = Duration::from_secs(1);

/// A stream whose shutdown waits for its client's, and throws away what comes until then.
#[derive(Debug)]
pub(crate) struct Lingering<S> {
    io: S,
    /// Its client may be reading an answer. Where it is not, nobody waits; and an upgraded stream is not HTTP's to read.
    lingers: Arc<AtomicBool>,
    is_shut: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    pub(crate) fn new(io: S) -> Self {
        Self { io, lingers: Arc::new(AtomicBool::new(true)), is_shut: false, timer: None }
    }

    /// Whether it waits for its client; to be set to false where it shall not.
    pub(crate) fn lingers(&self) -> &Arc<AtomicBool> {
        &self.lingers
    }
}

impl<S: AsyncRead + Unpin> Lingering<S> {
    /// Ready when the client has closed its side, is gone, or has had its time.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // BEFORE reading: who sends without end must not have the time without end.
        if let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(());
        }
        let mut thrown_away = [const { MaybeUninit::uninit() }; 4096];
        loop {
            let mut came = ReadBuf::uninit(&mut thrown_away);
            match Pin::new(&mut self.io).poll_read(cx, &mut came) {
                Poll::Ready(Ok(())) if !came.filled().is_empty() => {}
                Poll::Ready(Ok(()) | Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        match &self.timer {
            Some(_) => Poll::Pending,
            None => self.timer.insert(Box::pin(sleep(LINGER))).as_mut().poll(cx),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.is_shut = true;
        }
        if self.lingers.load(Relaxed) { self.poll_end(cx).map(Ok) } else { Poll::Ready(Ok(())) }
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
