//! TLS by rustls 0.23.
use std::sync::Arc;

use actix_http::Protocol;
pub(crate) use actix_tls::accept::rustls_0_23::TlsStream;
pub(crate) use actix_tls::accept::rustls_0_23::reexports::ServerConfig;
use cluster_core::Worker;
use cluster_core::adapter::share_tickets;
use tokio_rustls::TlsAcceptor;

/// The configuration as actix-web completes it: HTTP/2 and HTTP/1.1 come before what is offered already.
pub(crate) fn complete(mut config: ServerConfig) -> Arc<ServerConfig> {
    let offered = std::mem::take(&mut config.alpn_protocols);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.alpn_protocols.extend(offered);
    Arc::new(config)
}

/// What shakes hands at a listener, in a worker. A session that it has begun any worker of its generation takes up again.
pub(crate) fn acceptor(config: &Arc<ServerConfig>, listener: &str, worker: &Worker) -> TlsAcceptor {
    // Whoever resumes is not asked for a certificate again: another listener, or another program, may want another.
    let purpose = format!("listener {} {listener}", worker.generation());
    let mut config = ServerConfig::clone(config);
    share_tickets(&mut config, purpose.as_bytes(), worker);
    TlsAcceptor::from(Arc::new(config))
}

/// What the client has chosen.
pub(crate) fn protocol<S>(stream: &TlsStream<S>) -> Protocol {
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    }
}
