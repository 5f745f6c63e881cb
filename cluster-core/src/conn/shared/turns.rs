//! One acceptor's manners: what it leaves to others, and for how long. Who has had how much is in the rota.
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use crate::conn::shared::rota::{LEAVES_FOR, Part, Rota};
use crate::id::Slot;
use crate::sys::alarm::Alarm;
use crate::sys::page::Mapped;

/// How often it looks whether others have taken what it leaves to them.
const LOOK_EVERY: Duration = Duration::from_micros(50);

pub(crate) struct Turns {
    rota: Arc<Mapped<Rota>>,
    slot: Slot,
    part: Part,
    /// Made when something is left to others for the first time.
    alarm: Option<Alarm>,
    /// Something is left to others until then.
    leaves_until: Option<Instant>,
}

impl Turns {
    pub(crate) fn new(rota: Arc<Mapped<Rota>>, slot: Slot) -> Self {
        Self { rota, slot, part: Part::default(), alarm: None, leaves_until: None }
    }

    /// Wants a connection.
    pub(crate) fn wants(&self) {
        self.rota.wants(self.slot);
    }

    /// Wants none for now.
    pub(crate) fn wants_no_more(&self) {
        self.rota.wants_no_more(self.slot);
    }

    /// A connection was taken.
    pub(crate) fn took(&mut self) {
        self.wants_no_more();
        self.rota.takes(&mut self.part, now());
    }

    /// Whether connections come fast to all workers together.
    pub(crate) fn fast_for_all(&self) -> bool {
        self.rota.is_fast(now())
    }

    /// Whether to take the next one, and not to leave it to others.
    pub(crate) fn is_mine(&self) -> bool {
        self.rota.is_turn_of(&self.part, now())
    }

    /// Leaves one to others for a moment.
    ///
    /// # Errors
    /// Out of descriptors: there is nothing to wait with.
    pub(crate) fn leave(&mut self) -> io::Result<()> {
        let alarm = match &mut self.alarm {
            Some(alarm) => alarm,
            none => none.insert(Alarm::new()?),
        };
        alarm.set(LOOK_EVERY)?;
        self.leaves_until = Some(Instant::now() + LEAVES_FOR);
        Ok(())
    }

    /// Resolves when it is time to look again: whether the next one is ours. If nobody has come for it in all that
    /// time, those who want connections are not there, whatever the rota says.
    pub(crate) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let (Some(alarm), Some(until)) = (&self.alarm, self.leaves_until) else { return Poll::Ready(true) };
        ready!(alarm.poll_rung(cx));
        let is_over = Instant::now() >= until;
        if is_over {
            self.rota.forget_all_but(self.slot);
        }
        if is_over || self.is_mine() || alarm.set(LOOK_EVERY).is_err() {
            self.leaves_until = None;
            return Poll::Ready(true);
        }
        Poll::Ready(false)
    }
}

/// In milliseconds, by a clock that is the same in all processes and costs next to nothing.
fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(0, |time| Duration::from(time).as_millis() as u64)
}
