//! How HTTP is spoken: what a user may set, and what holds otherwise.
use std::fmt;
use std::time::Duration;

use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;

use crate::connection::{Executor, Timeouts};

/// What [`Serve::http`](crate::Serve::http) lends: hyper-util's builder of connections, for HTTP/1 and HTTP/2.
///
/// # Example
/// ```
/// use cluster_axum::HttpBuilder;
///
/// fn for_many_clients(http: &mut HttpBuilder) {
///     http.http2().max_concurrent_streams(50);
/// }
///
/// cluster_axum::serve(axum::Router::new()).http(for_many_clients);
/// ```
pub type HttpBuilder = auto::Builder<Executor>;

type Configure = Box<dyn FnOnce(&mut HttpBuilder) + Send>;

/// The least that hyper takes.
const MIN_HEADER_SIZE: usize = 8 * 1024;
/// HTTP/2 asks a silent client so often whether it is there, and waits so long for the answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests of one connection of HTTP/2 at a time.
const MAX_STREAMS: u32 = 200;

/// How HTTP is spoken on all listeners.
pub(crate) struct Settings {
    pub(crate) timeouts: Timeouts,
    pub(crate) max_header_size: usize,
    pub(crate) tcp_nodelay: bool,
    pub(crate) configure: Vec<Configure>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            max_header_size: 64 * 1024,
            tcp_nodelay: true,
            configure: Vec::new(),
        }
    }
}

impl Settings {
    /// What hyper is told of it.
    pub(crate) fn builder(self) -> HttpBuilder {
        let size = self.max_header_size.max(MIN_HEADER_SIZE);
        let mut builder = HttpBuilder::new(Executor::new(self.timeouts.write));
        // Deadlines are ours: hyper's one begins with the end of an answer that may still be on its way, and is the
        // same for a silent client and for one that sends half a head.
        builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(size);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(size).unwrap_or(u32::MAX))
            .max_concurrent_streams(MAX_STREAMS)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            // WebSockets over HTTP/2 (RFC 8441), as axum::serve has them.
            .enable_connect_protocol();
        self.configure.into_iter().for_each(|configure| configure(&mut builder));
        builder
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("timeouts", &self.timeouts)
            .field("max_header_size", &self.max_header_size)
            .field("tcp_nodelay", &self.tcp_nodelay)
            .finish_non_exhaustive()
    }
}
