//! A stream whose client must not stop reading for too long.
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// A stream that cannot be written to for longer than its limit is an error. It is asked wherever the stream went, so
/// it holds for a WebSocket, too.
#[derive(Debug)]
pub(crate) struct Patient<S> {
    io: S,
    limit: Option<Duration>,
    waits: Arc<AtomicBool>,
    /// Since when it waits, and in which call.
    since: Option<(Instant, Call)>,
    /// Kept from one wait to the next, so that a fast client which is a little slower than we are costs no timer.
    timer: Option<Pin<Box<Sleep>>>,
}

/// What waits. A flush that has nothing to do says nothing about a write that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Write,
    Flush,
}

impl<S> Patient<S> {
    pub(crate) fn new(io: S, limit: Option<Duration>) -> Self {
        Self { io, limit, waits: Arc::default(), since: None, timer: None }
    }

    /// Whether something is to be written that the client does not take yet.
    pub(crate) fn waits(&self) -> &Arc<AtomicBool> {
        &self.waits
    }

    fn after<T>(
        &mut self,
        call: Call,
        done: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if done.is_pending() {
            return self.wait(call, cx);
        }
        if self.since.is_some_and(|(_, waits)| call == Call::Write || waits == Call::Flush) {
            self.since = None;
            self.waits.store(false, Relaxed);
        }
        done
    }

    #[cold]
    fn wait<T>(&mut self, call: Call, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.waits.store(true, Relaxed);
        let (since, _) = *self.since.get_or_insert_with(|| (Instant::now(), call));
        let Some(limit) = self.limit else { return Poll::Pending };
        let deadline = since + limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if deadline <= Instant::now() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")));
            }
            // It was set for an earlier wait.
            timer.as_mut().reset(deadline);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.after(Call::Write, written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.after(Call::Flush, flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        self.after(Call::Flush, shut, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.after(Call::Write, written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
