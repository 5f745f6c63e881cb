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
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// So long a client that is told the end has to read it, and to close its side.
const LINGER: Duration = Duration::from_secs(1);

/// How a connection is closed: as this says when its last word is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Close {
    /// Nothing is on its way; or the stream was upgraded, and is not HTTP's to read any more.
    AtOnce = 0,
    /// As when there is no more to come, unless something has.
    LookFirst = 1,
    /// The client may be sending yet.
    Wait = 2,
}

/// What is known of that, from who serves the connection.
#[derive(Debug, Clone)]
pub(crate) struct Closing(Arc<AtomicU8>);

impl Closing {
    pub(crate) fn set(&self, close: Close) {
        self.0.store(close as u8, Relaxed);
    }

    fn now(&self) -> Close {
        match self.0.load(Relaxed) {
            0 => Close::AtOnce,
            1 => Close::LookFirst,
            _ => Close::Wait,
        }
    }
}

/// A stream whose shutdown waits for its client's, and throws away what comes until then.
#[derive(Debug)]
pub(crate) struct Lingering<S> {
    io: S,
    closing: Closing,
    /// How it is closed, once its last word is out.
    shut: Option<Close>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    pub(crate) fn new(io: S) -> Self {
        Self {
            io,
            // Who is refused before its request is known may be sending the rest of it.
            closing: Closing(Arc::new(AtomicU8::new(Close::Wait as u8))),
            shut: None,
            timer: None,
        }
    }

    pub(crate) fn closing(&self) -> &Closing {
        &self.closing
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
        let mut waits = self.timer.is_some() || self.shut == Some(Close::Wait);
        let mut thrown_away = [const { MaybeUninit::uninit() }; 4096];
        loop {
            let mut came = ReadBuf::uninit(&mut thrown_away);
            match Pin::new(&mut self.io).poll_read(cx, &mut came) {
                Poll::Ready(Ok(())) if !came.filled().is_empty() => waits = true,
                Poll::Ready(Ok(()) | Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        match &self.timer {
            _ if !waits => Poll::Ready(()),
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
        let this = &mut *self;
        let close = match this.shut {
            Some(close) => close,
            None => {
                ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
                *this.shut.insert(this.closing.now())
            }
        };
        match close {
            Close::AtOnce => Poll::Ready(Ok(())),
            Close::LookFirst | Close::Wait => this.poll_end(cx).map(Ok),
        }
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
