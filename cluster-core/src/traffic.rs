//! What goes over an HTTP connection, as far as its drain has to know: whether a client waits for an answer, and which
//! protocol it speaks. For the adapters.
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long after the lame duck a client has for the rest of a request that it has begun to send. A segment that is
/// lost is sent again within this time; a client that never goes on must not hold up the drain to its deadline.
pub const HALF_SENT: Duration = Duration::from_secs(5);

/// With this a client of HTTP/2 begins (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// It does not begin like this.
const NO_PREFACE: u8 = u8::MAX;

/// What goes over one connection. Its task alone writes here, so nothing has to be ordered.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes have come since the last went out.
    unanswered: AtomicBool,
    /// Requests that the application has, and answers that have not gone out to their end.
    requests: AtomicU32,
    /// How much of the preface has come, or `NO_PREFACE`.
    preface: AtomicU8,
    waits: AtomicBool,
    waiter: AtomicWaker,
}

/// A request on its way through the application, until its answer has been handed over. Hold it in the answer's body.
#[derive(Debug)]
pub struct OpenRequest(Arc<Traffic>);

impl Traffic {
    /// The application is given a request.
    #[inline]
    pub fn begin(self: &Arc<Self>) -> OpenRequest {
        self.request_begins();
        OpenRequest(self.clone())
    }

    /// The same, for whoever tells by itself when it ends.
    #[inline]
    pub fn request_begins(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// A request has been answered to its end, or is given up.
    #[inline]
    pub fn request_ends(&self) {
        self.requests.fetch_sub(1, Relaxed);
        self.tell_waiter();
    }

    /// Its handshake has ended, so it is about to ask, though nothing has come.
    pub fn is_awaited(&self) {
        self.unanswered.store(true, Relaxed);
    }

    /// Whether the client has begun to speak HTTP/2.
    pub fn is_http2(&self) -> bool {
        usize::from(self.preface.load(Relaxed)) == PREFACE.len()
    }

    /// Whether no client waits for an answer of HTTP/1, and none has begun to ask. Half a request that came in one
    /// piece with a whole one before it is not seen.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        !self.unanswered.load(Relaxed) && self.has_answered()
    }

    /// Whether the application has no request, and no answer is under way.
    #[inline]
    pub fn has_answered(&self) -> bool {
        self.requests.load(Relaxed) == 0
    }

    /// Resolves when the connection may be closed after the lame duck: it [is quiet](Self::is_quiet), or somebody has
    /// sent half a request and not gone on for [`HALF_SENT`].
    pub async fn may_close(&self) {
        // What has come until now is read first: after one turn the runtime knows of it, after another it is read.
        for _ in 0..2 {
            tokio::task::yield_now().await;
        }
        if tokio::time::timeout(HALF_SENT, self.until(Self::is_quiet)).await.is_err() {
            self.until(Self::has_answered).await;
        }
    }

    async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        self.waits.store(true, Relaxed);
        poll_fn(|cx| {
            // BEFORE the look, so that nothing is missed after it.
            self.waiter.register(cx.waker());
            if is_so(self) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The client has sent this.
    #[inline]
    pub fn came(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.unanswered.store(true, Relaxed);
        let seen = usize::from(self.preface.load(Relaxed));
        if seen < PREFACE.len() {
            let expected = &PREFACE[seen..];
            let new = bytes.len().min(expected.len());
            let is_preface = bytes[..new] == expected[..new];
            self.preface.store(if is_preface { (seen + new) as u8 } else { NO_PREFACE }, Relaxed);
        }
    }

    #[inline]
    fn went(&self) {
        self.unanswered.store(false, Relaxed);
        self.tell_waiter();
    }

    #[inline]
    fn tell_waiter(&self) {
        if self.waits.load(Relaxed) {
            self.waiter.wake();
        }
    }
}

impl OpenRequest {
    /// It becomes a stream of another protocol on a connection of HTTP/2 (RFC 8441), and nobody tells when that ends: the
    /// connection never counts as idle again.
    pub fn never_ends(&self) {
        self.0.requests.fetch_add(1, Relaxed);
    }
}

impl Drop for OpenRequest {
    #[inline]
    fn drop(&mut self) {
        self.0.request_ends();
    }
}

/// A stream whose traffic is seen.
#[derive(Debug)]
pub struct Watched<S> {
    io: S,
    traffic: Arc<Traffic>,
}

impl<S> Watched<S> {
    /// Watches a stream of which nothing has been read.
    pub fn new(io: S) -> Self {
        Self { io, traffic: Arc::default() }
    }

    /// The stream underneath.
    pub fn io(&self) -> &S {
        &self.io
    }

    /// What goes over it.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = written {
            self.traffic.went();
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.traffic.came(&buf.filled()[before..]);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    #[inline]
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(written)
    }

    #[inline]
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
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    fn traffic() -> Arc<Traffic> {
        Arc::default()
    }

    #[test]
    fn http2_is_known_by_its_whole_preface_in_whatever_pieces_it_comes() {
        for size in 1..=PREFACE.len() {
            let traffic = traffic();
            for piece in PREFACE.chunks(size) {
                assert!(!traffic.is_http2());
                traffic.came(piece);
            }
            assert!(traffic.is_http2(), "in pieces of {size}");
            traffic.came(b"a frame");
            assert!(traffic.is_http2());
        }
    }

    #[test]
    fn a_request_is_no_preface_also_where_it_begins_like_one() {
        for request in [&b"GET / HTTP/1.1\r\n"[..], b"PUT / HTTP/1.1\r\n", b"PRI * HTTP/1.1\r\n\r\n"] {
            let traffic = traffic();
            request.chunks(1).for_each(|byte| traffic.came(byte));
            traffic.came(PREFACE);
            assert!(!traffic.is_http2());
        }
    }

    #[test]
    fn a_connection_is_quiet_until_its_client_speaks_and_again_when_it_is_answered() {
        let traffic = traffic();
        assert!(traffic.is_quiet());
        traffic.came(b"GET /");
        assert!(!traffic.is_quiet());
        let request = traffic.begin();
        // A part of the answer is out, and not all.
        traffic.went();
        assert!(!traffic.is_quiet());
        drop(request);
        assert!(traffic.is_quiet());
    }

    #[test]
    fn who_has_just_shaken_hands_is_about_to_ask() {
        let traffic = traffic();
        traffic.is_awaited();
        assert!(!traffic.is_quiet());
        traffic.came(b"GET /");
        traffic.went();
        assert!(traffic.is_quiet());
    }

    #[tokio::test]
    async fn who_waits_is_told_when_the_answer_is_out() {
        let (mut client, ours): (DuplexStream, DuplexStream) = tokio::io::duplex(64);
        let mut stream = Watched::new(ours);
        client.write_all(b"half").await.unwrap();
        stream.read_u32().await.unwrap();
        let traffic = stream.traffic().clone();
        assert_eq!(traffic.until(Traffic::is_quiet).now_or_never(), None);
        let closing = tokio::spawn(async move { traffic.may_close().await });
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        assert!(!closing.is_finished());
        stream.write_all(b"answer").await.unwrap();
        tokio::time::timeout(HALF_SENT / 2, closing).await.expect("it is told").unwrap();
    }
}
