//! TLS by rustls 0.23.
mod tickets;

use std::net::SocketAddr;
use std::sync::Arc;

use actix_http::Protocol;
use actix_rt::net::TcpStream;
pub(crate) use actix_tls::accept::rustls_0_23::TlsStream;
pub(crate) use actix_tls::accept::rustls_0_23::reexports::ServerConfig;
use cluster_core::Worker;
use tokio_rustls::TlsAcceptor;

use self::tickets::SharedTickets;

/// The configuration as actix-web completes it: HTTP/2 and HTTP/1.1 come before what is offered already.
pub(crate) fn complete(mut config: ServerConfig) -> Arc<ServerConfig> {
    let offered = std::mem::take(&mut config.alpn_protocols);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.alpn_protocols.extend(offered);
    Arc::new(config)
}

/// What shakes hands in a worker, at this address. A session that it has begun any worker of its generation takes up again.
pub(crate) fn acceptor(config: &Arc<ServerConfig>, addr: SocketAddr, worker: &Worker) -> TlsAcceptor {
    // What the user has chosen stays: tickets of one's own, no resumption at all, or early data, which a server must be
    // able to refuse the second time, and tickets that any worker takes cannot tell.
    let is_left_to_us =
        !config.ticketer.enabled() && config.session_storage.can_cache() && config.max_early_data_size == 0;
    let (true, Some(secrets)) = (is_left_to_us, worker.secrets()) else {
        return TlsAcceptor::from(config.clone());
    };
    // Whoever resumes is not asked for a certificate again: another listener, or another program, may want another.
    let purpose = format!("listener {} {addr}", worker.generation());
    let mut config = ServerConfig::clone(config);
    config.ticketer = Arc::new(SharedTickets::new(secrets.clone(), purpose.as_bytes()));
    TlsAcceptor::from(Arc::new(config))
}

/// What the client has chosen.
pub(crate) fn protocol(stream: &TlsStream<TcpStream>) -> Protocol {
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    }
}
