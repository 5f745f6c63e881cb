//! When a worker is told that there are offers. Decides only.
//!
//! A ring is answered once. To tell again what it was told would be answered by the next acceptor, and so on for ever; and
//! who is not told at all, while the primary waits for its answer, is offered nothing any more.

/// What one worker was told, as the primary knows it.
#[derive(Debug, Default)]
pub(crate) struct Ringing {
    /// It was told, and has not answered.
    rung: bool,
    /// There is something to tell.
    is_due: bool,
    /// The newest offer when it was told last.
    told: u64,
}

impl Ringing {
    /// It is offered something.
    pub(crate) fn offered(&mut self) {
        self.is_due = true;
    }

    /// An offer that it did not claim is taken back: it is offered nothing until it says that it is there. It may have
    /// answered all that it was told, and then it will say nothing by itself.
    pub(crate) fn taken_back(&mut self) {
        self.is_due = true;
    }

    /// It says that it is there. What it has left open is to be looked at, AFTER this.
    pub(crate) fn answered(&mut self) {
        (self.rung, self.is_due) = (false, false);
    }

    /// It has left this offer open. It may have looked before that one came; of others it was told, and whoever they are
    /// for looks when it waits.
    pub(crate) fn left_open(&mut self, number: u64) {
        self.is_due |= number > self.told;
    }

    /// Whether to ring.
    pub(crate) fn is_due(&self) -> bool {
        self.is_due && !self.rung
    }

    /// It was rung; the newest offer of all has this number.
    pub(crate) fn rang(&mut self, newest: u64) {
        *self = Self { rung: true, is_due: false, told: newest };
    }
}
