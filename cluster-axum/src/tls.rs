//! HTTPS by rustls: whose certificate a listener shows, and what its sessions are resumed by.
mod files;
mod handshake;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cluster_core::adapter::share_tickets;
use cluster_core::{StartError, Worker};
use ring::digest::{SHA256, digest};
use tokio_rustls::rustls::ServerConfig;

pub(crate) use self::handshake::Gate;

/// How long a client may take for its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where what a listener needs comes from.
pub(crate) enum Source {
    /// PEM files, read by each run of `main`.
    Files { cert: PathBuf, key: PathBuf },
    /// The user's own configuration.
    Config(Box<ServerConfig>),
}

/// What `main` says: names of listeners, and their sources.
pub(crate) struct Plans {
    pub(crate) listeners: Vec<(String, Source)>,
    pub(crate) handshake_timeout: Duration,
}

/// The same, ready to serve.
#[derive(Default)]
pub(crate) struct Opened {
    listeners: Vec<(String, Terms)>,
    handshake_timeout: Duration,
}

/// On which terms a listener's clients are served.
struct Terms {
    config: ServerConfig,
    sessions: Sessions,
}

/// Which other listeners, of whatever generation, may resume a listener's sessions. Who resumes one is not asked for a
/// certificate again, and shows none: so all that was agreed on must be what it would be now.
enum Sessions {
    /// Those that show the same certificate, and ask no client for one.
    Of(Vec<u8>),
    /// The same listener in the same generation: what the user's configuration demands nobody can see.
    Own,
}

impl Default for Plans {
    fn default() -> Self {
        Self { listeners: Vec::new(), handshake_timeout: HANDSHAKE_TIMEOUT }
    }
}

impl Plans {
    pub(crate) fn open(self) -> Result<Opened, StartError> {
        let open = |(name, source): (String, Source)| Ok((name, source.open()?));
        let listeners = self.listeners.into_iter().map(open).collect::<Result<_, StartError>>()?;
        Ok(Opened { listeners, handshake_timeout: self.handshake_timeout })
    }
}

impl Source {
    pub(crate) fn files(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self::Files { cert: cert.into(), key: key.into() }
    }

    pub(crate) fn own(config: ServerConfig) -> Self {
        Self::Config(Box::new(config))
    }

    fn open(self) -> Result<Terms, StartError> {
        let (mut config, sessions) = match self {
            Self::Files { cert, key } => {
                let (config, shown) = files::read(&cert, &key)?;
                (config, Sessions::Of(digest(&SHA256, &shown).as_ref().to_vec()))
            }
            Self::Config(config) => (*config, Sessions::Own),
        };
        if config.alpn_protocols.is_empty() {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        Ok(Terms { config, sessions })
    }
}

impl Opened {
    pub(crate) fn in_worker(self, worker: &Worker) -> Vec<(String, Gate)> {
        let timeout = self.handshake_timeout;
        let enter = |(name, terms): (String, Terms)| {
            let config = terms.in_worker(&name, worker);
            (name, Gate::new(Arc::new(config), timeout))
        };
        self.listeners.into_iter().map(enter).collect()
    }
}

impl Terms {
    /// Any worker can resume what another has begun.
    fn in_worker(self, listener: &str, worker: &Worker) -> ServerConfig {
        let Self { mut config, sessions } = self;
        let purpose = match sessions {
            Sessions::Of(shown) => [b"certificate ", &shown[..]].concat(),
            Sessions::Own => format!("listener {} {listener}", worker.generation()).into_bytes(),
        };
        share_tickets(&mut config, &purpose, worker);
        config
    }
}
