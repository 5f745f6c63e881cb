//! What an application's bytes go over: a client's stream, or TLS on it.
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use cluster_core::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[cfg(feature = "tls")]
type Secured = tokio_rustls::server::TlsStream<Stream>;

/// A client's stream, as its listener has it.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(Stream),
    /// On the heap: a session is large, and most connections have none.
    #[cfg(feature = "tls")]
    Tls(Box<Secured>),
}

impl Transport {
    /// The stream underneath.
    pub(crate) fn io(&self) -> &Stream {
        match self {
            Self::Plain(io) => io,
            #[cfg(feature = "tls")]
            Self::Tls(io) => io.get_ref().0,
        }
    }

    /// What was agreed on with the client.
    #[cfg(feature = "tls")]
    pub(crate) fn session(&self) -> Option<&tokio_rustls::rustls::ServerConnection> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(io) => Some(io.get_ref().1),
        }
    }
}

/// Calls the same on what is inside.
macro_rules! inside {
    ($transport:expr, $io:ident => $call:expr) => {
        match $transport {
            Transport::Plain($io) => $call,
            #[cfg(feature = "tls")]
            Transport::Tls($io) => $call,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        inside!(&mut *self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        inside!(&mut *self, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(&mut *self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(&mut *self, io => Pin::new(io).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        inside!(&mut *self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        inside!(self, io => io.is_write_vectored())
    }
}
