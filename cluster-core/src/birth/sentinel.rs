//! The sentinel: a thread of each worker that outlives its runtime's troubles.
//!
//! It hears the primary, sees it go, relays standard error, and ends the worker at the drain deadline even
//! when the runtime is stuck. Therefore, once it runs, it allocates nothing and takes no lock: a runtime
//! thread that hangs may hold any of them.
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};

use crate::birth::arrival::StderrRelay;
use crate::ipc::control::{self, ToPrimary, ToWorker};
use crate::life::Life;
use crate::scoreboard::Page;
use crate::sys::page::{self, Mapped};

/// How long the runtime has to empty and close the accept queue before the sentinel closes it.
const CLOSE_QUEUE_AFTER: Duration = Duration::from_millis(100);

pub(crate) struct Sentinel {
    control: OwnedFd,
    life: Arc<Life>,
    stderr: Relay,
    sockets: Vec<OwnedFd>,
    drain_timeout: Duration,
    /// The primary is gone, and its socket with it.
    orphaned: bool,
    kill_at: Option<Instant>,
    close_queue_at: Option<Instant>,
}

/// Standard error on its way to where it really goes; what is on the way is in the page.
struct Relay {
    read: OwnedFd,
    real: OwnedFd,
    page: Arc<Mapped<Page>>,
    open: bool,
}

/// What there is to wait for.
#[derive(Clone, Copy, Default)]
struct Rung {
    control: bool,
    bell: bool,
    relay: bool,
}

impl Sentinel {
    /// `sockets` are the listening sockets, to close their queue when the primary is gone.
    pub(crate) fn new(
        control: OwnedFd,
        life: Arc<Life>,
        page: Arc<Mapped<Page>>,
        stderr: StderrRelay,
        sockets: Vec<OwnedFd>,
        drain_timeout: Duration,
    ) -> Self {
        // `stderr.write` is dropped: the process has it as descriptor 2.
        let StderrRelay { read, real, write: _ } = stderr;
        let stderr = Relay { read, real, page, open: true };
        Self {
            control,
            life,
            stderr,
            sockets,
            drain_timeout,
            orphaned: false,
            kill_at: None,
            close_queue_at: None,
        }
    }

    /// Watches for as long as the process lives: after the program's end `main` may go on.
    pub(crate) fn watch_for_ever(mut self) -> ! {
        while !self.life.is_finished() {
            self.watch_once();
        }
        self.kill_at.get_or_insert(Instant::now() + self.drain_timeout);
        self.stderr.finish();
        let _ = self.life.passed_on.write(1);
        loop {
            self.watch_once();
        }
    }

    /// Watches until the program has ended. Never returns where the worker has to be killed.
    pub(crate) fn watch(mut self) {
        while !self.life.is_finished() {
            self.watch_once();
        }
        self.stderr.finish();
    }

    fn watch_once(&mut self) {
        let rung = self.wait();
        if rung.control {
            self.hear();
        }
        if rung.bell {
            let _ = self.life.for_sentinel.read();
            if self.life.leave.swap(false, Ordering::AcqRel) && self.kill_at.is_none() {
                // Told to leave by a signal or by itself: the primary sees to a successor.
                let _ = control::try_send(self.control.as_fd(), &ToPrimary::Draining);
                self.drain(false);
            }
        }
        if rung.relay {
            self.stderr.step();
        }
        self.keep_deadlines(Instant::now());
    }

    fn wait(&self) -> Rung {
        let deadline = [self.kill_at, self.close_queue_at].into_iter().flatten().min();
        let timeout = match deadline {
            None => PollTimeout::NONE,
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                // Rounded up: a timeout of 0 would spin through the last millisecond.
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
        };
        let (relay, wanted) = self.stderr.waits_for();
        let control_events = if self.orphaned { PollFlags::empty() } else { PollFlags::POLLIN };
        let relay_events = if self.stderr.open { wanted } else { PollFlags::empty() };
        let mut fds = [
            PollFd::new(self.life.for_sentinel.as_fd(), PollFlags::POLLIN),
            PollFd::new(relay, relay_events),
            PollFd::new(self.control.as_fd(), control_events),
        ];
        // A closed line stays readable for ever: an orphan must not poll it again.
        let len = if self.orphaned { 2 } else { 3 };
        match poll(&mut fds[..len], timeout) {
            Err(_) => Rung::default(),
            Ok(_) => {
                let rung = |at: usize| at < len && fds[at].any().unwrap_or(true);
                Rung { bell: rung(0), relay: rung(1), control: rung(2) }
            }
        }
    }

    /// One word of the primary, or its end.
    fn hear(&mut self) {
        match control::receive_command(self.control.as_fd()) {
            Ok(Some(ToWorker::Drain { close_queue })) => self.drain(close_queue),
            Ok(Some(ToWorker::Kill)) => kill_own_group(),
            Ok(None) => self.become_orphan(),
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            // A primary that speaks nonsense is not ours; without one a worker leaves.
            Err(_) => self.become_orphan(),
        }
    }

    fn drain(&mut self, close_queue: bool) {
        let now = Instant::now();
        self.life.drain(close_queue);
        self.kill_at.get_or_insert(now + self.drain_timeout);
        if close_queue {
            self.close_queue_at.get_or_insert(now + CLOSE_QUEUE_AFTER);
        }
    }

    fn become_orphan(&mut self) {
        self.orphaned = true;
        self.drain(true);
    }

    fn keep_deadlines(&mut self, now: Instant) {
        if self.close_queue_at.is_some_and(|at| at <= now) {
            self.close_queue_at = None;
            for socket in &self.sockets {
                // BEFORE a successor of the primary can bind (tcp sockets leave the port at once); it
                // counts for all processes that share the socket, and a second time it does nothing.
                let _ = socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Read);
            }
        }
        if self.kill_at.is_some_and(|at| at <= now) {
            kill_own_group();
        }
    }
}

/// Ends this worker and all processes that it has started and that have not left its group.
fn kill_own_group() {
    let _ = killpg(nix::unistd::getpid(), Signal::SIGKILL);
}

impl Relay {
    /// What the next step waits for: room for what is pending, else more to read.
    fn waits_for(&self) -> (BorrowedFd<'_>, PollFlags) {
        if self.page.tail.pending().is_empty() {
            (self.read.as_fd(), PollFlags::POLLIN)
        } else {
            (self.real.as_fd(), PollFlags::POLLOUT)
        }
    }

    /// Reads or writes once; waits for neither.
    fn step(&mut self) {
        let pending = self.page.tail.pending();
        if pending.is_empty() {
            match self.page.tail.fill(|free| page::read(self.read.as_fd(), free)) {
                Ok(0) => self.open = false,
                Ok(_) | Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(_) => self.open = false,
            }
            return;
        }
        match page::write(self.real.as_fd(), pending) {
            Ok(written) => self.page.tail.take(written),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // Nobody reads the real one any more: the page still gets every byte.
            Err(_) => self.page.tail.take(pending.len()),
        }
    }

    /// Passes on what is there without waiting; what then remains the primary passes on after the exit.
    fn finish(&mut self) {
        loop {
            let (fd, wanted) = self.waits_for();
            let mut fds = [PollFd::new(fd, wanted)];
            if !self.open || !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..)) {
                return;
            }
            self.step();
        }
    }
}
