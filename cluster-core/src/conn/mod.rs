//! Connection path: who serves. The primary owns every listening socket; workers share its accept queue.
mod acceptor;
mod appetite;
mod bell;
mod connection;
mod doorbell;
pub(crate) mod listen;
mod membership;
mod queue;
mod reception;
mod scheduling;
mod socket;
mod stream;
mod watch;

pub use acceptor::Acceptor;
pub(crate) use bell::Bell;
pub use connection::{Connection, OpenConnection};
pub(crate) use reception::{Means, Reception};
pub use scheduling::Scheduling;
pub(crate) use socket::ListeningSocket;
pub use socket::PeerAddr;
pub use stream::Stream;
pub(crate) use watch::Watch;
