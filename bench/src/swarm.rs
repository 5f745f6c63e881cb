//! Many requests at once from one thread. Each begins when it is told to, whatever those before have come to: a
//! slow answer holds up nobody. A failure is an answer too; none is dropped.
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::exchange::{Exchange, Request};

/// How long an answer may take; then the request has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many events are taken at once.
const EVENTS: usize = 128;

/// Requests that wait for their answers.
#[derive(Debug)]
pub(crate) struct Swarm {
    addr: SocketAddr,
    epoll: Epoll,
    exchanges: Vec<Option<Exchange>>,
    free: Vec<usize>,
    begun: usize,
    /// Not told yet.
    ended: Vec<Ended>,
    last_look: Instant,
}

/// What has come of a request.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) request: Request,
    pub(crate) begun: Instant,
    pub(crate) at: Instant,
    /// The process id of who has answered.
    pub(crate) outcome: io::Result<u32>,
}

impl Swarm {
    /// # Errors
    /// This process is out of descriptors.
    pub(crate) fn new(addr: SocketAddr) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let last_look = Instant::now();
        let (exchanges, free, ended) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { addr, epoll, exchanges, free, begun: 0, ended, last_look })
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.exchanges.len() - self.free.len()
    }

    /// Asks on a new connection, at once.
    pub(crate) fn ask(&mut self, request: Request) {
        let before = Instant::now();
        self.begun += 1;
        let begun = Exchange::begin(self.addr, request, self.begun).and_then(|exchange| self.keep(exchange));
        if let Err(err) = begun {
            self.ended.push(Ended { request, begun: before, at: Instant::now(), outcome: Err(err) });
        }
    }

    fn keep(&mut self, exchange: Exchange) -> io::Result<()> {
        let at = self.free.last().copied().unwrap_or(self.exchanges.len());
        // Each change is told once: what can be done is done until it cannot.
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        self.epoll.add(exchange.fd(), EpollEvent::new(flags, at as u64))?;
        if self.free.pop().is_some() {
            self.exchanges[at] = Some(exchange);
        } else {
            self.exchanges.push(Some(exchange));
        }
        Ok(())
    }

    /// What has ended; waits until `until` for the first.
    pub(crate) fn hear(&mut self, until: Instant) -> io::Result<Vec<Ended>> {
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            let now = Instant::now();
            if now - self.last_look >= LOOK_EVERY {
                self.give_up(now);
            }
            let pause = if self.ended.is_empty() { (until - now).min(LOOK_EVERY) } else { Duration::ZERO };
            let count = match self.epoll.wait(&mut events, timeout(pause)) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(err) => return Err(err.into()),
            };
            for event in &events[..count] {
                self.advance(event.data() as usize);
            }
            if !self.ended.is_empty() || Instant::now() >= until {
                return Ok(std::mem::take(&mut self.ended));
            }
        }
    }

    /// What has come of all that still wait.
    pub(crate) fn hear_out(&mut self) -> io::Result<Vec<Ended>> {
        let mut ended = std::mem::take(&mut self.ended);
        while self.waiting() > 0 {
            ended.append(&mut self.hear(Instant::now() + LOOK_EVERY)?);
        }
        Ok(ended)
    }

    /// Leaves all connections, answered or not.
    pub(crate) fn leave(&mut self) {
        (self.exchanges, self.free) = (Vec::new(), Vec::new());
    }

    fn advance(&mut self, at: usize) {
        // An event may be of one that has ended before in the same breath.
        let Some(exchange) = self.exchanges.get_mut(at).and_then(Option::as_mut) else { return };
        let (request, begun) = (exchange.request(), exchange.begun());
        let outcome = match exchange.advance() {
            Ok(None) => return,
            Ok(Some(pid)) => Ok(pid),
            Err(err) => Err(err),
        };
        let asks_again = request == Request::KeptAlive && outcome.is_ok();
        let again = if asks_again { Some(exchange.again()) } else { None };
        self.ended.push(Ended { request, begun, at: Instant::now(), outcome });
        match again {
            Some(Ok(())) => {}
            Some(Err(err)) => {
                let now = Instant::now();
                self.ended.push(Ended { request, begun: now, at: now, outcome: Err(err) });
                self.close(at);
            }
            None => self.close(at),
        }
    }

    fn close(&mut self, at: usize) {
        self.exchanges[at] = None;
        self.free.push(at);
    }

    /// Those that have waited for too long have failed.
    fn give_up(&mut self, now: Instant) {
        self.last_look = now;
        for at in 0..self.exchanges.len() {
            let Some(exchange) = &self.exchanges[at] else { continue };
            if now.saturating_duration_since(exchange.begun()) >= PATIENCE {
                let outcome =
                    Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {PATIENCE:?}")));
                let (request, begun) = (exchange.request(), exchange.begun());
                self.ended.push(Ended { request, begun, at: now, outcome });
                self.close(at);
            }
        }
    }
}

