//! Why a cluster did not start.
use std::{fmt, io};

use crate::config::Resource;
use crate::error::BoxError;

/// Why a cluster did not start.
///
/// # Example
/// ```
/// # use cluster_core::{Cluster, Error, StartError};
/// let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// let addr = taken.local_addr().unwrap();
/// let cluster = Cluster::builder().bind("http", addr).worker(|_| async { Ok(()) });
/// assert!(matches!(cluster.run(), Err(Error::Start(StartError::AddressInUse { .. }))));
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another program, or another copy of this one, has the address.
    #[error(
        "cannot listen on {addr}: the address is in use; stop the program that has it or choose another \
         (a program that binds it twice has it itself)"
    )]
    AddressInUse {
        /// The address as written.
        addr: String,
    },
    /// The address needs a privilege (ports below `net.ipv4.ip_unprivileged_port_start`, ip(7)).
    #[error("cannot listen on {addr}: permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE")]
    Privileged {
        /// The address as written.
        addr: String,
    },
    /// The address is none, or its name has none.
    #[error(
        "cannot listen on `{addr}`: {source}; an address looks like 127.0.0.1:3000, [::1]:3000 or localhost:3000"
    )]
    Address {
        /// The address as written.
        addr: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The kernel refused the address for another reason.
    #[error("cannot listen on {addr}: {source}")]
    Bind {
        /// The address as written.
        addr: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A unix socket could not be made at its path.
    #[error("cannot listen on unix:{path}: {what}: {source}")]
    SocketFile {
        /// The path, from the root.
        path: String,
        /// What was tried, and what is needed for it.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// At the path of a unix socket there is something else.
    #[error(
        "cannot listen on unix:{path}: {found} is there, and what is no socket is never removed: \
         remove it, or choose another path"
    )]
    NotASocket {
        /// The path, from the root.
        path: String,
        /// What is there.
        found: &'static str,
    },
    /// The last part of a unix socket's path has no room in an address (unix(7)).
    #[error(
        "cannot listen on unix:{path}: its last part is too long; it may have some 80 bytes, the rest any number"
    )]
    NameTooLong {
        /// The path, from the root.
        path: String,
    },
    /// No such listening socket was passed to the program (sd_listen_fds(3)).
    #[error(
        "no listening socket was passed as {wanted}: {why}; start the program by systemd socket activation \
         (systemd-socket-activate tries it out), or use inherit_or_bind(..)"
    )]
    NotInherited {
        /// What was asked for: `fd:` and a name, or a number.
        wanted: String,
        /// Why there is none.
        why: String,
    },
    /// What was passed to the program is no socket that listens.
    #[error(
        "cannot listen on {fd}, which was passed to this program: it is {found}; it must be a stream socket that listens"
    )]
    NotAListener {
        /// Its name and number.
        fd: String,
        /// What it is.
        found: String,
    },
    /// A socket that `main` bound itself: `main` runs again in workers, and when a lost fork server is
    /// replaced, and would find the address taken.
    #[error(
        "the listener on {addr} was bound in main, and main runs again (in workers of the exec method, for a reload, \
         and to replace a lost fork server): bind it with bind_tcp(..) or bind_uds(..) of this crate, which gives every process the same socket"
    )]
    BoundInMain {
        /// The address of the socket.
        addr: String,
    },
    /// Two listeners have the same name.
    #[error("two listeners are named `{0}`: give each its own name")]
    DuplicateName(String),
    /// A scheduling was given for a listener that there is not.
    #[error("no listener is named `{0}`, and a scheduling was given for it: name it as bind(..) does")]
    UnknownListener(String),
    /// A server that was given no address.
    #[error("no address to listen on: name one with .bind(\"127.0.0.1:3000\")")]
    NoListener,
    /// More listening sockets than can be handed to a worker.
    #[error("{sockets} listening sockets are more than the {limit} that one cluster can have")]
    TooManyListeners {
        /// How many there would be.
        sockets: usize,
        /// How many there can be.
        limit: usize,
    },
    /// The addresses of all listeners have no room in what a worker is told.
    #[error(
        "the addresses of all listeners have {bytes} bytes together, more than the {limit} that one cluster can \
         have: use shorter paths"
    )]
    LongAddresses {
        /// How many they have.
        bytes: usize,
        /// How many they may have.
        limit: usize,
    },
    /// A handler of the builder's is for a type that cannot be carried; the text names the remedy.
    #[error("{0}")]
    UnsupportedMessage(String),
    /// `workers(0)`.
    #[error("0 workers cannot serve: ask for at least 1")]
    NoWorkers,
    /// More workers than slots.
    #[error("{asked} workers are more than the {limit} that one cluster can have")]
    TooManyWorkers {
        /// How many were asked for.
        asked: usize,
        /// How many there can be.
        limit: usize,
    },
    /// The limit of open descriptors is too low for so many workers.
    #[error(
        "{workers} workers need {needed} descriptors in the primary and the limit is {limit}: \
         raise it (ulimit -n, LimitNOFILE=) or ask for fewer workers"
    )]
    Descriptors {
        /// How many workers were asked for.
        workers: usize,
        /// Descriptors that the primary would have open.
        needed: u64,
        /// The soft limit, RLIMIT_NOFILE.
        limit: u64,
    },
    /// A variable of the environment has a value that means nothing.
    #[error("the environment says {name}={value}, which is {why}")]
    Environment {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Threads run in the process that is to fork.
    #[error(
        "cannot fork with other threads running: {0}; start them in the worker, or use `.await` in an async main, \
         where each worker is this program executed again"
    )]
    Threads(String),
    /// Tokio has been used in the process that is to fork.
    #[error(
        "cannot fork after Tokio has been used in this process (a runtime was made before run(), even if it was dropped): \
         make what needs a runtime in serve_with or in the worker, or use `.await` in an async main"
    )]
    TokioUsed,
    /// `run()` or `join()` inside a runtime.
    #[error(
        "run() and join() block and fork, and cannot be called inside a Tokio runtime: use `.await` there"
    )]
    InsideRuntime,
    /// `.await` with a runtime of the builder's.
    #[error(
        "runtime(..) has no effect with `.await`, where the runtime of main serves: remove it, or use run() in a plain main"
    )]
    RuntimeWithAwait,
    /// A second cluster in the same program.
    #[error(
        "this program already runs a cluster; a process can be the primary of one only: let the one cluster serve both \
         (also(..) of cluster_axum; with cluster_actix await both servers together)"
    )]
    SecondCluster,
    /// A worker runs another cluster than its primary started.
    #[error("this worker's main builds another cluster than its primary: {0}")]
    Mismatch(String),
    /// The primary that started this process speaks another protocol, or is gone.
    #[error("cannot join the primary: {0}")]
    Attach(io::Error),
    /// `/proc` does not tell what a fork needs to know.
    #[error("cannot read /proc: {0}; mount it (mount -t proc proc /proc)")]
    Proc(io::Error),
    /// The system does not know the user that workers are to run as.
    #[error("user({0:?}): the system knows no such user (getent passwd {0})")]
    UnknownUser(String),
    /// The system does not know the group that workers are to run as.
    #[error("group({0:?}): the system knows no such group (getent group {0})")]
    UnknownGroup(String),
    /// A user was given by a number that has no entry in the user database, and no group.
    #[error("user {user} has no entry in the user database, and so no group: name one with group(..)")]
    NoGroup {
        /// The user's number.
        user: u32,
    },
    /// A limit that contradicts itself.
    #[error("limit({resource:?}, {soft}, {hard}): the soft limit is above the hard one")]
    Limit {
        /// What it limits.
        resource: Resource,
        /// The soft limit.
        soft: u64,
        /// The hard limit.
        hard: u64,
    },
    /// A variable that no environment can have.
    #[error("env({name:?}, ..): {why}")]
    Variable {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Something was given to be called around a fork, and nothing is forked.
    #[error(
        "{0}(..) is called around a fork, and with `.await` there is none: remove it, use on_worker_start(..), or use run() \
         in a plain main"
    )]
    ForkHookWithAwait(&'static str),
    /// In a worker of the exec method, after a reload: the program has `prepare(..)`, and nobody has called it.
    #[error(
        "this program has prepare(..), and the one that the primary was started from had none: stop and start, \
         a reload cannot begin with it"
    )]
    NotPrepared,
    /// In a newborn: threads that `after_fork` has started would keep the identity that the process gives up.
    #[error(
        "after_fork has left threads running, which would keep the identity of the primary: {0}; start them in \
         on_worker_start(..) or in the worker's program"
    )]
    ThreadsAfterFork(String),
    /// In a newborn: something that is called at its birth failed.
    #[error("{0}")]
    Hook(String),
    /// In a newborn: it cannot become what it is to be.
    #[error("{call}: {source}")]
    Step {
        /// The system call, with its value: `setresuid(65534)`.
        call: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file that is read at the start cannot be used: a certificate, or its key.
    #[error("cannot use {path}: {source}")]
    File {
        /// The path as written.
        path: String,
        /// What is wrong with it.
        source: BoxError,
    },
    /// A system call that a cluster cannot do without failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl StartError {
    pub(super) fn kind(&self) -> io::ErrorKind {
        match self {
            StartError::AddressInUse { .. } => io::ErrorKind::AddrInUse,
            StartError::Privileged { .. } => io::ErrorKind::PermissionDenied,
            StartError::Address { source, .. }
            | StartError::Bind { source, .. }
            | StartError::SocketFile { source, .. }
            | StartError::Attach(source)
            | StartError::Proc(source)
            | StartError::Step { source, .. }
            | StartError::System { source, .. } => source.kind(),
            StartError::UnknownUser(_) | StartError::UnknownGroup(_) => io::ErrorKind::NotFound,
            StartError::Hook(_) => io::ErrorKind::Other,
            StartError::File { source, .. } => {
                source.downcast_ref::<io::Error>().map_or(io::ErrorKind::InvalidData, io::Error::kind)
            }
            StartError::NotInherited { .. } => io::ErrorKind::NotFound,
            StartError::NotASocket { .. } => io::ErrorKind::AlreadyExists,
            StartError::BoundInMain { .. }
            | StartError::NameTooLong { .. }
            | StartError::NotAListener { .. }
            | StartError::DuplicateName(_)
            | StartError::UnknownListener(_)
            | StartError::NoListener
            | StartError::TooManyListeners { .. }
            | StartError::LongAddresses { .. }
            | StartError::UnsupportedMessage(_)
            | StartError::NoWorkers
            | StartError::TooManyWorkers { .. }
            | StartError::Descriptors { .. }
            | StartError::Environment { .. }
            | StartError::NoGroup { .. }
            | StartError::Limit { .. }
            | StartError::Variable { .. }
            | StartError::ForkHookWithAwait(_)
            | StartError::RuntimeWithAwait => io::ErrorKind::InvalidInput,
            StartError::Threads(_)
            | StartError::ThreadsAfterFork(_)
            | StartError::TokioUsed
            | StartError::InsideRuntime
            | StartError::SecondCluster
            | StartError::NotPrepared
            | StartError::Mismatch(_) => io::ErrorKind::Unsupported,
        }
    }

    /// For `map_err` on a system call: what was tried.
    pub(crate) fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> StartError {
        move |source| StartError::System { what, source: source.into() }
    }
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<StartError> for io::Error {
    fn from(err: StartError) -> Self {
        io::Error::new(err.kind(), err)
    }
}
