//! A connection's first moments: TLS shakes hands, the version of HTTP is found, and then it is served.
//!
//! All of that is done by the connection's own task, and has a deadline, so that it holds nobody else up.
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use actix_http::Protocol;
use actix_http::error::DispatchError;
use actix_rt::net::{ActixStream, TcpStream, UnixStream};
use actix_web::web::Bytes;
use cluster_core::Stream;
#[cfg(any(feature = "rustls-0_23", feature = "openssl"))]
use cluster_core::adapter::HALF_SENT;
use futures::FutureExt as _;
use futures::future::{Either, select};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::care::Attended;
use super::wire::{Spoken, Wire};
use super::{Connections, Http};
use crate::handshakes::{self, Handshake};

/// Of what kind the connections of a listener are, and what serves them.
pub(super) enum Door {
    Tcp(Way<TcpStream>),
    /// What they speak, their first bytes say.
    Auto(Http<TcpStream>),
    Unix(Way<UnixStream>),
}

/// What is between a stream and HTTP.
pub(super) enum Way<S> {
    Plain(Http<S>),
    #[cfg(feature = "rustls-0_23")]
    Rustls(tokio_rustls::TlsAcceptor, Http<crate::transport::rustls::TlsStream<S>>),
    #[cfg(feature = "openssl")]
    Openssl(crate::transport::openssl::SslAcceptor, Http<crate::transport::openssl::TlsStream<S>>),
}

impl Door {
    /// Whether the application takes another connection.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), DispatchError>> {
        match self {
            Door::Tcp(way) => way.poll_ready(cx),
            Door::Auto(http) => http.poll_ready(cx),
            Door::Unix(way) => way.poll_ready(cx),
        }
    }

    fn has_handshakes(&self) -> bool {
        match self {
            Door::Tcp(way) => way.has_handshakes(),
            Door::Auto(_) => false,
            Door::Unix(way) => way.has_handshakes(),
        }
    }

    /// Whether another handshake may begin, where there are any.
    pub(super) fn poll_room(&self, most: Option<usize>, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_handshakes() { handshakes::poll_room(most, cx) } else { Poll::Ready(()) }
    }
}

impl<S> Way<S> {
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), DispatchError>> {
        match self {
            Way::Plain(http) => http.poll_ready(cx),
            #[cfg(feature = "rustls-0_23")]
            Way::Rustls(_, http) => http.poll_ready(cx),
            #[cfg(feature = "openssl")]
            Way::Openssl(_, http) => http.poll_ready(cx),
        }
    }

    fn has_handshakes(&self) -> bool {
        !matches!(self, Way::Plain(_))
    }
}

/// A connection that was taken, and is not served yet.
pub(crate) struct Arrival {
    stream: Stream,
    handshake: Option<Handshake>,
}

impl Connections {
    /// Counts a handshake that is to come: at once, because the next connection may be taken BEFORE this one's task has begun.
    pub(crate) fn meet(&self, stream: Stream) -> Arrival {
        Arrival { stream, handshake: self.door.has_handshakes().then(handshakes::begin) }
    }

    /// Serves a connection to its end. How it ended concerns nobody else; actix-web's own server ignores it, too.
    pub(crate) async fn serve(&self, arrival: Arrival) {
        let Arrival { stream, handshake } = arrival;
        match (stream, &self.door) {
            (Stream::Unix(unix), Door::Unix(way)) => self.come_in(way, unix, None, handshake).await,
            (Stream::Tcp(tcp), Door::Tcp(way)) => {
                self.set_nodelay(&tcp);
                let peer = tcp.peer_addr().ok();
                self.come_in(way, tcp, peer, handshake).await;
            }
            (Stream::Tcp(tcp), Door::Auto(http)) => {
                self.set_nodelay(&tcp);
                let peer = tcp.peer_addr().ok();
                let Some((tcp, first, protocol)) = self.tell_apart(tcp).await else { return };
                let wire = match protocol {
                    Protocol::Http2 => Wire::http2(tcp, first),
                    _ => Wire::http1(tcp, first),
                };
                self.converse(http, wire, protocol, peer).await;
            }
            // Each kind of connection has a listener, and each listener a door.
            (Stream::Unix(_), Door::Tcp(_) | Door::Auto(_)) | (Stream::Tcp(_), Door::Unix(_)) => {}
        }
    }

    fn set_nodelay(&self, tcp: &TcpStream) {
        if let Some(nodelay) = self.settings.tcp_nodelay {
            // It is a matter of speed alone.
            let _ = tcp.set_nodelay(nodelay);
        }
    }

