//! Connection path: who serves. The primary owns every listening socket; workers share its accept queue.
mod acceptor;
mod backlog;
mod connection;
mod inherit;
pub(crate) mod listen;
mod scheduling;
mod socket;
mod socket_file;
mod stream;
mod tcp;
mod uds;

pub use acceptor::Acceptor;
pub use backlog::BACKLOG;
pub(crate) use backlog::Cut;
pub use connection::{Connection, OpenConnection};
pub use inherit::Inherited;
pub(crate) use inherit::VARIABLES as INHERITANCE;
pub use scheduling::Scheduling;
pub(crate) use socket::ListeningSocket;
pub use socket::PeerAddr;
pub use stream::Stream;
pub use tcp::Reach;
pub use uds::Uds;
