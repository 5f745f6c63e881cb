//! Unix sockets to listen on, as users write them.
use std::fmt;
use std::path::{Path, PathBuf};

use crate::sys::start;

/// A unix socket to listen on: a path, and who may connect.
///
/// A relative path is meant from the directory in which the program was started. Paths may be longer than the 107
/// bytes that an address has room for; clients need a way around that, too, then. The socket is made at start, by the
/// primary, and removed when the cluster has stopped. What an earlier run has left is replaced, if nobody answers on
/// it.
///
/// # Example
/// ```
/// use cluster_core::{Cluster, Uds};
/// Cluster::builder()
///     .bind_uds("http", "/run/shop/http.sock")
///     .bind_uds("admin", Uds::new("/run/shop/admin.sock").mode(0o660).group(33));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uds {
    pub(super) path: PathBuf,
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(crate) backlog: Option<u32>,
}

impl Uds {
    /// A socket at a path.
    ///
    /// # Example
    /// ```
    /// cluster_core::Uds::new("run/http.sock");
    /// ```
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), mode: None, uid: None, gid: None, backlog: None }
    }

    /// The file's permissions (default: 0777 less the umask). Who may write to it may connect. It never has more
    /// than these, also while it is made. More than 0o777 is an error at start: a mode is written in octal.
    ///
    /// # Example
    /// ```
    /// cluster_core::Uds::new("/run/shop/http.sock").mode(0o660);
    /// ```
    pub fn mode(self, mode: u32) -> Self {
        Self { mode: Some(mode), ..self }
    }

    /// The file's owner and group, by number (default: those of the process). Another owner than oneself needs
    /// privileges.
    ///
    /// # Example
    /// ```
    /// cluster_core::Uds::new("/run/shop/http.sock").owner(33, 33).mode(0o600);
    /// ```
    pub fn owner(self, uid: u32, gid: u32) -> Self {
        Self { uid: Some(uid), gid: Some(gid), ..self }
    }

    /// The file's group, by number (default: that of the process): often the web server's, with `.mode(0o660)`. It
    /// must be one of the process's groups, or needs privileges.
    ///
    /// # Example
    /// ```
    /// cluster_core::Uds::new("/run/shop/http.sock").group(33).mode(0o660);
    /// ```
    pub fn group(self, gid: u32) -> Self {
        Self { gid: Some(gid), ..self }
    }

    /// The length of the accept queue that is asked for (default 4096); as [`Addr::backlog`](crate::Addr::backlog).
    ///
    /// # Example
    /// ```
    /// cluster_core::Uds::new("/run/shop/http.sock").backlog(512);
    /// ```
    pub fn backlog(self, connections: u32) -> Self {
        Self { backlog: Some(connections), ..self }
    }

    pub(crate) fn or_backlog(self, connections: u32) -> Self {
        Self { backlog: self.backlog.or(Some(connections)), ..self }
    }

    /// The path from the root, wherever `main` has gone since the start.
    pub(super) fn absolute(&self) -> PathBuf {
        match start::directory() {
            Some(directory) => directory.join(&self.path),
            // Started where no path leads to: as it is, it is meant from there.
            None => self.path.clone(),
        }
    }
}

impl<P: AsRef<Path>> From<P> for Uds {
    fn from(path: P) -> Self {
        Self::new(path)
    }
}

/// As it was written: what its identity is made of.
impl fmt::Display for Uds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_meant_from_the_directory_of_the_start() {
        let start = std::env::current_dir().unwrap();
        assert_eq!(Uds::from("run/a.sock").absolute(), start.join("run/a.sock"));
        assert_eq!(Uds::from(&PathBuf::from("/run/a.sock")).absolute(), Path::new("/run/a.sock"));
        assert_eq!(Uds::from("run/a.sock".to_owned()).to_string(), "unix:run/a.sock");
    }
}
