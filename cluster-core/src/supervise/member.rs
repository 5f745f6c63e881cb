//! One process in the pool, a worker or a director: what it goes through, and why it ended.
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::event::{ExitReason, Leave, WorkerState};
use crate::id::Seat;
use crate::supervise::pulse::Pulse;
use crate::supervise::span::Span;

/// A process ends itself at its drain deadline; the primary does it this much later if it has not.
pub(crate) const DRAIN_GRACE: Duration = Duration::from_millis(500);
/// A process whose program has ended of its own accord is gone in a moment. One that is still there after this
/// has something to finish, and its seat does not wait for that.
pub(crate) const PARTING: Duration = Duration::from_millis(500);

/// One that hangs tells where, and ends itself, within four seconds; the primary kills it after this.
pub(crate) const DUMPING: Duration = Duration::from_secs(5);

/// A process that has been killed is gone in a moment, unless it has very much memory. One that is still there after this
/// is not waited for any longer: it is in a call of the kernel's that no signal ends.
pub(crate) const DYING: Duration = Duration::from_secs(10);

/// The number of SIGKILL.
const KILLED: i32 = 9;

/// A process that has been asked for and has not ended. It may have lost its seat to a successor.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) seat: Seat,
    /// Of which generation's program it is.
    pub(crate) generation: u64,
    /// 0 until it is a process.
    pub(crate) pid: u32,
    pub(crate) asked: Instant,
    pub(crate) phase: Phase,
    /// What the world has been told of it.
    pub(crate) told: Told,
    /// Why it leaves, where it has been told to.
    pub(crate) leave: Option<Leave>,
    /// What it said of its own end.
    pub(crate) last_word: Option<LastWord>,
    /// It counts as crashed already, though it has not ended.
    pub(crate) counted: bool,
    /// Of its runtime, while that is looked at.
    pub(crate) pulse: Option<Pulse>,
    /// When it has served for long enough.
    pub(crate) span: Span,
}

/// What has been told of a member, so that each is told once and in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Told {
    pub(crate) online: bool,
    pub(crate) ready: bool,
    pub(crate) draining: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Asked of the nursery.
    Forking {
        until: Instant,
    },
    /// A process, not ready yet.
    Booting {
        until: Instant,
    },
    Serving,
    /// It wants to leave; until then others may be told to leave too, and it is answered with them.
    Asking {
        until: Instant,
    },
    /// Told to leave, or leaving of its own accord.
    Draining {
        until: Instant,
    },
    /// Its program has ended unasked; the seat is its until it is gone, or known to take its time.
    Parting {
        since: Instant,
    },
    /// Its program has ended; only the process has still to, and what its program left to finish.
    Leaving {
        until: Instant,
    },
    /// It hangs: it tells where, and ends itself.
    Dumping {
        until: Instant,
    },
    /// Killed for this; its end will be told.
    Killed {
        why: Killed,
        until: Instant,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Killed {
    Boot,
    Drain,
    Leave,
    Stop,
    Hung,
    /// Younger generations drain, too, and are too many.
    Superseded,
    Garbled(String),
}

#[derive(Debug, Clone)]
pub(crate) enum LastWord {
    BootFailed(String),
    Finished { error: Option<String>, drained: bool },
}

impl fmt::Display for LastWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LastWord::BootFailed(error) => write!(f, "failed to boot: {error}"),
            LastWord::Finished { error: Some(error), .. } => write!(f, "crashed: {error}"),
            LastWord::Finished { error: None, .. } => f.write_str("finished"),
        }
    }
}

impl Phase {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Phase::Forking { until }
            | Phase::Booting { until }
            | Phase::Asking { until }
            | Phase::Draining { until }
            | Phase::Leaving { until }
            | Phase::Dumping { until }
            | Phase::Killed { until, .. } => Some(*until),
            Phase::Parting { since } => Some(*since + PARTING),
            Phase::Serving => None,
        }
    }
}

impl Member {
    /// Asked for now, with so long to become a process.
    pub(crate) fn new(seat: Seat, generation: u64, now: Instant, fork_timeout: Duration) -> Self {
        let phase = Phase::Forking { until: now + fork_timeout };
        let told = Told::default();
        Self {
            seat,
            generation,
            pid: 0,
            asked: now,
            phase,
            told,
            leave: None,
            last_word: None,
            counted: false,
            pulse: None,
            span: Span::default(),
        }
    }

