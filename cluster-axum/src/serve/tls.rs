//! Listeners that speak TLS.
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use cluster_core::adapter::{Reach, Wanted};
use cluster_core::{Addr, Inherited};
use tokio_rustls::rustls::ServerConfig;

use crate::app::App;
use crate::serve::{Serve, as_it_is};
use crate::tls::Source;

impl Serve {
    /// As [`bind`](Self::bind), with TLS 1.2 and 1.3: shows the certificates in the PEM file `cert` (its own first, then
    /// those between it and the root), and has the private key of the first in the PEM file `key`. HTTP/2 and
    /// HTTP/1 are offered (ALPN). With the feature `tls`.
    ///
    /// Files are read where `main` runs: before anything else, and again at a reload, so a renewed certificate is
    /// shown after `kill -HUP`. With [`run`](Self::run) that is as who started the program; with `.await` each worker
    /// reads them, as whoever it is. A file that cannot be used is [`StartError::File`](crate::StartError::File); a reload
    /// that finds one fails, and what serves serves on.
    ///
    /// A client that comes back resumes its session, whichever worker it finds; see also
    /// [`ticket_rotation`](Self::ticket_rotation).
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// cluster_axum::serve(app).bind_tls("0.0.0.0:443", "/etc/shop/fullchain.pem", "/etc/shop/privkey.pem");
    /// ```
    pub fn bind_tls(self, addr: impl Into<Addr>, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.listen_securely(0, at(addr), Source::files(cert, key))
    }

