//! The sentinel: a thread of each worker that outlives its runtime's troubles.
//!
//! It hears the primary, sees it go, relays standard error, and ends the worker at the drain deadline even
//! when the runtime is stuck. Therefore, once it runs, it allocates nothing and takes no lock: a runtime
//! thread that hangs may hold any of them.
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getppid};

use crate::birth::arrival::StderrRelay;
use crate::birth::memory::MemoryGauge;
use crate::birth::relay::Relay;
use crate::conn::ListeningSocket;
use crate::dump;
use crate::ipc::control::{self, ToPrimary, ToWorker};
use crate::life::Life;
use crate::scoreboard::Page;
use crate::sys::page::Mapped;

/// How long the runtime has to empty and close the accept queue before the sentinel closes it.
const CLOSE_QUEUE_AFTER: Duration = Duration::from_millis(100);

/// How long a primary that dies may still be the parent after its sockets have closed.
const PRIMARY_LINGERS: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How long the primary has to answer a worker that wants to leave.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);

pub(crate) struct Sentinel {
    control: OwnedFd,
    life: Arc<Life>,
    stderr: Relay,
    sockets: Vec<ListeningSocket>,
    drain_timeout: Duration,
    gauge: MemoryGauge,
    /// Its socket to the primary has ended.
    orphaned: bool,
    primary: Pid,
    /// When the line ended, until it is known why.
    line_ended: Option<Instant>,
    kill_at: Option<Instant>,
    close_queue_at: Option<Instant>,
    /// A drain of its own accord begins then, if the primary has not answered.
    drain_at: Option<Instant>,
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
        sockets: Vec<ListeningSocket>,
        drain_timeout: Duration,
        gauge: MemoryGauge,
    ) -> Self {
        Self {
            control,
            life,
            stderr: Relay::new(stderr, page),
            sockets,
            drain_timeout,
            gauge,
            orphaned: false,
            primary: getppid(),
            line_ended: None,
            kill_at: None,
            close_queue_at: None,
            drain_at: None,
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
        let (rung, waited) = self.wait();
        if rung.control {
            self.hear();
        }
        if rung.bell {
            let _ = self.life.for_sentinel.read();
            if self.life.has_ended() {
                // The primary has been told; a drain that it asks for later begins now already.
                self.kill_at.get_or_insert(Instant::now() + self.drain_timeout);
            }
            if self.life.leave.swap(false, Ordering::AcqRel) && self.kill_at.is_none() {
                // By a signal or by itself. The primary knows whether others will serve what is queued: until
                // it says so this worker serves on.
                let _ = control::try_send(self.control.as_fd(), &ToPrimary::Draining);
                self.drain_at.get_or_insert(Instant::now() + ANSWER_WITHIN);
            }
        }
        if rung.relay {
            self.stderr.step(waited);
        }
        self.keep_deadlines(Instant::now());
        self.gauge.look(self.stderr.page());
    }

    /// What has rung, of what there was to wait for at that time.
    fn wait(&self) -> (Rung, Instant) {
        let now = Instant::now();
        let look = self.line_ended.map(|_| now + LOOK_EVERY);
        let (gauge, relay) = (self.gauge.due(), self.stderr.due(now));
        let deadline = [self.kill_at, self.close_queue_at, self.drain_at, look, gauge, relay]
            .into_iter()
            .flatten()
            .min();
        let timeout = match deadline {
            None => PollTimeout::NONE,
            Some(at) => {
                let left = at.saturating_duration_since(now);
                // Rounded up: a timeout of 0 would spin through the last millisecond.
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
        };
        let bell = PollFd::new(self.life.for_sentinel.as_fd(), PollFlags::POLLIN);
        let control = PollFd::new(self.control.as_fd(), PollFlags::POLLIN);
        let (relay, wanted) = self.stderr.waits_for(now);
        let relay = PollFd::new(relay, wanted);
        // Left out, not just unasked: what is closed at the other end is reported for ever.
        let (mut fds, relay_at) =
            if self.orphaned { ([bell, relay, control], 1) } else { ([bell, control, relay], 2) };
        let len = relay_at + usize::from(self.stderr.is_open());
        let rung = match poll(&mut fds[..len], timeout) {
            Err(_) => Rung::default(),
            Ok(_) => {
                let rung = |at: usize| at < len && fds[at].any().unwrap_or(true);
                Rung { bell: rung(0), control: !self.orphaned && rung(1), relay: rung(relay_at) }
            }
        };
        (rung, now)
    }

    /// One word of the primary, or its end.
    fn hear(&mut self) {
        match control::receive_command(self.control.as_fd()) {
            Ok(Some(ToWorker::Drain { close_queue })) => self.drain(close_queue),
            // Asked again, by another signal, it asks again.
            Ok(Some(ToWorker::Stay)) => self.drain_at = None,
            Ok(Some(ToWorker::Kill)) => kill_own_group(),
            Ok(Some(ToWorker::Dump)) => self.dump(),
            Ok(Some(ToWorker::ReopenLogs)) => self.life.reopen_logs(),
            Ok(None) => self.become_orphan(),
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            // A primary that speaks nonsense is not ours; without one a worker leaves.
            Err(_) => self.become_orphan(),
        }
    }

    /// It hangs: says where, and ends. Names of functions are looked up with allocations, the only ones here: the kernel
    /// ends this process if that takes too long.
    fn dump(&self) -> ! {
        dump::dump(&self.stderr.page().trace, self.life.turned_on.load(Ordering::Relaxed));
        loop {
            kill_own_group();
        }
    }

    fn drain(&mut self, close_queue: bool) {
        let now = Instant::now();
        self.drain_at = None;
        self.life.drain(close_queue);
        self.kill_at.get_or_insert(now + self.drain_timeout);
        if close_queue {
            self.close_queue_at.get_or_insert(now + CLOSE_QUEUE_AFTER);
        }
    }

    fn become_orphan(&mut self) {
        self.orphaned = true;
        self.line_ended = Some(Instant::now());
    }

    /// A primary that dies closes its sockets a moment BEFORE its children get another parent. One that
    /// lives on has only let go of this worker: the queue is then others', and must stay open.
    fn look_for_primary(&mut self, now: Instant) {
        let Some(ended) = self.line_ended else { return };
        let gone = getppid() != self.primary;
        if gone || now - ended >= PRIMARY_LINGERS {
            self.line_ended = None;
            self.life.orphan();
            self.drain(gone);
        }
    }

    fn keep_deadlines(&mut self, now: Instant) {
        self.look_for_primary(now);
        if self.drain_at.is_some_and(|at| at <= now) {
            self.drain(false);
        }
        if self.close_queue_at.is_some_and(|at| at <= now) {
            self.close_queue_at = None;
            for socket in &self.sockets {
                // BEFORE a successor of the primary can bind (tcp sockets leave the port at once); it
                // counts for all processes that share the socket, and a second time it does nothing.
                socket.shut_down();
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