    /// Whether its seat is another's, or nobody's.
    pub(crate) fn has_left(&self) -> bool {
        match self.phase {
            Phase::Draining { .. } | Phase::Leaving { .. } | Phase::Dumping { .. } | Phase::Killed { .. } => {
                true
            }
            Phase::Forking { .. }
            | Phase::Booting { .. }
            | Phase::Serving
            | Phase::Asking { .. }
            | Phase::Parting { .. } => false,
        }
    }

    /// Whether its runtime has to turn: a boot, and all that leads to an end, has a deadline of its own.
    pub(crate) fn has_to_turn(&self) -> bool {
        match self.phase {
            Phase::Serving => true,
            Phase::Forking { .. }
            | Phase::Booting { .. }
            | Phase::Asking { .. }
            | Phase::Draining { .. }
            | Phase::Parting { .. }
            | Phase::Leaving { .. }
            | Phase::Dumping { .. }
            | Phase::Killed { .. } => false,
        }
    }

    /// What events have made of it.
    pub(crate) fn state(&self) -> WorkerState {
        match self.told {
            Told { draining: true, .. } => WorkerState::Draining,
            Told { ready: true, .. } => WorkerState::Serving,
            Told { .. } => WorkerState::Starting,
        }
    }

    /// Why it ended, by what it went through, what it said and how the process ended.
    pub(crate) fn reason(&self, now: Instant, status: Option<ExitStatus>) -> ExitReason {
        let success = status.is_some_and(|status| status.success());
        let crashed_or = |fine: ExitReason| if success { fine } else { ExitReason::Crashed };
        match &self.phase {
            Phase::Killed { why: Killed::Boot, .. } => ExitReason::BootTimeout,
            Phase::Killed { why: Killed::Drain, .. } => ExitReason::DrainTimeout,
            Phase::Killed { why: Killed::Leave, .. } => self.farewell(status, true),
            Phase::Killed { why: Killed::Stop, .. } => ExitReason::Stopped,
            // However it ended: it was as good as killed.
            Phase::Dumping { .. } | Phase::Killed { why: Killed::Hung, .. } => ExitReason::Hung,
            Phase::Killed { why: Killed::Superseded, .. } => ExitReason::Superseded,
            Phase::Killed { why: Killed::Garbled(why), .. } => ExitReason::Garbled(why.clone()),
            Phase::Forking { .. } | Phase::Booting { .. } => {
                ExitReason::BootFailed("it ended before it was ready".to_owned())
            }
            Phase::Serving => crashed_or(ExitReason::Finished),
            // Its own sentinel kills it at the deadline, a moment before we would.
            Phase::Draining { until } if now + DRAIN_GRACE >= *until && !success => ExitReason::DrainTimeout,
            Phase::Asking { .. } | Phase::Draining { .. } => crashed_or(self.left()),
            Phase::Parting { .. } => self.farewell(status, false),
            Phase::Leaving { until } => {
                // Its own sentinel's clock began when the program ended, ours when we heard of it.
                let is_due = now + 2 * DRAIN_GRACE >= *until;
                let is_killed = status.is_some_and(|status| status.signal() == Some(KILLED));
                self.farewell(status, is_due && is_killed)
            }
        }
    }

    /// Why it ended, of one that was told to.
    fn left(&self) -> ExitReason {
        match self.leave {
            Some(Leave::Recycled) => ExitReason::Recycled,
            Some(
                Leave::Itself | Leave::Restart | Leave::Reload | Leave::Scaled | Leave::Ended | Leave::Stop,
            )
            | None => ExitReason::Stopped,
        }
    }

    /// Why it ended, of one whose program had ended before. An error that the program told comes first: it is the
    /// cause.
    fn farewell(&self, status: Option<ExitStatus>, too_late: bool) -> ExitReason {
        match &self.last_word {
            Some(LastWord::BootFailed(error)) => ExitReason::BootFailed(error.clone()),
            Some(LastWord::Finished { error: Some(_), .. }) | None => ExitReason::Crashed,
            Some(LastWord::Finished { error: None, .. }) if too_late => ExitReason::DrainTimeout,
            Some(LastWord::Finished { error: None, drained: true }) => self.left(),
            Some(LastWord::Finished { error: None, drained: false }) => match status {
                Some(status) if status.success() => ExitReason::Finished,
                Some(_) | None => ExitReason::Crashed,
            },
        }
    }
}
