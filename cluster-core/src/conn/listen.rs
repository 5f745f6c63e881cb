//! Listening sockets: bound once, by the first primary; everywhere else they are taken from it.
//!
//! A socket's identity is its address as `main` wrote it plus its n-th occurrence, so that each run of
//! `main`, in whichever process, means the same socket by the same line.
mod backlog;
mod inherit;
mod socket_file;
mod tcp;
mod uds;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fmt, io};

use socket2::SockRef;

use crate::addr::Addr;
use crate::birth::arrival;
use crate::conn::listen::backlog::Backlog;
use crate::conn::listen::socket_file::SocketFile;
use crate::conn::socket::ListeningSocket;
use crate::error::StartError;
use crate::event::ListenerStatus;
use crate::ipc::control::SocketName;
use crate::scheduling::Scheduling;
use crate::sys::accept_queue::accept_queue;

pub use backlog::BACKLOG;
pub(crate) use backlog::Cut;
pub use inherit::Inherited;
pub(crate) use inherit::VARIABLES;
pub use tcp::Reach;
pub use uds::Uds;

/// What one line of `main` asks for. Displayed, it is what its identity is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A TCP address.
    Tcp(Addr, Reach),
    /// A unix socket.
    Uds(Uds),
    /// What a service manager has passed.
    Inherited(Inherited),
    /// The same, where it has passed it; else an address.
    InheritedOr(Inherited, Addr, Reach),
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Tcp(addr, _) => addr.fmt(f),
            Wanted::Uds(uds) => uds.fmt(f),
            Wanted::Inherited(inherited) => inherited.fmt(f),
            // Whichever it was in the primary, the same line means it.
            Wanted::InheritedOr(inherited, addr, _) => write!(f, "{inherited}, or else {addr}"),
        }
    }
}

/// Where a socket listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    /// The path from the root; empty for a name without a file.
    Unix(PathBuf),
}

impl Place {
    /// Of a socket that others have bound.
    pub(super) fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let addr = SockRef::from(&socket).local_addr()?;
        Ok(match addr.as_socket() {
            Some(addr) => Place::Tcp(addr),
            None => Place::Unix(addr.as_pathname().map(ToOwned::to_owned).unwrap_or_default()),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(addr) => addr.fmt(f),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A socket that was opened just now.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: Option<SocketFile>,
    pub(super) listener: ListeningSocket,
    pub(super) place: Place,
    /// None: its queue is as long as whoever opened it has asked for.
    pub(super) backlog: Option<Backlog>,
}

/// A listening socket of the cluster.
pub(crate) struct ClusterSocket {
    /// Of a unix socket, in the process that has made it. Dropped BEFORE the listener, as it must be.
    _file: Option<SocketFile>,
    pub(crate) name: SocketName,
    pub(crate) listener: ListeningSocket,
    backlog: Option<Backlog>,
    /// None where it came from a primary, which alone has to say it.
    pub(crate) place: Option<Place>,
}

impl ClusterSocket {
    /// How it stands.
    pub(crate) fn status(&self) -> ListenerStatus {
        let queue = accept_queue(self.listener.as_fd());
        ListenerStatus {
            address: self.place.as_ref().map_or_else(|| self.name.written.clone(), Place::to_string),
            scheduling: self.name.scheduling,
            queued: queue.map(|queue| queue.waiting),
            backlog: queue.map(|queue| queue.limit),
            refused: self.listener.refused(),
        }
    }
}

/// The identity of what one `bind` made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindKey {
    written: String,
    nth: u32,
}

impl BindKey {
    pub(crate) fn is_of(&self, name: &SocketName) -> bool {
        self.written == name.written && self.nth == name.nth
    }
}

impl fmt::Display for BindKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nth {
            0 => f.write_str(&self.written),
            nth => write!(f, "{} (number {})", self.written, nth + 1),
        }
    }
}

/// All sockets of this process's cluster, in the order in which they were bound.
#[derive(Default)]
struct Registry {
    sockets: Vec<ClusterSocket>,
    /// The keys handed out so far.
    keys: Vec<BindKey>,
    /// The sockets came from a primary: nothing is bound here.
    received: bool,
}

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { sockets: Vec::new(), keys: Vec::new(), received: false });

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Binds a TCP listener once per cluster: every process in which `main` runs gets the same socket for the
/// same line. It does not block: give it to `listen(..)`, or to your runtime.
///
/// # Errors
/// As [`StartError`] says, converted: the address is in use, privileged, or none.
///
/// # Example
/// ```
/// let listener = cluster_core::bind_tcp("127.0.0.1:0")?;
/// println!("will listen on {}", listener.local_addr()?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn bind_tcp(addr: impl Into<Addr>) -> io::Result<TcpListener> {
    let (_, mut listeners) = bind(&Wanted::Tcp(addr.into(), Reach::First))?;
    Ok(OwnedFd::from(listeners.swap_remove(0)).into())
}

