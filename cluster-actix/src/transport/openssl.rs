//! TLS by OpenSSL.
use std::io;
use std::pin::Pin;

use actix_http::Protocol;
use actix_rt::net::ActixStream;
pub(crate) use actix_tls::accept::openssl::TlsStream;
pub(crate) use actix_tls::accept::openssl::reexports::{SslAcceptor, SslAcceptorBuilder};
use openssl::ssl::{AlpnError, Ssl, select_next_proto};
use tokio_openssl::SslStream;

/// In the order in which they are preferred; each with its length before it.
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";

/// The acceptor as actix-web completes it: it speaks HTTP/2 and HTTP/1.1.
pub(crate) fn complete(mut builder: SslAcceptorBuilder) -> io::Result<SslAcceptor> {
    builder
        .set_alpn_select_callback(|_, offered| select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::NOACK));
    builder.set_alpn_protos(PROTOCOLS)?;
    Ok(builder.build())
}

/// Shakes hands.
pub(crate) async fn accept<S: ActixStream>(acceptor: &SslAcceptor, io: S) -> io::Result<TlsStream<S>> {
    let mut stream = SslStream::new(Ssl::new(acceptor.context())?, io)?;
    Pin::new(&mut stream).accept().await.map_err(io::Error::other)?;
    Ok(stream.into())
}

/// What the client has chosen.
pub(crate) fn protocol<S>(stream: &TlsStream<S>) -> Protocol {
    match stream.ssl().selected_alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    }
}
