//! Errors per operation, each naming the thing and what to do.
mod command;
mod start;

use std::process::ExitCode;
use std::{fmt, io};

pub use self::command::{CommandError, ReloadError};
pub use self::start::StartError;

/// Any error that crosses from the user's code to ours.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What running a cluster can end with.
///
/// `Debug` prints the same sentence as `Display`, because `fn main() -> Result<(), Error>` prints `Debug`.
///
/// # Example
/// ```
/// # use cluster_core::{Cluster, Error};
/// let err: Error = Cluster::builder().workers(0).worker(|_| async { Ok(()) }).run().unwrap_err();
/// assert!(err.to_string().contains("0 workers"));
/// let as_io: std::io::Error = err.into();
/// assert_eq!(as_io.kind(), std::io::ErrorKind::InvalidInput);
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cluster did not start; nothing of it is left.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The cluster gave up on its workers; all have been stopped.
    #[error("gave up: {0}")]
    GaveUp(String),
    /// In a worker of the exec method: its program ended with this error.
    #[error("worker failed: {0}")]
    Worker(BoxError),
    /// In a director of the exec method: its program ended with this error.
    #[error("director failed: {0}")]
    Director(BoxError),
    /// The primary lost what it cannot work without.
    #[error("the primary cannot go on: {0}")]
    Primary(#[source] io::Error),
}

impl Error {
    /// The exit code that says what went wrong: 70 where the cluster gave up on its workers
    /// (`EX_SOFTWARE`, sysexits.h), otherwise 1.
    ///
    /// # Example
    /// ```
    /// # use cluster_core::Cluster;
    /// use std::process::ExitCode;
    /// let err = Cluster::builder().workers(0).worker(|_| async { Ok(()) }).run().unwrap_err();
    /// assert_eq!(err.exit_code(), ExitCode::from(1));
    /// ```
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Error::GaveUp(_) => ExitCode::from(70),
            Error::Start(_) | Error::Worker(_) | Error::Director(_) | Error::Primary(_) => ExitCode::from(1),
        }
    }

    /// Prints the error on standard error and answers with its exit code, for the end of `main`.
    ///
    /// # Example
    /// ```no_run
    /// use std::process::ExitCode;
    /// fn main() -> ExitCode {
    ///     let cluster = cluster_core::Cluster::builder().worker(|worker| async move {
    ///         worker.draining().await;
    ///         Ok(())
    ///     });
    ///     match cluster.run() {
    ///         Ok(()) => ExitCode::SUCCESS,
    ///         Err(err) => err.report(),
    ///     }
    /// }
    /// ```
    pub fn report(&self) -> ExitCode {
        use io::Write;
        let _ = writeln!(io::stderr(), "error: {self}");
        self.exit_code()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Error> for io::Error {
    fn from(err: Error) -> Self {
        let kind = match &err {
            Error::Start(err) => err.kind(),
            Error::Primary(err) => err.kind(),
            Error::GaveUp(_) | Error::Worker(_) | Error::Director(_) => io::ErrorKind::Other,
        };
        io::Error::new(kind, err)
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let said =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", said.unwrap_or("with a value that is no text"))
}

/// Why a worker cannot have an acceptor.
///
/// # Example
/// ```no_run
/// # use cluster_core::{AcceptError, Cluster};
/// Cluster::builder().bind("echo", "127.0.0.1:7000").worker(|worker| async move {
///     let wrong = worker.acceptor("ehco");
///     assert!(matches!(wrong, Err(AcceptError::UnknownListener { .. })));
///     Ok(())
/// });
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The cluster has no listener of that name.
    #[error("no listener is named `{asked}`; there are: {known}")]
    UnknownListener {
        /// The name that was asked for.
        asked: String,
        /// The names that there are.
        known: String,
    },
    /// The socket could not be given to the runtime.
    #[error("cannot wait for connections on `{listener}`: {source}")]
    Socket {
        /// The listener's name.
        listener: String,
        /// What the kernel said.
        source: io::Error,
    },
}
