//! Connection path: who serves. The primary owns every listening socket. Workers take connections from a queue that they
//! share (`shared/`), or the primary accepts and hands them out (`handoff/`), as far as there is room (`admission/`).
mod acceptor;
mod admission;
mod appetite;
mod connection;
mod exhaustion;
mod handoff;
pub(crate) mod listen;
mod pace;
mod reception;
mod relay;
mod shared;
mod socket;
mod source;
mod stream;

pub use acceptor::Acceptor;
pub(crate) use admission::{AdmissionPolicy, Book, Entry, Ledger, Limits};
pub use admission::{OpenConnection, Overload};
pub use connection::Connection;
pub(crate) use handoff::{Handoff, Offers};
pub use listen::{BACKLOG, Inherited, Reach, Uds};
pub(crate) use listen::{Cut, VARIABLES as INHERITANCE};
pub(crate) use reception::{Means, Reception};
pub(crate) use shared::{Bell, Rota, Watch};
pub(crate) use socket::ListeningSocket;
pub use socket::PeerAddr;
pub use stream::Stream;
