//! Listening sockets: bound once, by the first primary; everywhere else they are taken from it.
//!
//! A socket's identity is its address as `main` wrote it plus its n-th occurrence, so that each run of
//! `main`, in whichever process, means the same socket by the same line.
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};

use crate::birth::arrival;
use crate::config::Addr;
use crate::conn::Scheduling;
use crate::conn::socket::ListeningSocket;
use crate::error::StartError;
use crate::ipc::control::SocketName;

/// The accept queue's length that we ask for; the kernel cuts it to `net.core.somaxconn`.
pub const BACKLOG: i32 = 4096;

/// Which of a name's addresses are bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The first that can be, as `std` and axum do it.
    First,
    /// All that can be, as actix-web does it.
    All,
}

/// A listening socket of the cluster.
pub(crate) struct ClusterSocket {
    pub(crate) name: SocketName,
    pub(crate) listener: ListeningSocket,
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

impl std::fmt::Display for BindKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
    inherited: bool,
}

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { sockets: Vec::new(), keys: Vec::new(), inherited: false });

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
    let (_, mut listeners) = bind(&addr.into(), Reach::First, BACKLOG)?;
    Ok(listeners.swap_remove(0))
}

/// Binds, or takes from the primary, what one line of `main` asks for. At least one listener comes back.
pub(crate) fn bind(
    addr: &Addr,
    reach: Reach,
    backlog: i32,
) -> Result<(BindKey, Vec<TcpListener>), StartError> {
    arrival::take_sockets()?;
    let mut registry = registry();
    let written = addr.to_string();
    let nth = registry.keys.iter().filter(|key| key.written == written).count() as u32;
    let key = BindKey { written, nth };
    if !registry.inherited {
        for listener in open(addr, reach, backlog)? {
            let name = SocketName {
                written: key.written.clone(),
                nth,
                addr: listener.local_addr().map_err(refused(&key.written))?,
                scheduling: Scheduling::default(),
            };
            registry.sockets.push(ClusterSocket { name, listener: OwnedFd::from(listener).into() });
        }
    }
    let listeners: Vec<TcpListener> = registry
        .sockets
        .iter()
        .filter(|socket| key.is_of(&socket.name))
        .map(|socket| socket.listener.try_clone().map(|own| OwnedFd::from(own).into()))
        .map(|cloned| cloned.map_err(refused(&key.written)))
        .collect::<Result<_, _>>()?;
    if listeners.is_empty() {
        return Err(StartError::Mismatch(format!("the primary has no listener on {key}")));
    }
    registry.keys.push(key.clone());
    Ok((key, listeners))
}

/// Says who decides about the connections of a listener. In a process that a primary started, the primary has
/// said it.
pub(crate) fn schedule(key: &BindKey, scheduling: Scheduling) {
    let mut registry = registry();
    if !registry.inherited {
        let ours = registry.sockets.iter_mut().filter(|socket| key.is_of(&socket.name));
        ours.for_each(|socket| socket.name.scheduling = scheduling);
    }
}

/// The key of a listener that `bind_tcp` made; any other was bound in `main`.
pub(crate) fn key_of(listener: &TcpListener) -> Result<BindKey, StartError> {
    let inode = |fd: &dyn AsFd| nix::sys::stat::fstat(fd.as_fd()).map(|stat| stat.st_ino).ok();
    let wanted = inode(listener);
    let registry = registry();
    let ours = registry.sockets.iter().find(|socket| wanted.is_some() && inode(&socket.listener) == wanted);
    match ours {
        Some(socket) => Ok(BindKey { written: socket.name.written.clone(), nth: socket.name.nth }),
        None => Err(StartError::BoundInMain {
            addr: listener.local_addr().map_or_else(|err| err.to_string(), |addr| addr.to_string()),
        }),
    }
}

/// Puts the primary's sockets into the registry of a process that it started.
pub(crate) fn inherit(sockets: impl IntoIterator<Item = (SocketName, OwnedFd)>) {
    let mut registry = registry();
    registry.inherited = true;
    let sockets = sockets.into_iter();
    registry.sockets.extend(sockets.map(|(name, fd)| ClusterSocket { name, listener: fd.into() }));
}

/// How many sockets there are.
pub(crate) fn count() -> usize {
    registry().sockets.len()
}

/// Takes the sockets out of the registry: the driver's in the primary, the worker's in a worker.
pub(crate) fn take() -> Vec<ClusterSocket> {
    std::mem::take(&mut registry().sockets)
}

/// Opens listening sockets for an address.
fn open(addr: &Addr, reach: Reach, backlog: i32) -> Result<Vec<TcpListener>, StartError> {
    let mut opened = Vec::new();
    let mut failure = None;
    for candidate in addr.resolve()? {
        match open_one(candidate, backlog) {
            Ok(listener) => opened.push(listener),
            Err(err) => failure = Some(err),
        }
        if reach == Reach::First && !opened.is_empty() {
            break;
        }
    }
    match failure {
        Some(err) if opened.is_empty() => Err(refused(&addr.to_string())(err)),
        _ => Ok(opened),
    }
}

fn open_one(addr: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))?;
    // Connections of an earlier run in TIME_WAIT do not keep the port (socket(7)); a listener does.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// The error for an address that the kernel refused.
fn refused(addr: &str) -> impl FnOnce(io::Error) -> StartError {
    let addr = addr.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressInUse { addr },
        io::ErrorKind::PermissionDenied => StartError::Privileged { addr },
        _ => StartError::Bind { addr, source },
    }
}
