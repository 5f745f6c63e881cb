//! One client: it asks, connects again where it has to, and counts.
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Kind;
use crate::connection::{Asked, Connection};
use crate::tally::{Failure, Tally};

/// How long an answer, or a connection, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a failure: whoever does not answer is not flooded.
const PAUSE: Duration = Duration::from_millis(10);
/// A request that nobody takes is asked so often; then it has failed.
const TRIES: usize = 100;

/// Asks until the end, and once at least.
pub(crate) async fn run(
    addr: SocketAddr,
    kind: Kind,
    number: usize,
    of: usize,
    end: watch::Receiver<bool>,
) -> Tally {
    match kind {
        Kind::KeepAlive => ask_one_by_one(addr, None, true, end).await,
        Kind::Close => ask_one_by_one(addr, None, false, end).await,
        Kind::Every(period) => {
            // Spread over the period, so that some are about to ask whenever something happens.
            tokio::time::sleep(period / of as u32 * number as u32).await;
            ask_one_by_one(addr, Some(period), true, end).await
        }
        Kind::Http2 { streams } => ask_at_once(addr, streams, end).await,
    }
}

async fn ask_one_by_one(
    addr: SocketAddr,
    period: Option<Duration>,
    kept: bool,
    mut end: watch::Receiver<bool>,
) -> Tally {
    let mut tally = Tally::default();
    let mut connection = None;
    loop {
        let next = period.map(|period| tokio::time::Instant::now() + period);
        ask(addr, kept, &mut connection, &mut tally).await;
        if let Some(next) = next {
            let _ = tokio::time::timeout_at(next, end.changed()).await;
        }
        if *end.borrow() {
            return tally;
        }
    }
}

/// One request, to its answer or its failure.
async fn ask(addr: SocketAddr, kept: bool, connection: &mut Option<Connection>, tally: &mut Tally) {
    let start = Instant::now();
    for _ in 0..TRIES {
        let open = match connection.take() {
            Some(open) => open,
            None => match connect(addr, !kept, tally).await {
                Some(open) => open,
                None => return,
            },
        };
        match answer(&open).await {
            Asked::Answered { goes_on } => {
                *connection = (kept && goes_on).then_some(open);
                return tally.answer(start.elapsed());
            }
            // Closed while it was idle, and nothing was sent: what every client does then is to connect again.
            Asked::NotTaken => tally.asked_again += 1,
            Asked::Failed(failure, words) => {
                tally.fail(failure, words);
                return tokio::time::sleep(PAUSE).await;
            }
        }
    }
    tally.fail(Failure::Other, format!("nobody took it, {TRIES} times"));
}

/// So many streams at a time, on connection after connection.
async fn ask_at_once(addr: SocketAddr, streams: usize, end: watch::Receiver<bool>) -> Tally {
    let mut tally = Tally::default();
    loop {
        if let Some(connection) = connect_http2(addr, &mut tally).await {
            let mut asking = JoinSet::new();
            for _ in 0..streams {
                asking.spawn(ask_on(connection.clone(), end.clone()));
            }
            while let Some(part) = asking.join_next().await {
                tally.add(part.expect("a stream does not panic"));
            }
        }
        if *end.borrow() {
            return tally;
        }
    }
}

/// One request after the other, until the connection takes no more.
async fn ask_on(connection: Connection, end: watch::Receiver<bool>) -> Tally {
    let mut tally = Tally::default();
    loop {
        let start = Instant::now();
        match answer(&connection).await {
            Asked::Answered { .. } => tally.answer(start.elapsed()),
            // Its successor is asked.
            Asked::NotTaken => {
                tally.asked_again += 1;
                return tally;
            }
            Asked::Failed(failure, words) => {
                tally.fail(failure, words);
                tokio::time::sleep(PAUSE).await;
                return tally;
            }
        }
        if *end.borrow() {
            return tally;
        }
    }
}

async fn answer(connection: &Connection) -> Asked {
    let timed_out = || Asked::Failed(Failure::TimedOut, format!("no answer in {PATIENCE:?}"));
    timeout(PATIENCE, connection.ask()).await.unwrap_or_else(|_| timed_out())
}

async fn connect(addr: SocketAddr, says_close: bool, tally: &mut Tally) -> Option<Connection> {
    connected(Connection::http1(addr, says_close), tally).await
}

async fn connect_http2(addr: SocketAddr, tally: &mut Tally) -> Option<Connection> {
    connected(Connection::http2(addr), tally).await
}

async fn connected(
    connecting: impl Future<Output = Result<Connection, String>>,
    tally: &mut Tally,
) -> Option<Connection> {
    let words = match timeout(PATIENCE, connecting).await {
        Ok(Ok(connection)) => {
            tally.connections += 1;
            return Some(connection);
        }
        Ok(Err(words)) => words,
        Err(_) => format!("no connection in {PATIENCE:?}"),
    };
    tally.fail(Failure::Connect, words);
    tokio::time::sleep(PAUSE).await;
    None
}
