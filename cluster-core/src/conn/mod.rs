//! Connection path: who serves. The primary owns every listening socket; workers share its accept queue.
mod acceptor;
mod connection;
pub(crate) mod listen;
mod scheduling;
mod socket;
mod stream;

pub use acceptor::Acceptor;
pub use connection::{Connection, OpenConnection};
pub use scheduling::Scheduling;
pub(crate) use socket::ListeningSocket;
pub use socket::PeerAddr;
pub use stream::Stream;
