//! A client's handshake, in its connection's own task: it holds up nobody else, and has a deadline.
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cluster_core::Stream;
use cluster_core::adapter::HALF_SENT;
use futures::future::{Either, select};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::drain::{Drain, Phase};
use crate::transport::Transport;

/// Through which a listener's clients come in.
#[derive(Clone)]
pub(crate) struct Gate {
    acceptor: TlsAcceptor,
    timeout: Duration,
}

impl Gate {
    pub(crate) fn new(config: Arc<ServerConfig>, timeout: Duration) -> Self {
        Self { acceptor: config.into(), timeout }
    }

    /// None where the client is none, cannot agree with us, or takes too long; it has been told what TLS can tell.
    pub(crate) async fn shake_hands(&self, io: Stream, drain: &Drain) -> Option<Transport> {
        let handshake = pin!(timeout(self.timeout, self.acceptor.accept(io)));
        // As with half a request: a worker that leaves does not wait for who does not go on.
        let parting = pin!(async {
            drain.reached(Phase::Closing).await;
            sleep(HALF_SENT).await;
        });
        match select(handshake, parting).await {
            Either::Left((Ok(Ok(secured)), _)) => Some(Transport::Tls(Box::new(secured))),
            Either::Left((Ok(Err(_)) | Err(_), _)) | Either::Right(((), _)) => None,
        }
    }
}
