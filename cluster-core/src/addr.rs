//! Addresses to listen on, as users write them.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
use std::{fmt, io};

use crate::error::StartError;

/// An address to listen on: `"127.0.0.1:3000"`, `("localhost", 3000)` or a `SocketAddr`. Names are
/// resolved at start; port 0 asks for any free port, the same one for all workers, also for those that are started
/// later.
///
/// `[::]` takes clients of IPv4, too, whatever `net.ipv6.bindv6only` says; [`v6_only`](Self::v6_only) keeps them out.
///
/// # Example
/// ```
/// use cluster_core::Addr;
/// let same = [Addr::from("127.0.0.1:3000"), Addr::from(("127.0.0.1", 3000)), Addr::from(([127, 0, 0, 1], 3000))];
/// assert!(same.iter().all(|addr| addr.to_string() == "127.0.0.1:3000"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addr {
    written: String,
    pub(crate) backlog: Option<u32>,
    pub(crate) families: Families,
}

/// Which clients an IPv6 address takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Families {
    /// Those of IPv4, too, where the address is `[::]`.
    Both,
    /// Those of IPv6 alone.
    V6Only,
}

impl Addr {
    fn written(written: String) -> Self {
        Self { written, backlog: None, families: Families::Both }
    }

    /// The length of the accept queue that is asked for (default 4096): connections that no worker has taken yet.
    /// The kernel cuts it to `net.core.somaxconn`, and the log says so then.
    ///
    /// # Example
    /// ```
    /// use cluster_core::{Addr, Cluster};
    /// Cluster::builder().bind("http", Addr::from("127.0.0.1:3000").backlog(512));
    /// ```
    pub fn backlog(self, connections: u32) -> Self {
        Self { backlog: Some(connections), ..self }
    }

    /// Takes no clients of IPv4 on `[::]`, so that `0.0.0.0` with the same port can be another listener. Of a name,
    /// only its IPv6 addresses are bound. An IPv4 address is an error at start.
    ///
    /// # Example
    /// ```
    /// use cluster_core::{Addr, Cluster};
    /// Cluster::builder().bind("v6", Addr::from("[::]:3000").v6_only()).bind("v4", "0.0.0.0:3000");
    /// ```
    pub fn v6_only(self) -> Self {
        Self { families: Families::V6Only, ..self }
    }

    pub(crate) fn or_backlog(self, connections: u32) -> Self {
        Self { backlog: self.backlog.or(Some(connections)), ..self }
    }

    /// All addresses of the name, each once, in the resolver's order.
    pub(crate) fn resolve(&self) -> Result<Vec<SocketAddr>, StartError> {
        let unusable = |kind, why: &str| self.unusable(io::Error::new(kind, why));
        let mut found = Vec::new();
        for addr in self.written.to_socket_addrs().map_err(|err| self.unusable(err))? {
            // A name may be several times in /etc/hosts; the second socket would find the first in its place.
            if !found.contains(&addr) {
                found.push(addr);
            }
        }
        if found.is_empty() {
            return Err(unusable(io::ErrorKind::NotFound, "the name has no address"));
        }
        if self.families == Families::V6Only {
            found.retain(SocketAddr::is_ipv6);
            if found.is_empty() {
                return Err(unusable(io::ErrorKind::InvalidInput, "it is IPv4, and v6_only() was asked for"));
            }
        }
        Ok(found)
    }

    fn unusable(&self, source: io::Error) -> StartError {
        StartError::Address { addr: self.written.clone(), source }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl From<&str> for Addr {
    fn from(addr: &str) -> Self {
        Self::written(addr.to_owned())
    }
}

impl From<String> for Addr {
    fn from(addr: String) -> Self {
        Self::written(addr)
    }
}

impl From<&String> for Addr {
    fn from(addr: &String) -> Self {
        Self::written(addr.clone())
    }
}

impl From<SocketAddr> for Addr {
    fn from(addr: SocketAddr) -> Self {
        Self::written(addr.to_string())
    }
}

impl From<SocketAddrV4> for Addr {
    fn from(addr: SocketAddrV4) -> Self {
        Self::from(SocketAddr::from(addr))
    }
}

impl From<SocketAddrV6> for Addr {
    fn from(addr: SocketAddrV6) -> Self {
        Self::from(SocketAddr::from(addr))
    }
}

impl From<(&str, u16)> for Addr {
    fn from((host, port): (&str, u16)) -> Self {
        match host.parse::<Ipv6Addr>() {
            Ok(ip) => Self::from((ip, port)),
            Err(_) => Self::written(format!("{host}:{port}")),
        }
    }
}

impl From<(String, u16)> for Addr {
    fn from((host, port): (String, u16)) -> Self {
        Self::from((host.as_str(), port))
    }
}

impl From<(IpAddr, u16)> for Addr {
    fn from(addr: (IpAddr, u16)) -> Self {
        Self::from(SocketAddr::from(addr))
    }
}

impl From<(Ipv4Addr, u16)> for Addr {
    fn from(addr: (Ipv4Addr, u16)) -> Self {
        Self::from(SocketAddr::from(addr))
    }
}

impl From<(Ipv6Addr, u16)> for Addr {
    fn from(addr: (Ipv6Addr, u16)) -> Self {
        Self::from(SocketAddr::from(addr))
    }
}

impl From<([u8; 4], u16)> for Addr {
    fn from(addr: ([u8; 4], u16)) -> Self {
        Self::from(SocketAddr::from(addr))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_what_was_written() {
        assert_eq!(Addr::from(("::1", 80)).to_string(), "[::1]:80");
        assert_eq!(Addr::from(("localhost".to_owned(), 80)).to_string(), "localhost:80");
        assert_eq!(Addr::from((Ipv6Addr::UNSPECIFIED, 0)).to_string(), "[::]:0");
        assert_eq!(Addr::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80)).to_string(), "127.0.0.1:80");
        assert_eq!(Addr::from(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, 0, 0)).to_string(), "[::1]:80");
    }

    #[test]
    fn an_address_that_is_none_is_named() {
        for wrong in ["127.0.0.1", "nonsense", "127.0.0.1:99999", ":::", ""] {
            let err = Addr::from(wrong).resolve().unwrap_err().to_string();
            assert!(err.contains(&format!("`{wrong}`")), "{err}");
        }
    }

    #[test]
    fn v6_only_leaves_no_address_of_ipv4() {
        let all = Addr::from("[::1]:80").v6_only().resolve().unwrap();
        assert_eq!(all, ["[::1]:80".parse().unwrap()]);
        let err = Addr::from("127.0.0.1:80").v6_only().resolve().unwrap_err().to_string();
        assert!(err.contains("`127.0.0.1:80`") && err.contains("v6_only()"), "{err}");
    }
}
