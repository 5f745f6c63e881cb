//! The reload that is under way, as data: what stage it is in, and how fast it goes on.
use std::time::{Duration, Instant};

use crate::id::PeerId;

/// After the first of them; doubled with each, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The reload that is under way, and whether there shall be another.
#[derive(Debug)]
pub(super) struct Reloads {
    /// The last generation that was tried.
    pub(super) last: u64,
    pub(super) now: Option<Rollout>,
    /// Who has asked for one since the present one began, which may have opened the program too early for them.
    pub(super) next: Option<Vec<Asker>>,
}

/// A director's wish. None: a signal's.
pub(super) type Asker = Option<(PeerId, u64)>;

/// One reload.
#[derive(Debug)]
pub(super) struct Rollout {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) since: Instant,
    pub(super) askers: Vec<Asker>,
    pub(super) stage: Stage,
    /// Whether there was a director before, and is one then; that is not known until its first worker has said so.
    pub(super) had_director: bool,
    pub(super) has_director: Option<bool>,
}

/// What is why.
#[derive(Debug, Clone, Default)]
pub(super) struct Failure {
    pub(super) why: String,
    pub(super) last_stderr: Vec<String>,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// The program is opened, and its fork server runs `main`.
    Opening { until: Instant },
    /// One worker of it is tried, beside all the others.
    Trial { peer: PeerId, serves_since: Option<Instant> },
    /// It is sound, and replaces the others.
    Rolling(Pace),
    /// It was not so sound after all: the old one replaces those that it has. Nobody waits for that any more, and another
    /// reload need not.
    Back(Pace),
}

/// How fast to go on, by what newcomers there have been.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    pub(super) failures: u32,
    pause: Option<Instant>,
}

impl Reloads {
    pub(super) fn new(generation: u64) -> Self {
        Self { last: generation, now: None, next: None }
    }

    pub(super) fn are_under_way(&self) -> bool {
        self.now.is_some()
    }

    /// A director that is gone hears no answers.
    pub(super) fn forget(&mut self, director: PeerId) {
        let lives = |asker: &Asker| asker.is_none_or(|(from, _)| from != director);
        self.now.iter_mut().for_each(|rollout| rollout.askers.retain(lives));
        self.next.iter_mut().for_each(|askers| askers.retain(lives));
    }

    /// When time alone changes something.
    pub(super) fn deadline(&self, health: Duration) -> Option<Instant> {
        match &self.now.as_ref()?.stage {
            Stage::Opening { until } => Some(*until),
            Stage::Trial { serves_since, .. } => serves_since.map(|since| since + health),
            Stage::Rolling(pace) | Stage::Back(pace) => pace.pause,
        }
    }

    /// Whether that generation has not been found sound yet.
    pub(super) fn tries(&self, generation: u64) -> bool {
        self.now.as_ref().is_some_and(|rollout| match rollout.stage {
            Stage::Opening { .. } | Stage::Trial { .. } => rollout.to == generation,
            Stage::Rolling(_) | Stage::Back(_) => false,
        })
    }

    /// What the one that is tried says of its program.
    pub(super) fn learn(&mut self, of: PeerId, director: bool) {
        let Some(rollout) = &mut self.now else { return };
        match rollout.stage {
            Stage::Trial { peer, .. } if peer == of => rollout.has_director = Some(director),
            Stage::Trial { .. } | Stage::Opening { .. } | Stage::Rolling(_) | Stage::Back(_) => {}
        }
    }

    pub(super) fn waiting(&self) -> usize {
        let askers = self.now.iter().map(|rollout| &rollout.askers).chain(&self.next);
        askers.map(Vec::len).sum()
    }
}

impl Pace {
    /// A newcomer never served.
    pub(super) fn slow_down(&mut self, now: Instant) {
        let pause = FIRST_PAUSE.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        self.pause = Some(now + pause.min(LONGEST_PAUSE));
    }

    /// Whether it may go on.
    pub(super) fn goes_on(&mut self, now: Instant) -> bool {
        if self.pause.is_some_and(|until| until <= now) {
            self.pause = None;
        }
        self.pause.is_none()
    }
}