/// Makes a unix socket once per cluster: every process in which `main` runs gets the same socket for the same line. It
/// does not block: give it to `listen_uds(..)`, or to your runtime.
///
/// # Errors
/// As [`StartError`] says, converted: somebody answers on the path, what is there is no socket, or its directory does not
/// let us.
///
/// # Example
/// ```no_run
/// let listener = cluster_core::bind_uds("/run/shop/http.sock")?;
/// cluster_core::Cluster::builder().listen_uds("http", listener);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn bind_uds(path: impl Into<Uds>) -> io::Result<UnixListener> {
    let (_, mut listeners) = bind(&Wanted::Uds(path.into()))?;
    Ok(OwnedFd::from(listeners.swap_remove(0)).into())
}

/// Opens, or takes from the primary, what one line of `main` asks for. At least one listener comes back.
pub(crate) fn bind(wanted: &Wanted) -> Result<(BindKey, Vec<ListeningSocket>), StartError> {
    arrival::take_sockets()?;
    let mut registry = registry();
    let written = wanted.to_string();
    let nth = registry.keys.iter().filter(|key| key.written == written).count() as u32;
    let key = BindKey { written, nth };
    if !registry.received {
        for Opened { file, listener, place, backlog } in open(wanted)? {
            let name = SocketName {
                written: key.written.clone(),
                nth,
                queue: listener.queue(),
                scheduling: Scheduling::default(),
            };
            registry.sockets.push(ClusterSocket { _file: file, name, listener, backlog, place: Some(place) });
        }
    }
    let listeners: Vec<ListeningSocket> = registry
        .sockets
        .iter()
        .filter(|socket| key.is_of(&socket.name))
        .map(|socket| socket.listener.try_clone())
        .collect::<io::Result<_>>()
        .map_err(StartError::system("cannot duplicate a listening socket"))?;
    if listeners.is_empty() {
        return Err(StartError::Mismatch(format!("the primary has no listener on {key}")));
    }
    registry.keys.push(key.clone());
    Ok((key, listeners))
}

fn open(wanted: &Wanted) -> Result<Vec<Opened>, StartError> {
    match wanted {
        Wanted::Tcp(addr, reach) => tcp::open(addr, *reach, Backlog::of(addr.backlog)),
        Wanted::Uds(uds) => socket_file::open(uds, Backlog::of(uds.backlog)).map(|opened| vec![opened]),
        Wanted::Inherited(inherited) => inherit::open(inherited),
        Wanted::InheritedOr(inherited, addr, reach) => match inherit::open_if_passed(inherited)? {
            Some(opened) => Ok(opened),
            None => tcp::open(addr, *reach, Backlog::of(addr.backlog)),
        },
    }
}

/// Says who decides about the connections of a listener. In a process that a primary started, the primary has
/// said it.
pub(crate) fn schedule(key: &BindKey, scheduling: Scheduling) {
    let mut registry = registry();
    if !registry.received {
        let ours = registry.sockets.iter_mut().filter(|socket| key.is_of(&socket.name));
        ours.for_each(|socket| socket.name.scheduling = scheduling);
    }
}

/// The key of a listener that `bind_tcp` or `bind_uds` made; any other was bound in `main`.
pub(crate) fn key_of(listener: BorrowedFd<'_>) -> Result<BindKey, StartError> {
    let inode = |fd: &dyn AsFd| nix::sys::stat::fstat(fd.as_fd()).map(|stat| stat.st_ino).ok();
    let wanted = inode(&listener);
    let registry = registry();
    let ours = registry.sockets.iter().find(|socket| wanted.is_some() && inode(&socket.listener) == wanted);
    match ours {
        Some(socket) => Ok(BindKey { written: socket.name.written.clone(), nth: socket.name.nth }),
        None => Err(StartError::BoundInMain {
            addr: Place::of(listener).map_or_else(|err| err.to_string(), |place| place.to_string()),
        }),
    }
}

/// Puts the primary's sockets into the registry of a process that it started.
pub(crate) fn receive(sockets: impl IntoIterator<Item = (SocketName, OwnedFd)>) {
    let mut registry = registry();
    registry.received = true;
    let sockets = sockets.into_iter().map(|(name, fd)| {
        let listener = ListeningSocket::of(fd, name.queue);
        ClusterSocket { _file: None, name, listener, backlog: None, place: None }
    });
    registry.sockets.extend(sockets);
}

/// Whether the primary hands out the connections of a socket.
pub(crate) fn hands_out() -> bool {
    registry().sockets.iter().any(|socket| socket.name.scheduling != Scheduling::Shared)
}

/// How many sockets there are, and how many bytes their names have.
pub(crate) fn count() -> (usize, usize) {
    let registry = registry();
    (registry.sockets.len(), registry.sockets.iter().map(|socket| socket.name.written.len()).sum())
}

/// Takes the sockets out of the registry: the driver's in the primary, the worker's in a worker.
pub(crate) fn take() -> Vec<ClusterSocket> {
    std::mem::take(&mut registry().sockets)
}

/// What the kernel has cut off the queues of sockets that this process has made.
pub(crate) fn cut(sockets: &[ClusterSocket]) -> Option<Cut> {
    backlog::cut(sockets.iter().filter_map(|socket| socket.backlog))
}
