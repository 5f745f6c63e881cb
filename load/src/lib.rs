//! HTTP clients that ask without a pause and say exactly what failed, while whoever they ask is stopped, replaced or
//! reloaded.
mod client;
mod connection;
mod tally;

use std::io;
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

pub use crate::tally::{Failure, Tally};

/// How the clients use their connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One request after the other on a connection that is kept.
    KeepAlive,
    /// As `KeepAlive`, with so long from one request to the next.
    Every(Duration),
    /// Each request on a connection of its own, which says `Connection: close`.
    Close,
    /// HTTP/2, so many streams at a time on a connection. It obeys GOAWAY: what was not served is asked again, on
    /// another connection.
    Http2 {
        /// Streams at a time.
        streams: usize,
    },
}

/// Clients under way.
#[derive(Debug)]
pub struct Load {
    ends: watch::Sender<bool>,
    clients: JoinHandle<Tally>,
}

impl Load {
    /// So many clients of a kind begin to ask for `/`, each with a connection of its own.
    ///
    /// # Errors
    /// Their thread cannot be started.
    pub fn begin(addr: SocketAddr, kind: Kind, clients: usize) -> io::Result<Self> {
        let (ends, end) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ask = move || runtime.block_on(ask_until(addr, kind, clients, &end));
        let clients = thread::Builder::new().name("load".into()).spawn(ask)?;
        Ok(Self { ends, clients })
    }

    /// They finish what they have begun; answers with what became of all requests.
    ///
    /// # Panics
    /// A client has panicked.
    pub fn end(self) -> Tally {
        // An error says that they have ended already.
        let _ = self.ends.send(true);
        self.clients.join().expect("clients count what goes wrong")
    }
}

async fn ask_until(addr: SocketAddr, kind: Kind, clients: usize, end: &watch::Receiver<bool>) -> Tally {
    let mut asking = JoinSet::new();
    for number in 0..clients {
        asking.spawn(client::run(addr, kind, number, clients, end.clone()));
    }
    let mut all = Tally::default();
    while let Some(tally) = asking.join_next().await {
        all.add(tally.expect("a client does not panic"));
    }
    all
}
