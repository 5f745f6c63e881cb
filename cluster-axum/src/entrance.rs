//! How the connections of a listener come in: as they are, or through a handshake.
use cluster_core::{StartError, Stream, Worker};

use crate::drain::Drain;
#[cfg(feature = "tls")]
use crate::tls::{self, Gate};
use crate::transport::Transport;

/// Which listeners speak TLS, as `main` says it.
#[derive(Default)]
pub(crate) struct Plans {
    #[cfg(feature = "tls")]
    pub(crate) tls: tls::Plans,
}

/// The same, when all files have been read.
#[derive(Default)]
pub(crate) struct Opened {
    #[cfg(feature = "tls")]
    tls: tls::Opened,
}

/// The same, in a worker.
#[derive(Clone)]
pub(crate) struct Entrances {
    #[cfg(feature = "tls")]
    gates: Vec<(String, Gate)>,
}

/// That of one listener.
#[derive(Clone)]
pub(crate) enum Entrance {
    Plain,
    #[cfg(feature = "tls")]
    Tls(Gate),
}

impl Plans {
    /// Reads certificates and keys: each run of `main` does.
    pub(crate) fn open(self) -> Result<Opened, StartError> {
        Ok(Opened {
            #[cfg(feature = "tls")]
            tls: self.tls.open()?,
        })
    }
}

impl Opened {
    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "nothing needs the worker"))]
    pub(crate) fn in_worker(self, worker: &Worker) -> Entrances {
        Entrances {
            #[cfg(feature = "tls")]
            gates: self.tls.in_worker(worker),
        }
    }
}

impl Entrances {
    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "all listeners are alike"))]
    pub(crate) fn of(&self, listener: &str) -> Entrance {
        #[cfg(feature = "tls")]
        if let Some((_, gate)) = self.gates.iter().find(|(name, _)| name == listener) {
            return Entrance::Tls(gate.clone());
        }
        Entrance::Plain
    }
}

impl Entrance {
    /// Whether its clients ask only when they have come in.
    pub(crate) fn has_handshake(&self) -> bool {
        match self {
            Self::Plain => false,
            #[cfg(feature = "tls")]
            Self::Tls(_) => true,
        }
    }

    /// None where the client does not come in.
    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "nobody is waited for"))]
    pub(crate) async fn enter(&self, io: Stream, drain: &Drain) -> Option<Transport> {
        match self {
            Self::Plain => Some(Transport::Plain(io)),
            // On the heap: a connection without TLS needs no room for a handshake.
            #[cfg(feature = "tls")]
            Self::Tls(gate) => Box::pin(gate.shake_hands(io, drain)).await,
        }
    }
}
