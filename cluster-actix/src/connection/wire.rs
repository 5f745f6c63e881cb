//! A connection's stream as actix-http gets it, and what its task knows of what goes over it.
use std::cell::{Cell, RefCell, RefMut};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::web::Bytes;
use cluster_core::adapter::{Traffic, Watched};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;

/// What goes over a connection.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    traffic: Arc<Traffic>,
    /// Requests that the application was given.
    begun: Cell<u64>,
    /// So often did the client take something.
    taken: Cell<u64>,
    /// It takes no more for now.
    is_full: Cell<bool>,
    /// What HTTP/2 says; nothing in HTTP/1.
    frames: Option<RefCell<Frames>>,
}

impl Talk {
    pub(super) fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    pub(super) fn begun(&self) -> u64 {
        self.begun.get()
    }

    /// Which part of what is sent the client is waited for to take, if it is.
    pub(super) fn waits_for_taking(&self) -> Option<u64> {
        self.is_full.get().then(|| self.taken.get())
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        self.is_full.set(written.is_pending());
        if let Poll::Ready(Ok(1..)) = written {
            self.taken.set(self.taken.get().wrapping_add(1));
        }
    }

    /// Resolves when a connection of HTTP/1 may be closed.
    pub(crate) async fn may_close(&self) {
        self.traffic.may_close().await;
    }

    /// Where HTTP/2 is spoken.
    #[inline]
    pub(super) fn frames(&self) -> Option<RefMut<'_, Frames>> {
        self.frames.as_ref().map(RefCell::borrow_mut)
    }
}

/// A request on its way through the application, until its answer has been handed over. Counted on one thread, so without
/// the reference counts of [`Traffic::begin`].
pub(crate) struct OpenRequest(Rc<Talk>);

impl OpenRequest {
    /// The application is given a request of that connection.
    #[inline]
    pub(crate) fn begin(talk: Rc<Talk>) -> Self {
        talk.begun.set(talk.begun.get().wrapping_add(1));
        talk.traffic.request_begins();
        Self(talk)
    }
}

impl Drop for OpenRequest {
    #[inline]
    fn drop(&mut self) {
        self.0.traffic.request_ends();
    }
}

thread_local! {
    /// Of the connection whose task is polled. Tokio's `task_local!` takes longer for it, with each poll.
    static TALK: Cell<Option<Rc<Talk>>> = const { Cell::new(None) };
}

/// What goes over the connection of this task; that of nobody where there is none.
pub(crate) fn talk() -> Rc<Talk> {
    let talk = TALK.take().unwrap_or_default();
    TALK.set(Some(talk.clone()));
    talk
}

/// While this is there, [`talk`] is that of a connection.
pub(super) struct Spoken(Option<Rc<Talk>>);

impl Spoken {
    #[inline]
    pub(super) fn of(talk: &Rc<Talk>) -> Self {
        Self(TALK.replace(Some(talk.clone())))
    }
}

impl Drop for Spoken {
    #[inline]
    fn drop(&mut self) {
        TALK.set(self.0.take());
    }
}

/// The stream.
pub(crate) struct Wire<S> {
    io: Watched<S>,
    /// What was read from it already, and is to be read again.
    first: Bytes,
    talk: Rc<Talk>,
}

impl<S> Wire<S> {
    /// A stream that speaks HTTP/1, from which `first` was read.
    pub(super) fn http1(io: S, first: Bytes) -> Self {
        Self::new(io, first, None)
    }

    /// A stream that speaks HTTP/2, from which `first` was read.
    pub(super) fn http2(io: S, first: Bytes) -> Self {
        Self::new(io, first, Some(RefCell::default()))
    }

    fn new(io: S, first: Bytes, frames: Option<RefCell<Frames>>) -> Self {
        let io = Watched::new(io);
        let talk = Rc::new(Talk { traffic: io.traffic().clone(), frames, ..Talk::default() });
        Self { io, first, talk }
    }

    /// The stream underneath, as `on_connect` gets it.
    pub(super) fn io(&self) -> &S {
        self.io.io()
    }

    pub(super) fn talk(&self) -> Rc<Talk> {
        self.talk.clone()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Writes what the frames want to say besides, if this is a place for it.
    #[inline]
    fn poll_own_words(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.talk.frames.is_none() { Poll::Ready(Ok(())) } else { self.poll_words(cx) }
    }

    fn poll_words(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(mut frames) = self.talk.frames() else { return Poll::Ready(Ok(())) };
        while let Some(word) = frames.word() {
            let written = Pin::new(&mut self.io).poll_write(cx, word);
            self.talk.wrote(&written);
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            frames.said(written);
        }
        Poll::Ready(Ok(()))
    }

    /// The client is told that all is over: what is written yet is for nobody.
    fn is_over(&self) -> bool {
        self.talk.frames().is_some_and(|frames| frames.is_over())
    }

    fn passed(&self, bytes: &[u8]) {
        if let Some(mut frames) = self.talk.frames() {
            frames.went(bytes);
        }
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Reads what comes next.
    fn poll_next(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let again = self.first.split_to(self.first.len().min(buf.remaining()));
        self.talk.traffic.came(&again);
        buf.put_slice(&again);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            let read = self.poll_next(cx, buf);
            let Some(mut frames) = self.talk.frames() else { return read };
            let came = &buf.filled()[before..];
            if came.is_empty() || !frames.has_parted() {
                frames.came(came);
                return read;
            }
            // Its end is waited for, and nothing else: what it asks by now it asks elsewhere, too.
            buf.set_filled(before);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_own_words(cx))?;
        if self.is_over() {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.talk.wrote(&written);
        let written = ready!(written)?;
        self.passed(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_own_words(cx))?;
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        // Its side stays open for a moment: what it sends meanwhile would have it lose what it was told.
        if self.is_over() { Pin::new(&mut self.io).poll_shutdown(cx) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_own_words(cx))?;
        if self.is_over() {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.talk.wrote(&written);
        let written = ready!(written)?;
        let mut left = written;
        for buf in bufs {
            let of_this = left.min(buf.len());
            self.passed(&buf[..of_this]);
            left -= of_this;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