    /// As [`bind_tls`](Self::bind_tls), with a configuration of one's own: for clients that show certificates, or several
    /// certificates. It is made in `main`, so at a reload it is made anew. With the feature `tls`.
    ///
    /// What it leaves open is filled in: protocols (ALPN), if it has none, are HTTP/2 and HTTP/1; sessions are resumed on any
    /// worker of the same generation, unless it has a ticketer, stores no sessions, or allows early data.
    ///
    /// # Example
    /// ```no_run
    /// # let app = axum::Router::new();
    /// use std::sync::Arc;
    /// use cluster_axum::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    /// use cluster_axum::rustls::{RootCertStore, ServerConfig, crypto::ring, server::WebPkiClientVerifier};
    ///
    /// let provider = Arc::new(ring::default_provider());
    /// let mut known = RootCertStore::empty();
    /// known.add(CertificateDer::from_pem_file("staff.pem")?)?;
    /// let chain = CertificateDer::pem_file_iter("cert.pem")?.collect::<Result<_, _>>()?;
    /// let config = ServerConfig::builder_with_provider(provider.clone())
    ///     .with_safe_default_protocol_versions()?
    ///     .with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(known.into(), provider).build()?)
    ///     .with_single_cert(chain, PrivateKeyDer::from_pem_file("key.pem")?)?;
    /// cluster_axum::serve(app).bind_rustls("0.0.0.0:443", config).run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn bind_rustls(self, addr: impl Into<Addr>, config: ServerConfig) -> Self {
        self.listen_securely(0, at(addr), Source::own(config))
    }

    /// As [`inherit`](Self::inherit), with TLS as [`bind_tls`](Self::bind_tls) has it, also where what was passed is a unix
    /// socket. With the feature `tls`.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// cluster_axum::serve(app).inherit_tls("web", "/etc/shop/fullchain.pem", "/etc/shop/privkey.pem");
    /// ```
    pub fn inherit_tls(
        self,
        passed: impl Into<Inherited>,
        cert: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.listen_securely(0, Wanted::Inherited(passed.into()), Source::files(cert, key))
    }

    /// As [`inherit_tls`](Self::inherit_tls), with a configuration of one's own as [`bind_rustls`](Self::bind_rustls)
    /// completes it. With the feature `tls`.
    ///
    /// # Example
    /// ```
    /// # use cluster_axum::rustls::ServerConfig;
    /// # fn f(app: axum::Router, config: ServerConfig) {
    /// cluster_axum::serve(app).inherit_rustls("web", config);
    /// # }
    /// ```
    pub fn inherit_rustls(self, passed: impl Into<Inherited>, config: ServerConfig) -> Self {
        self.listen_securely(0, Wanted::Inherited(passed.into()), Source::own(config))
    }

    /// As [`inherit_tls`](Self::inherit_tls) where such a socket was passed, and otherwise as
    /// [`bind_tls`](Self::bind_tls). With the feature `tls`.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// cluster_axum::serve(app).inherit_or_bind_tls("web", "127.0.0.1:3443", "cert.pem", "key.pem");
    /// ```
    pub fn inherit_or_bind_tls(
        self,
        passed: impl Into<Inherited>,
        addr: impl Into<Addr>,
        cert: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.listen_securely(0, passed_or_at(passed, addr), Source::files(cert, key))
    }

    /// As [`inherit_rustls`](Self::inherit_rustls) where such a socket was passed, and otherwise as
    /// [`bind_rustls`](Self::bind_rustls). With the feature `tls`.
    ///
    /// # Example
    /// ```
    /// # use cluster_axum::rustls::ServerConfig;
    /// # fn f(app: axum::Router, config: ServerConfig) {
    /// cluster_axum::serve(app).inherit_or_bind_rustls("web", "127.0.0.1:3443", config);
    /// # }
    /// ```
    pub fn inherit_or_bind_rustls(
        self,
        passed: impl Into<Inherited>,
        addr: impl Into<Addr>,
        config: ServerConfig,
    ) -> Self {
        self.listen_securely(0, passed_or_at(passed, addr), Source::own(config))
    }

    /// As [`also`](Self::also), with TLS as [`bind_tls`](Self::bind_tls) has it. With the feature `tls`.
    ///
    /// # Example
    /// ```
    /// # let (app, admin) = (axum::Router::new(), axum::Router::new());
    /// cluster_axum::serve(app).bind("0.0.0.0:3000").also_tls(admin, "0.0.0.0:3443", "cert.pem", "key.pem");
    /// ```
    pub fn also_tls<K: 'static>(
        self,
        app: impl App<K>,
        addr: impl Into<Addr>,
        cert: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.also_securely(app, addr, Source::files(cert, key))
    }

    /// As [`also`](Self::also), with TLS as [`bind_rustls`](Self::bind_rustls) has it. With the feature `tls`.
    ///
    /// # Example
    /// ```
    /// # use cluster_axum::rustls::ServerConfig;
    /// # fn f(app: axum::Router, admin: axum::Router, for_staff: ServerConfig) {
    /// cluster_axum::serve(app).bind("0.0.0.0:3000").also_rustls(admin, "0.0.0.0:3443", for_staff);
    /// # }
    /// ```
    pub fn also_rustls<K: 'static>(
        self,
        app: impl App<K>,
        addr: impl Into<Addr>,
        config: ServerConfig,
    ) -> Self {
        self.also_securely(app, addr, Source::own(config))
    }

    /// As [`listen`](Self::listen), with TLS as [`bind_tls`](Self::bind_tls) has it. With the feature `tls`.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// let listener = cluster_axum::bind_tcp("127.0.0.1:0")?;
    /// println!("will serve on https://{}", listener.local_addr()?);
    /// cluster_axum::serve(app).listen_tls(listener, "cert.pem", "key.pem");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn listen_tls(
        self,
        listener: TcpListener,
        cert: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.listen_securely_on(listener, Source::files(cert, key))
    }

    /// As [`listen`](Self::listen), with TLS as [`bind_rustls`](Self::bind_rustls) has it. With the feature `tls`.
    ///
    /// # Example
    /// ```
    /// # use cluster_axum::rustls::ServerConfig;
    /// # fn f(app: axum::Router, config: ServerConfig) -> std::io::Result<()> {
    /// cluster_axum::serve(app).listen_rustls(cluster_axum::bind_tcp("127.0.0.1:0")?, config);
    /// # Ok(()) }
    /// ```
    pub fn listen_rustls(self, listener: TcpListener, config: ServerConfig) -> Self {
        self.listen_securely_on(listener, Source::own(config))
    }

    /// How long a client may take for its handshake, from when its connection is accepted (default 10 s). A drain
    /// waits for it as for a connection, and 5 s after the lame duck no longer. With the feature `tls`.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// # use std::time::Duration;
    /// cluster_axum::serve(app).bind_tls("0.0.0.0:443", "cert.pem", "key.pem").handshake_timeout(Duration::from_secs(3));
    /// ```
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.plans.tls.handshake_timeout = timeout;
        self
    }

    /// How long session tickets are made with the same keys (default 6 h; at least 100 ms). One is good for so long at
    /// least, and for twice that at most: then its key is nowhere any more, and the client makes a full handshake. The
    /// primary's word counts until it ends: a reload changes nothing of it. With the feature `tls`.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// # use std::time::Duration;
    /// cluster_axum::serve(app).bind_tls("0.0.0.0:443", "cert.pem", "key.pem").ticket_rotation(Duration::from_secs(3600));
    /// ```
    pub fn ticket_rotation(self, time: Duration) -> Self {
        self.cluster(|builder| builder.rotate_secrets_every(time))
    }

    fn also_securely<K: 'static>(mut self, app: impl App<K>, addr: impl Into<Addr>, source: Source) -> Self {
        let site = self.add_site(as_it_is(app));
        self.listen_securely(site, at(addr), source)
    }

    fn listen_securely(mut self, site: usize, wanted: Wanted, source: Source) -> Self {
        let name = self.name_listener(site);
        self.builder = self.builder.listen_to(&name, "https", wanted);
        self.plans.tls.listeners.push((name, source));
        self
    }

    fn listen_securely_on(mut self, listener: TcpListener, source: Source) -> Self {
        let name = self.name_listener(0);
        self.builder = self.builder.listen_as(&name, "https", listener);
        self.plans.tls.listeners.push((name, source));
        self
    }
}

