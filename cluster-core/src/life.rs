//! What a worker's sentinel and its runtime tell each other, without a lock: the runtime may be stuck.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use nix::sys::eventfd::EventFd;

/// What the sentinel and the runtime tell each other: flags that only ever rise, and a bell each.
pub(crate) struct Life {
    /// For the runtime: it shall drain.
    drain: AtomicBool,
    /// For the runtime: the cluster ends, or its primary is gone; nobody will serve what is queued later.
    close_queue: AtomicBool,
    /// For the runtime: there is no primary any more, or none that can be understood.
    orphaned: AtomicBool,
    /// For the sentinel: a signal or `retire` asks for a drain.
    pub(crate) leave: Arc<AtomicBool>,
    /// For the sentinel: the program has ended unasked; what it began has until the drain deadline.
    ends: AtomicBool,
    /// For the sentinel: the program has ended, and what it began.
    finished: AtomicBool,
    /// For the sentinel: the thread on which the runtime has turned last; 0 before that.
    pub(crate) turned_on: Arc<AtomicI32>,
    pub(crate) for_runtime: Arc<EventFd>,
    pub(crate) for_sentinel: Arc<EventFd>,
    /// Rung when the program has ended and its standard error has been passed on.
    pub(crate) passed_on: Arc<EventFd>,
}

impl Life {
    pub(crate) fn new() -> nix::Result<Self> {
        use nix::sys::eventfd::EfdFlags;
        let bell = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        Ok(Self {
            drain: AtomicBool::new(false),
            close_queue: AtomicBool::new(false),
            orphaned: AtomicBool::new(false),
            leave: Arc::new(AtomicBool::new(false)),
            ends: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            turned_on: Arc::new(AtomicI32::new(0)),
            for_runtime: Arc::new(bell()?),
            for_sentinel: Arc::new(bell()?),
            passed_on: Arc::new(bell()?),
        })
    }

    /// Tells the runtime to drain. Takes no lock: the runtime may be stuck.
    pub(crate) fn drain(&self, close_queue: bool) {
        self.close_queue.fetch_or(close_queue, Ordering::Release);
        self.drain.store(true, Ordering::Release);
        let _ = self.for_runtime.write(1);
    }

    /// BEFORE `drain`: tells the runtime that it waits for nothing from the primary.
    pub(crate) fn orphan(&self) {
        self.orphaned.store(true, Ordering::Release);
    }

    pub(crate) fn is_orphaned(&self) -> bool {
        self.orphaned.load(Ordering::Acquire)
    }

    pub(crate) fn closes_queue(&self) -> bool {
        self.close_queue.load(Ordering::Acquire)
    }

    /// Tells the sentinel that the program has ended unasked.
    pub(crate) fn end(&self) {
        self.ends.store(true, Ordering::Release);
        let _ = self.for_sentinel.write(1);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ends.load(Ordering::Acquire)
    }

    /// Tells the sentinel that the program has ended, and all that it began.
    pub(crate) fn finish(&self) {
        self.finished.store(true, Ordering::Release);
        let _ = self.for_sentinel.write(1);
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }
}
