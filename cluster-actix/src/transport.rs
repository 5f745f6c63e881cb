//! What is spoken on a listener below HTTP: nothing, or TLS.
#[cfg(feature = "openssl")]
pub(crate) mod openssl;
#[cfg(feature = "rustls-0_23")]
pub(crate) mod rustls;

/// What a listener speaks. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Transport {
    /// HTTP/1 in the clear.
    Http1,
    /// HTTP in the clear; of which version, its first bytes say.
    AutoH2c,
    /// TLS by rustls; which HTTP, ALPN says.
    #[cfg(feature = "rustls-0_23")]
    Rustls(std::sync::Arc<self::rustls::ServerConfig>),
    /// TLS by OpenSSL; which HTTP, ALPN says.
    #[cfg(feature = "openssl")]
    Openssl(self::openssl::SslAcceptor),
}

impl Transport {
    pub(crate) fn is_secure(&self) -> bool {
        match self {
            Transport::Http1 | Transport::AutoH2c => false,
            #[cfg(feature = "rustls-0_23")]
            Transport::Rustls(_) => true,
            #[cfg(feature = "openssl")]
            Transport::Openssl(_) => true,
        }
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.is_secure() { "https" } else { "http" }
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Transport::Http1 => "HTTP/1",
            Transport::AutoH2c => "HTTP/1 or HTTP/2",
            #[cfg(feature = "rustls-0_23")]
            Transport::Rustls(_) => "TLS by rustls",
            #[cfg(feature = "openssl")]
            Transport::Openssl(_) => "TLS by OpenSSL",
        })
    }
}
