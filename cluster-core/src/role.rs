//! What this process is: the answer from the first line of `main`.
use std::env;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock};

use crate::error::StartError;
use crate::sys::{channel, descriptors};

/// The variable that tells a program executed by a primary what it is to be.
pub(crate) const VARIABLE: &str = "CLUSTER_ROLE";

/// What a process of a cluster does.
///
/// # Example
/// ```
/// use cluster_core::{Role, role};
/// assert_eq!(role(), Role::Primary); // nothing has been started yet
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Supervises and routes, or is about to: every program is the primary until it starts a cluster.
    Primary,
    /// The single-threaded process that workers are forked from.
    ForkServer,
    /// Runs the user's primary-side code.
    Director,
    /// Runs the application.
    Worker,
}

impl Role {
    const ALL: [Role; 4] = [Role::Primary, Role::ForkServer, Role::Director, Role::Worker];

    fn word(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::ForkServer => "fork-server",
            Role::Director => "director",
            Role::Worker => "worker",
        }
    }
}

/// What this process does, from the first line of `main` on.
///
/// # Example
/// ```
/// match cluster_core::role() {
///     cluster_core::Role::Worker => println!("serving"),
///     _ => println!("supervising"),
/// }
/// ```
pub fn role() -> Role {
    match BORN.load(Ordering::Acquire) {
        u8::MAX => match call() {
            Ok(Some(call)) => call.role,
            Ok(None) | Err(_) => Role::Primary,
        },
        index => Role::ALL[usize::from(index)],
    }
}

/// Whether this process supervises; Node's `isPrimary`. True in one process alone: guard with it what shall happen once per start.
/// Migrations are for [`Builder::prepare`](crate::Builder::prepare), which runs at reloads, too.
///
/// # Example
/// ```
/// if cluster_core::is_primary() {
///     // runs once, however many workers there will be
/// }
/// ```
pub fn is_primary() -> bool {
    role() == Role::Primary
}

/// Whether this process runs the application; Node's `isWorker`.
///
/// # Example
/// ```
/// assert!(!cluster_core::is_worker());
/// ```
pub fn is_worker() -> bool {
    role() == Role::Worker
}

/// Set in a newborn of the fork method, which has another role than the process it was forked from.
static BORN: AtomicU8 = AtomicU8::new(u8::MAX);

/// Tells the rest of this process what it has become by a fork.
pub(crate) fn become_role(role: Role) {
    let index = Role::ALL.iter().position(|known| *known == role).expect("every role is listed");
    BORN.store(index as u8, Ordering::Release);
}

/// What the primary that executed this program wants of it.
pub(crate) struct Call {
    pub(crate) role: Role,
    /// The socket to the primary, until somebody takes it.
    pub(crate) socket: Mutex<Option<OwnedFd>>,
}

/// The call of a primary to this process, if there is one. A variable that means nothing is an error; one
/// that was meant for another process (a worker's child inherits it) is no call.
pub(crate) fn call() -> Result<Option<&'static Call>, StartError> {
    static CALL: OnceLock<Result<Option<Call>, String>> = OnceLock::new();
    match CALL.get_or_init(|| match env::var_os(VARIABLE) {
        None => Ok(None),
        Some(value) => {
            let value = value.to_string_lossy().into_owned();
            let spoken = Spoken::parse(&value).ok_or(value)?;
            Ok(spoken.answer())
        }
    }) {
        Ok(call) => Ok(call.as_ref()),
        Err(value) => Err(StartError::Environment {
            name: VARIABLE,
            value: value.clone(),
            why: "not what a primary says to a process it starts: unset it",
        }),
    }
}

/// The variable's value: `worker,fd=5,primary=4711`.
pub(crate) struct Spoken {
    pub(crate) role: Role,
    pub(crate) fd: RawFd,
    pub(crate) primary: i32,
}

impl Spoken {
    fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split(',');
        let word = parts.next()?;
        let role = Role::ALL.into_iter().find(|role| *role != Role::Primary && role.word() == word)?;
        let fd = parts.next()?.strip_prefix("fd=")?.parse().ok()?;
        let primary = parts.next()?.strip_prefix("primary=")?.parse().ok()?;
        if parts.next().is_some() { None } else { Some(Self { role, fd, primary }) }
    }

    /// Whether it was said to this process: a child of the primary that has the primary's socket. A child
    /// of a worker has another parent, and one that outlived its worker has not the socket.
    ///
    /// Who was to be a worker, and whose primary died before it could say so, must not take itself for a primary: it would
    /// serve on, for nobody. Its socket has no other end any more.
    fn answer(&self) -> Option<Call> {
        let is_child = nix::unistd::getppid().as_raw() == self.primary;
        let ours = descriptors::peek(self.fd, |fd| {
            channel::peer_pid(fd) == Ok(self.primary) && (is_child || channel::is_deserted(fd))
        });
        let socket = if ours { descriptors::adopt(self.fd).ok()? } else { return None };
        // From here on it must not reach a program that this one executes.
        descriptors::set_cloexec(socket.as_fd(), true).ok()?;
        Some(Call { role: self.role, socket: Mutex::new(Some(socket)) })
    }
}

impl std::fmt::Display for Spoken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{},fd={},primary={}", self.role.word(), self.fd, self.primary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spoken_is_understood() {
        let said = Spoken { role: Role::Worker, fd: 5, primary: 4711 }.to_string();
        let heard = Spoken::parse(&said).unwrap();
        assert_eq!((heard.role, heard.fd, heard.primary), (Role::Worker, 5, 4711));
    }

    #[test]
    fn nonsense_is_refused() {
        for value in
            ["", "worker", "primary,fd=5,primary=1", "worker,fd=x,primary=1", "worker,fd=5,primary=1,", "x"]
        {
            assert!(Spoken::parse(value).is_none(), "{value:?}");
        }
    }
}
