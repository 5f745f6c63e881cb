//! How HTTP is spoken, as users set it.
use std::future::Future;
use std::time::Duration;

use cluster_core::adapter;

use crate::serve::Serve;
use crate::settings::HttpBuilder;

impl Serve {
    /// How long a client may take for the head of a request (default 30 s; `None`: for ever): of the first from the
    /// connection's begin, of others from their first byte. Then the connection is closed.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// # use std::time::Duration;
    /// cluster_axum::serve(app).header_read_timeout(Duration::from_secs(10));
    /// ```
    pub fn header_read_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeouts.header_read = limit(timeout);
        self
    }

    /// How long a connection without a request stays open (default 75 s; `None`: for ever). HTTP/1 is closed, HTTP/2 is
    /// told (GOAWAY) and closed.
    ///
    /// Proxies and balancers keep their connections open for 60 s, most of them. Whoever closes first should be the
    /// side that sends requests, so this is longer.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// # use std::time::Duration;
    /// cluster_axum::serve(app).keep_alive_timeout(Duration::from_secs(5));
    /// ```
    pub fn keep_alive_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeouts.keep_alive = limit(timeout);
        self
    }

    /// How long a handler waits for each 16 KiB of a request's body, or for what is left of it (default 30 s; `None`: for
    /// ever). Then the body ends with an error, and if the handler answers that with an error, as extractors do, the
    /// client is told 408 (Request Timeout) and the connection is closed.
    ///
    /// Only time in which somebody waits for the client counts. A handler whose clients may be silent while they send
    /// takes [`BodyTimeout`](crate::BodyTimeout).
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// # use std::time::Duration;
    /// cluster_axum::serve(app).body_timeout(Duration::from_secs(10));
    /// ```
    pub fn body_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeouts.body = limit(timeout);
        self
    }

    /// How long a client may take nothing of what is sent to it (default 60 s; `None`: for ever). Then the connection is
    /// closed; on HTTP/2 the stream is reset, and each is asked to take 64 KiB in this time. It holds for WebSockets, too. An
    /// answer that has nothing to send waits for as long as it likes.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// # use std::time::Duration;
    /// cluster_axum::serve(app).write_timeout(Duration::from_secs(20));
    /// ```
    pub fn write_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeouts.write = limit(timeout);
        self
    }

    /// The largest head of a request, in bytes (default 64 KiB; less than 8 KiB counts as 8 KiB). A larger one is answered with
    /// 431 (Request Header Fields Too Large). On HTTP/1 it is also what a connection buffers at the most.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// cluster_axum::serve(app).max_header_size(16 * 1024);
    /// ```
    pub fn max_header_size(mut self, bytes: usize) -> Self {
        self.settings.max_header_size = bytes;
        self
    }

    /// Whether small answers leave at once (`TCP_NODELAY`; default: they do).
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// cluster_axum::serve(app).tcp_nodelay(false);
    /// ```
    pub fn tcp_nodelay(mut self, nodelay: bool) -> Self {
        self.settings.tcp_nodelay = nodelay;
        self
    }

    /// Everything else that hyper can be told about HTTP/1 and HTTP/2. It is called in each worker, after all else was
    /// set; several calls, one after the other.
    ///
    /// What is set before: no `header_read_timeout` of hyper's (see [`header_read_timeout`](Self::header_read_timeout)),
    /// WebSockets over HTTP/2, at most 200 streams per connection of HTTP/2, a ping to its client after 30 s of silence,
    /// which has 20 s to answer. The rest is hyper's default: at most 100 headers, for example.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// # use std::time::Duration;
    /// cluster_axum::serve(app).http(|http| {
    ///     http.http1().max_headers(50).title_case_headers(true);
    ///     http.http2().max_concurrent_streams(50).keep_alive_interval(Duration::from_secs(10));
    /// });
    /// ```
    pub fn http(mut self, configure: impl FnOnce(&mut HttpBuilder) + Send + 'static) -> Self {
        self.settings.configure.push(Box::new(configure));
        self
    }

    /// Stops the whole cluster gracefully when `signal` resolves, as `axum::serve` does with one process. SIGTERM and
    /// Ctrl-C do that by themselves: this is for other reasons.
    ///
    /// It is polled on the primary's side (see [`Builder::primary`](crate::Builder::primary)), by no worker: what a handler
    /// sets in its own process it cannot see. Handlers tell it by a message ([`Worker::send`](crate::Worker::send)).
    /// Several calls, several signals: the first that resolves stops the cluster.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// use std::time::Duration;
    /// // In an `async` block: a timer needs a runtime, and in a plain `main` there is none yet.
    /// let day_is_over = async { tokio::time::sleep(Duration::from_secs(8 * 3600)).await };
    /// cluster_axum::serve(app).with_graceful_shutdown(day_is_over);
    /// ```
    pub fn with_graceful_shutdown(self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.cluster(|builder| builder.stop_from_director(signal))
    }
}

fn limit(timeout: impl Into<Option<Duration>>) -> Option<Duration> {
    timeout.into().map(adapter::bounded)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use axum::Router;

    #[test]
    fn the_longest_time_there_is_overflows_no_clock() {
        let longest = Duration::MAX;
        let serve = crate::serve(Router::new())
            .header_read_timeout(longest)
            .keep_alive_timeout(longest)
            .body_timeout(longest)
            .write_timeout(longest);
        let timeouts = serve.settings.timeouts;
        for limit in [timeouts.header_read, timeouts.keep_alive, timeouts.body, timeouts.write] {
            assert!(Instant::now().checked_add(limit.unwrap()).is_some());
        }
    }
}