    async fn come_in<S: ActixStream + 'static>(
        &self,
        way: &Way<S>,
        io: S,
        peer: Option<SocketAddr>,
        handshake: Option<Handshake>,
    ) {
        match way {
            Way::Plain(http) => {
                debug_assert!(handshake.is_none());
                self.converse(http, Wire::http1(io, Bytes::new()), Protocol::Http1, peer).await;
            }
            #[cfg(feature = "rustls-0_23")]
            Way::Rustls(acceptor, http) => {
                let Some(Ok(stream)) = self.shake_hands(acceptor.accept(io), handshake).await else { return };
                let stream = stream.into();
                let protocol = crate::transport::rustls::protocol(&stream);
                self.converse_secured(http, stream, protocol, peer).await;
            }
            #[cfg(feature = "openssl")]
            Way::Openssl(acceptor, http) => {
                let shaken = crate::transport::openssl::accept(acceptor, io);
                let Some(Ok(stream)) = self.shake_hands(shaken, handshake).await else { return };
                let protocol = crate::transport::openssl::protocol(&stream);
                self.converse_secured(http, stream, protocol, peer).await;
            }
        }
    }

    /// What comes of a handshake in its time; nothing after that. As with half a request, a worker that leaves does not wait
    /// for who does not go on.
    #[cfg(any(feature = "rustls-0_23", feature = "openssl"))]
    async fn shake_hands<T>(&self, hands: impl Future<Output = T>, _counted: Option<Handshake>) -> Option<T> {
        let hands = std::pin::pin!(tokio::time::timeout(self.settings.tls_handshake_timeout, hands));
        let parting = std::pin::pin!(async {
            self.worker.lame_duck_over().await;
            tokio::time::sleep(HALF_SENT).await;
        });
        match select(hands, parting).await {
            Either::Left((shaken, _)) => shaken.ok(),
            Either::Right(((), _)) => None,
        }
    }

    #[cfg(any(feature = "rustls-0_23", feature = "openssl"))]
    async fn converse_secured<T>(
        &self,
        http: &Http<T>,
        stream: T,
        protocol: Protocol,
        peer: Option<SocketAddr>,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let wire = match protocol {
            Protocol::Http2 => Wire::http2(stream, Bytes::new()),
            _ => Wire::http1(stream, Bytes::new()),
        };
        // It was late for the lame duck, and is not one that has nothing to ask: it had no time for that.
        if self.worker.is_draining() {
            wire.talk().traffic().is_awaited();
        }
        self.converse(http, wire, protocol, peer).await;
    }

    /// Hands the stream to actix-http.
    fn converse<T>(
        &self,
        http: &Http<T>,
        wire: Wire<T>,
        protocol: Protocol,
        peer: Option<SocketAddr>,
    ) -> impl Future<Output = ()> + use<T>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let talk = wire.talk();
        let served = {
            let _spoken = Spoken::of(&talk);
            http.call((wire, protocol, peer)).map(drop)
        };
        Attended::new(served, talk, &self.settings, &self.worker)
    }

    /// Finds out which HTTP a client speaks. None: it says nothing, for too long, or in a drain.
    async fn tell_apart(&self, mut tcp: TcpStream) -> Option<(TcpStream, Bytes, Protocol)> {
        let limit = self.settings.client_request_timeout;
        let first = {
            let first = std::pin::pin!(first_bytes(&mut tcp));
            let over = self.worker.lame_duck_over();
            let found = async {
                match select(first, over).await {
                    Either::Left((first, _)) => first.ok(),
                    Either::Right(((), _)) => None,
                }
            };
            if limit.is_zero() {
                found.await
            } else {
                tokio::time::timeout(limit, found).await.ok().flatten()
            }
        };
        let (first, protocol) = first?;
        Some((tcp, first, protocol))
    }
}

/// With this a client of HTTP/2 begins (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is clear whether that is HTTP/2; what was read is to be read again.
async fn first_bytes(tcp: &mut (impl AsyncRead + Unpin)) -> io::Result<(Bytes, Protocol)> {
    let mut first = [0; PREFACE.len()];
    let mut have = 0;
    loop {
        let new = tcp.read(&mut first[have..]).await?;
        have += new;
        let read = &first[..have];
        if new == 0 || !PREFACE.starts_with(read) {
            return Ok((Bytes::copy_from_slice(read), Protocol::Http1));
        }
        if have == PREFACE.len() {
            return Ok((Bytes::copy_from_slice(read), Protocol::Http2));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[actix_web::test]
    async fn the_first_bytes_tell_the_versions_apart_in_pieces_of_any_size() {
        for (sent, protocol) in [
            (&PREFACE[..], Protocol::Http2),
            (b"PRI * HTTP/1.1\r\n", Protocol::Http1),
            (b"POST / HTTP/1.1\r\n", Protocol::Http1),
            (b"PRI", Protocol::Http1),
        ] {
            let (mut client, mut ours) = tokio::io::duplex(1);
            let (sending, found) =
                tokio::join!(async move { client.write_all(sent).await.is_ok() }, async move {
                    first_bytes(&mut ours).await.unwrap()
                },);
            // One that stops early has read enough, and hangs up here.
            assert!(sending || found.0.len() < sent.len());
            assert_eq!(found.1, protocol, "{}", String::from_utf8_lossy(sent));
            assert_eq!(found.0, &sent[..found.0.len()]);
        }
    }
}
