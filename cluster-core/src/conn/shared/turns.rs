//! One acceptor's manners: what it leaves to others, and for how long. Who has had how much is in the rota.
use std::io;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use crate::conn::shared::rota::{LEAVES_FOR, Part, Rota};
use crate::id::Slot;
use crate::sys::alarm::Alarm;
use crate::sys::page::Mapped;

/// A worker that others have waited for in vain, in milliseconds: so long it is taken for busy when it has taken one.
const BUSY_FOR: u64 = 100;
/// How often it looks whether others have taken what it leaves to them.
const LOOK_EVERY: Duration = Duration::from_micros(50);

pub(crate) struct Turns {
    rota: Arc<Mapped<Rota>>,
    slot: Slot,
    part: Part,
    /// It has taken one, and is still in the rota as one who wants more.
    is_away: bool,
    /// When others have waited for it in vain last, in milliseconds.
    kept_waiting: Option<u64>,
    /// Made when something is left to others for the first time.
    alarm: Option<Alarm>,
    /// Something is left to others until then.
    leaves_until: Option<Instant>,
}

impl Turns {
    pub(crate) fn new(rota: Arc<Mapped<Rota>>, slot: Slot) -> Self {
        Self {
            rota,
            slot,
            part: Part::default(),
            is_away: false,
            kept_waiting: None,
            alarm: None,
            leaves_until: None,
        }
    }

    /// Wants a connection.
    pub(crate) fn wants(&mut self) {
        self.wants_at(now());
    }

    fn wants_at(&mut self, now: u64) {
        let was_forgotten = self.rota.wants(self.slot);
        if mem::take(&mut self.is_away) && was_forgotten {
            self.kept_waiting = Some(now);
        }
    }

    /// Wants none for now.
    pub(crate) fn wants_no_more(&mut self) {
        self.is_away = false;
        self.rota.wants_no_more(self.slot);
    }

    /// A connection was taken. It is back for the next one in a moment, for which others wait that have had more: where
    /// there are fewer processors than workers, those who have one would take most of a burst. Only who was not back in
    /// time, because what it does for a connection takes long, keeps nobody waiting for a while.
    pub(crate) fn took(&mut self) {
        self.took_at(now());
    }

    fn took_at(&mut self, now: u64) {
        self.is_away = self.kept_waiting.is_none_or(|since| now.wrapping_sub(since) >= BUSY_FOR);
        if !self.is_away {
            self.rota.wants_no_more(self.slot);
        }
        self.rota.takes(&mut self.part, now);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_waited_for_in_vain_keeps_nobody_waiting_for_a_while() {
        let (rota, _) = Mapped::<Rota>::create(c"test-rota").unwrap();
        let rota = Arc::new(rota);
        let mut worker = Turns::new(rota.clone(), Slot(0));
        // Whether others wait for it when it has taken one.
        let mut is_waited_for = |now: u64, others_give_up: bool| {
            worker.wants_at(now);
            worker.took_at(now);
            let is_waited_for = !rota.wants(Slot(0));
            if !is_waited_for {
                rota.wants_no_more(Slot(0));
            }
            if others_give_up {
                rota.forget_all_but(Slot(1));
            }
            is_waited_for
        };
        assert!(is_waited_for(1000, false));
        assert!(is_waited_for(1010, true));
        assert!(!is_waited_for(1020, false));
        assert!(!is_waited_for(1020 + BUSY_FOR - 1, false));
        assert!(is_waited_for(1020 + BUSY_FOR, false));
    }
}