fn at(addr: impl Into<Addr>) -> Wanted {
    Wanted::Tcp(addr.into(), Reach::First)
}

fn passed_or_at(passed: impl Into<Inherited>, addr: impl Into<Addr>) -> Wanted {
    Wanted::InheritedOr(passed.into(), addr.into(), Reach::First)
}

#[cfg(test)]
mod tests {
    use axum::Router;

    use crate::{Error, StartError};
    use crate::{bind_tcp, serve};

    #[test]
    fn a_file_that_is_missing_is_told_before_anything_begins() {
        let serve = serve(Router::new()).bind_tls("127.0.0.1:0", "/nowhere/cert.pem", "/nowhere/key.pem");
        let err = serve.run().unwrap_err();
        assert!(matches!(&err, Error::Start(StartError::File { path, .. }) if path == "/nowhere/cert.pem"));
        assert!(err.to_string().contains("/nowhere/cert.pem"), "{err}");
    }

    #[test]
    fn listeners_with_and_without_tls_are_numbered_together() {
        let serve = serve(Router::new())
            .bind("127.0.0.1:0")
            .bind_tls("127.0.0.1:0", "cert.pem", "key.pem")
            .also_tls(Router::new(), "127.0.0.1:0", "cert.pem", "key.pem")
            .inherit("web")
            .inherit_tls("secure", "cert.pem", "key.pem")
            .listen(bind_tcp("127.0.0.1:0").unwrap())
            .listen_tls(bind_tcp("127.0.0.1:0").unwrap(), "cert.pem", "key.pem");
        assert_eq!(serve.sites[0].listeners, ["http", "http-2", "http-4", "http-5", "http-6", "http-7"]);
        assert_eq!(serve.sites[1].listeners, ["http-3"]);
        let secured: Vec<_> = serve.plans.tls.listeners.iter().map(|(name, _)| name).collect();
        assert_eq!(secured, ["http-2", "http-3", "http-5", "http-7"]);
    }
}
