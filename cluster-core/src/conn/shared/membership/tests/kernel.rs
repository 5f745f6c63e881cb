//! What of epoll(7) and accept(2) the doorbell lives by.
use std::collections::VecDeque;
use std::time::Instant;

/// Listeners; the bell is the descriptor after them.
pub(super) const LISTENERS: usize = 2;
pub(super) const BELL: usize = LISTENERS;

/// Descriptors that can be waited for, and who waits.
pub(super) struct Kernel {
    /// When those came who wait to be accepted.
    pub(super) queues: [VecDeque<Instant>; LISTENERS],
    bell: u64,
    /// Of each descriptor those who have added it, in that order: wake-ups are exclusive.
    lists: [Vec<usize>; LISTENERS + 1],
    sets: Vec<Set>,
}

/// The epoll instance of one worker.
#[derive(Default)]
struct Set {
    /// It may be ready: it is looked at when the set is waited for.
    ready: [bool; LISTENERS + 1],
    /// Its thread runs, or is about to: it is not waiting.
    woken: bool,
    /// Its thread cannot wait: it is stopped, or gone.
    still: bool,
}

impl Kernel {
    pub(super) fn new() -> Self {
        Self { queues: Default::default(), bell: 0, lists: Default::default(), sets: Vec::new() }
    }

    pub(super) fn open_set(&mut self) -> usize {
        self.sets.push(Set::default());
        self.sets.len() - 1
    }

    pub(super) fn come(&mut self, listener: usize, now: Instant) {
        self.queues[listener].push_back(now);
        self.wake(listener);
    }

    pub(super) fn ring(&mut self) {
        self.bell += 1;
        self.wake(BELL);
    }

    pub(super) fn answer(&mut self) {
        self.bell = 0;
    }

    pub(super) fn is_readable(&self, fd: usize) -> bool {
        if fd == BELL { self.bell > 0 } else { !self.queues[fd].is_empty() }
    }

    /// Finds readiness at once (epoll_ctl(2), EPOLL_CTL_ADD).
    pub(super) fn add(&mut self, set: usize, fd: usize) {
        assert!(!self.lists[fd].contains(&set), "EEXIST");
        self.lists[fd].push(set);
        if self.is_readable(fd) {
            self.sets[set].ready[fd] = true;
            self.sets[set].woken = true;
        }
    }

    pub(super) fn delete(&mut self, set: usize, fd: usize) {
        self.lists[fd].retain(|member| *member != set);
        self.sets[set].ready[fd] = false;
    }

    /// The wake-up goes to the first whose thread waits, and is spent.
    fn wake(&mut self, fd: usize) {
        for member in &self.lists[fd] {
            let set = &mut self.sets[*member];
            set.ready[fd] = true;
            if !set.woken && !set.still {
                set.woken = true;
                return;
            }
        }
    }

    /// A stop interrupts the wait (signal(7)); what was ready is so still.
    pub(super) fn stop(&mut self, set: usize) {
        self.sets[set].still = true;
    }

    pub(super) fn go_on(&mut self, set: usize) {
        (self.sets[set].still, self.sets[set].woken) = (false, true);
    }

    /// All that a process had is closed.
    pub(super) fn die(&mut self, set: usize) {
        (0..=BELL).for_each(|fd| self.delete(set, fd));
        self.stop(set);
    }

    pub(super) fn is_woken(&self, set: usize) -> bool {
        self.sets[set].woken
    }

    /// What epoll_wait(2) reports; after that its thread is running until it waits again.
    pub(super) fn events(&mut self, set: usize) -> Vec<usize> {
        let mut events = Vec::new();
        for fd in 0..=BELL {
            let ready = self.sets[set].ready[fd] && self.is_readable(fd);
            self.sets[set].ready[fd] = ready;
            ready.then(|| events.push(fd));
        }
        events
    }

    /// The thread waits again: not for what is ready still.
    pub(super) fn wait(&mut self, set: usize) {
        let is_ready = (0..=BELL).any(|fd| self.sets[set].ready[fd] && self.is_readable(fd));
        self.sets[set].woken = is_ready;
    }
}
