//! How connections are treated.
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{Extensions, KeepAlive};

/// What is called before a connection is served.
pub(crate) type OnConnect = Arc<dyn Fn(&dyn Any, &mut Extensions) + Send + Sync>;

/// How connections are treated: what actix-web calls the server's configuration, and what it has not.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) keep_alive: KeepAlive,
    pub(crate) client_request_timeout: Duration,
    pub(crate) client_disconnect_timeout: Duration,
    pub(crate) client_body_timeout: Duration,
    pub(crate) client_write_timeout: Duration,
    #[cfg(any(feature = "rustls-0_23", feature = "openssl"))]
    pub(crate) tls_handshake_timeout: Duration,
    /// So many handshakes of TLS at a time.
    pub(crate) handshakes: Option<usize>,
    pub(crate) tcp_nodelay: Option<bool>,
    pub(crate) hostname: Option<String>,
    pub(crate) h1_allow_half_closed: bool,
    pub(crate) h1_write_buffer_size: Option<usize>,
    pub(crate) h2_initial_window_size: Option<u32>,
    pub(crate) h2_initial_connection_window_size: Option<u32>,
    pub(crate) on_connect: Option<OnConnect>,
}

impl Default for Settings {
    /// As actix-web has them, where it has them.
    fn default() -> Self {
        Self {
            keep_alive: KeepAlive::default(),
            client_request_timeout: Duration::from_secs(5),
            client_disconnect_timeout: Duration::from_secs(1),
            client_body_timeout: Duration::from_secs(30),
            client_write_timeout: Duration::from_secs(60),
            #[cfg(any(feature = "rustls-0_23", feature = "openssl"))]
            tls_handshake_timeout: Duration::from_secs(3),
            handshakes: None,
            tcp_nodelay: None,
            hostname: None,
            h1_allow_half_closed: true,
            h1_write_buffer_size: None,
            h2_initial_window_size: None,
            h2_initial_connection_window_size: None,
            on_connect: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}
