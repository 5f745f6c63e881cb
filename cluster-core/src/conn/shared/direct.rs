//! The way past the doorbell: while connections come fast, the runtime itself waits for them.
//!
//! The listener is in the runtime's own epoll set then (`sys/reactor.rs`), exclusively as well: idle workers take turns,
//! because each leaves when it has taken one, and joins again at the tail. Where the cluster is saturated there are no
//! turns: it keeps its place. What the doorbell would do for
//! those whom a blocked loop was woken for, the pace does: all who wait look again when it slows down.
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use tokio::time::Sleep;

use crate::conn::pace::Pace;
use crate::conn::socket::ListeningSocket;
use crate::sys::reactor::Reactor;

/// Whether the runtime waits itself, and how.
pub(crate) struct Direct {
    pace: Pace,
    reactor: Found,
    /// Fires when the pace is to be looked at.
    calm: Option<Pin<Box<Sleep>>>,
    /// The queue was hardly ever empty when it waited last.
    saturated: bool,
}

enum Found {
    NotSought,
    There(Reactor<Arc<ListeningSocket>>),
    /// This runtime cannot: the doorbell does it all.
    Nowhere,
}

/// What an acceptor that would wait finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    /// Somebody is, or was, in the queue.
    Rung,
    /// It will be woken.
    Wait,
    /// Connections come slowly: wait at the door.
    Door,
}

impl Direct {
    pub(crate) fn new() -> Self {
        Self { pace: Pace::of_worker(), reactor: Found::NotSought, calm: None, saturated: false }
    }

    /// Whether connections come fast.
    pub(crate) fn is_fast(&self) -> bool {
        self.pace.is_fast()
    }

    /// A connection was taken.
    pub(crate) fn took(&mut self) {
        match &mut self.reactor {
            Found::Nowhere => return,
            // It may be long until it asks again, and a wake-up that is spent on it meanwhile is lost for the others.
            Found::There(reactor) if !self.saturated => reactor.clear(),
            Found::There(_) | Found::NotSought => {}
        }
        self.pace.took(Instant::now());
    }

    /// Connections come fast to all workers together.
    pub(crate) fn quicken(&mut self) {
        if !matches!(self.reactor, Found::Nowhere) {
            self.pace.quicken(Instant::now());
        }
    }

    /// Waits while connections come fast; `fast_for_all` tells whether they do to all workers together.
    pub(crate) fn wait(
        &mut self,
        listeners: &[Arc<ListeningSocket>],
        saturated: bool,
        fast_for_all: impl Fn() -> bool,
        cx: &mut Context<'_>,
    ) -> Passage {
        if !self.pace.is_fast() {
            return Passage::Door;
        }
        self.saturated = saturated;
        let queued = self.queue_up(listeners);
        let Found::There(reactor) = &self.reactor else { return Passage::Door };
        if queued.is_err() {
            self.step_out();
            return Passage::Door;
        }
        if reactor.poll_ready(cx).is_ready() {
            return Passage::Rung;
        }
        let calm = self.calm.get_or_insert_with(|| {
            Box::pin(tokio::time::sleep_until(self.pace.calm_at(Instant::now()).into()))
        });
        while calm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if fast_for_all() {
                self.pace.quicken(now);
            } else if !self.pace.look(now) {
                self.step_out();
                return Passage::Door;
            }
            calm.as_mut().reset(self.pace.calm_at(now).into());
        }
        Passage::Wait
    }

    /// Waits at the tail of those who wait, unless it has its place.
    fn queue_up(&mut self, listeners: &[Arc<ListeningSocket>]) -> io::Result<()> {
        if matches!(self.reactor, Found::NotSought) {
            self.reactor = Reactor::find().map_or(Found::Nowhere, Found::There);
        }
        let Found::There(reactor) = &mut self.reactor else { return Ok(()) };
        if reactor.is_clear() {
            for listener in listeners {
                reactor.add(listener.clone())?;
            }
        }
        Ok(())
    }

    /// Waits no more; says whether it did.
    pub(crate) fn step_out(&mut self) -> bool {
        self.pace.slow_down();
        self.calm = None;
        match &mut self.reactor {
            Found::There(reactor) => {
                let waited = !reactor.is_clear();
                reactor.clear();
                waited
            }
            Found::NotSought | Found::Nowhere => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsFd, OwnedFd};
    use std::task::Poll;

    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

    use super::*;

    #[tokio::test]
    async fn nobody_is_woken_for_a_connection_who_has_taken_one_and_does_not_ask() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let listeners = [Arc::new(ListeningSocket::from(OwnedFd::from(listener)))];
        let mut direct = Direct::new();
        (0..100).for_each(|_| direct.took());
        let passage = poll_fn(|cx| Poll::Ready(direct.wait(&listeners, false, || false, cx))).await;
        assert_eq!(passage, Passage::Wait);
        // It takes one, and is busy with something else than connections.
        direct.took();
        let others = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let exclusive = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
        others.add(listeners[0].as_fd(), EpollEvent::new(exclusive, 0)).unwrap();
        let woken = tokio::task::spawn_blocking(move || {
            others.wait(&mut [EpollEvent::empty(); 1], EpollTimeout::from(60_000_u16))
        });
        // The runtime waits meanwhile, and could be woken.
        let _client = tokio::task::spawn_blocking(move || TcpStream::connect(addr)).await.unwrap().unwrap();
        assert_eq!(woken.await.unwrap(), Ok(1), "another worker is woken");
    }
}