/// In whole milliseconds, not before the time.
fn timeout(pause: Duration) -> EpollTimeout {
    let millis = pause.as_micros().div_ceil(1000);
    EpollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n(pid 7)\n";

    /// A server that does the same with every client, one after the other.
    fn server(serve: fn(TcpStream, usize)) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("its address");
        thread::spawn(move || {
            for (nth, client) in listener.incoming().enumerate() {
                serve(client.expect("a client"), nth);
            }
        });
        addr
    }

    fn answer(client: &mut TcpStream) {
        assert!(client.read(&mut [0; 1024]).expect("a request") > 0);
        client.write_all(ANSWER).expect("it listens");
    }

    fn swarm(addr: SocketAddr) -> Swarm {
        Swarm::new(addr).expect("there are descriptors left")
    }

    #[test]
    fn one_that_waits_holds_up_nobody_and_fails_in_the_end() {
        let addr = server(|mut client, nth| match nth {
            // Open and silent for as long as the test takes.
            0 => std::mem::forget(client),
            _ => answer(&mut client),
        });
        let mut swarm = swarm(addr);
        swarm.ask(Request::Hello);
        swarm.ask(Request::Hello);
        let ended = swarm.hear(Instant::now() + PATIENCE).expect("it can wait");
        assert!(matches!(ended[..], [Ended { outcome: Ok(7), .. }]), "{ended:?}");
        assert_eq!(swarm.waiting(), 1);
        swarm.give_up(Instant::now() + PATIENCE);
        let ended = swarm.hear_out().expect("it can wait");
        let err = ended[0].outcome.as_ref().expect_err("nobody answers").to_string();
        assert!(ended.len() == 1 && err.contains("no answer within 5s"), "{err}");
    }

    #[test]
    fn a_client_that_is_kept_asks_again_until_it_is_closed() {
        let addr = server(|mut client, _| (0..3).for_each(|_| answer(&mut client)));
        let mut swarm = swarm(addr);
        swarm.ask(Request::KeptAlive);
        let ended = swarm.hear_out().expect("it can wait");
        let outcomes: Vec<bool> = ended.iter().map(|ended| ended.outcome.is_ok()).collect();
        assert_eq!(outcomes, [true, true, true, false]);
    }

    #[test]
    fn what_is_refused_is_told() {
        let addr = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let mut swarm = swarm(addr.expect("a port that nobody listens on any more"));
        swarm.ask(Request::Hello);
        let ended = swarm.hear_out().expect("it can wait");
        let err = ended[0].outcome.as_ref().expect_err("nobody listens");
        assert_eq!((ended.len(), err.kind()), (1, io::ErrorKind::ConnectionRefused), "{err}");
    }

    #[test]
    fn places_are_used_again() {
        let mut swarm = swarm(server(|mut client, _| answer(&mut client)));
        for _ in 0..5 {
            swarm.ask(Request::Hello);
            assert_eq!(swarm.hear_out().expect("it can wait").len(), 1);
        }
        assert_eq!((swarm.exchanges.len(), swarm.waiting()), (1, 0));
    }

    #[test]
    fn a_wait_is_not_cut_short() {
        assert_eq!(timeout(Duration::from_micros(1)), EpollTimeout::from(1_u16));
        assert_eq!(timeout(Duration::from_millis(7)), EpollTimeout::from(7_u16));
        assert_eq!(timeout(Duration::ZERO), EpollTimeout::ZERO);
    }
}
