//! Reloads: a new generation is opened, tried with one worker, and takes over slot by slot.
use std::time::Instant;

use crate::error::ReloadError;
use crate::event::{Event, Leave};
use crate::id::{PeerId, Seat, Slot};
use crate::supervise::input::Action;
use crate::supervise::member::Phase;
use crate::supervise::nursery::Nursery;
use crate::supervise::pool::Pool;
use crate::supervise::pool::commands::MOST_OPEN;
use crate::supervise::pool::place::{Holder, Place};
use crate::supervise::pool::reloads::{Asker, Failure, Pace, Rollout, Stage};
use crate::supervise::restart::Backoff;

/// So many newcomers in a row may fail once the generation has been found sound.
const FAILURES: u32 = 3;

impl Pool {
    pub(super) fn reload(&mut self, now: Instant, asker: Asker) {
        if !self.is_serving() {
            return self.answer(vec![asker], Err(ReloadError::Stopping));
        }
        if asker.is_some() && self.reloads.waiting() >= MOST_OPEN {
            return self.answer(vec![asker], Err(ReloadError::TooMany { limit: MOST_OPEN as u64 }));
        }
        match self.reloads.now.as_ref().map(|rollout| (&rollout.stage, rollout.to)) {
            // However many ask meanwhile: one more opens the program as it is after all of them.
            Some((Stage::Opening { .. } | Stage::Trial { .. } | Stage::Rolling(_), _)) => {
                self.reloads.next.get_or_insert_default().push(asker);
            }
            // What could not take over, and what cannot come back, may both be mended by this one.
            Some((Stage::Back(_), failed)) => {
                self.close(failed);
                self.begin_reload(now, vec![asker]);
            }
            None => self.begin_reload(now, vec![asker]),
        }
    }

    fn begin_reload(&mut self, now: Instant, askers: Vec<Asker>) {
        // Their program is about to be replaced: nobody is made of it beforehand.
        for (seat, _) in self.awaited() {
            self.turn_away(now, seat);
        }
        self.reloads.last += 1;
        let (from, to) = (self.generation, self.reloads.last);
        let until = now + self.policy.boot_timeout;
        let stage = Stage::Opening { until };
        self.reloads.now = Some(self.rollout(from, to, now, askers, stage));
        self.nurseries.insert(to, Nursery::Booting { until, backoff: Backoff::default() });
        self.tell(Event::Reloading { generation: to });
        self.actions.push(Action::Open { generation: to });
    }

    fn rollout(&self, from: u64, to: u64, since: Instant, askers: Vec<Asker>, stage: Stage) -> Rollout {
        Rollout { from, to, since, askers, stage, had_director: self.directed, has_director: None }
    }

    /// Workers of that generation can be made.
    pub(super) fn opened(&mut self, now: Instant, generation: u64) {
        let Some(rollout) = &self.reloads.now else { return };
        let Stage::Opening { .. } = rollout.stage else { return };
        if rollout.to != generation {
            return;
        }
        if let Some(peer) = self.bring(now, Seat::Slot(Slot(0)), generation, Leave::Reload) {
            self.enter(Stage::Trial { peer, serves_since: None });
        }
    }

    pub(super) fn not_opened(&mut self, now: Instant, generation: u64, why: String) {
        if self.reloads.tries(generation) {
            self.reload_failed(now, Failure { why, last_stderr: Vec::new() });
        }
    }

    fn enter(&mut self, stage: Stage) {
        if let Some(rollout) = &mut self.reloads.now {
            rollout.stage = stage;
        }
    }

    /// A newcomer serves: it takes its seat, or is watched for a while first.
    pub(super) fn newcomer_ready(&mut self, now: Instant, peer: PeerId, seat: Seat) {
        match self.reloads.now.as_mut().map(|rollout| &mut rollout.stage) {
            Some(Stage::Trial { peer: tried, serves_since }) if *tried == peer => {
                *serves_since = Some(now);
                return;
            }
            Some(Stage::Rolling(pace) | Stage::Back(pace)) => {
                *pace = Pace::default();
                if seat == Seat::Director {
                    return self.director_ready(now);
                }
            }
            Some(Stage::Opening { .. } | Stage::Trial { .. }) | None => self.recycler.succeeded(),
        }
        self.promote(now, seat);
    }

    /// The last to be replaced is there.
    fn director_ready(&mut self, now: Instant) {
        let predecessor = self.take_seat(Seat::Director);
        // BEFORE the other is told to leave: it may have asked for this reload.
        self.end_reload(now);
        if let Some((predecessor, why)) = predecessor {
            self.see_off(now, predecessor, why);
        }
    }

    /// A newcomer will never take its seat, which waits for it no more.
    pub(super) fn newcomer_lost(&mut self, now: Instant, peer: PeerId, failure: Failure) {
        match self.reloads.now.as_mut().map(|rollout| &mut rollout.stage) {
            Some(Stage::Trial { peer: tried, .. }) if *tried == peer => self.reload_failed(now, failure),
            Some(Stage::Rolling(_)) => self.rolling_suffers(now, failure),
            Some(Stage::Back(pace)) => pace.slow_down(now),
            Some(Stage::Opening { .. } | Stage::Trial { .. }) | None => self.recycler.failed(now),
        }
    }

    /// Something that the new generation needs for the other slots has failed: a newcomer, or its fork server.
    pub(super) fn rolling_suffers(&mut self, now: Instant, failure: Failure) {
        let Some(Stage::Rolling(pace)) = self.reloads.now.as_mut().map(|rollout| &mut rollout.stage) else {
            return;
        };
        pace.slow_down(now);
        if pace.failures >= FAILURES {
            self.roll_back(now, failure);
        }
    }

    /// The periodic step: what is due goes on.
    pub(super) fn roll(&mut self, now: Instant) {
        self.see_newcomers_leave(now);
        let health = self.policy.rollout.health;
        let Some(rollout) = &mut self.reloads.now else { return };
        match &mut rollout.stage {
            Stage::Opening { until } if *until <= now => {
                let why = format!("it did not come up within {:?}", self.policy.boot_timeout);
                self.reload_failed(now, Failure { why, last_stderr: Vec::new() });
            }
            Stage::Trial { peer, serves_since }
                if serves_since.is_some_and(|since| since + health <= now) =>
            {
                let is_sound = self.members.get(peer).is_some_and(|member| member.phase == Phase::Serving);
                // One that is about to end has not served for long enough; its end is the next that is heard of it.
                *serves_since = None;
                if is_sound {
                    self.adopt(now);
                }
            }
            Stage::Opening { .. } | Stage::Trial { .. } => {}
            Stage::Rolling(pace) | Stage::Back(pace) => {
                if pace.goes_on(now) {
                    self.bring_next(now);
                }
            }
        }
    }

    /// One that leaves before it has its seat is none to wait for; its end may be far away.
    fn see_newcomers_leave(&mut self, now: Instant) {
        for (seat, peer) in self.awaited() {
            let Some(member) = self.members.get(&peer) else { continue };
            let why = match (&member.phase, &member.last_word) {
                (Phase::Draining { .. } | Phase::Leaving { .. }, Some(word)) => format!("{peer} {word}"),
                (Phase::Draining { .. } | Phase::Leaving { .. }, None) => format!("{peer} left by itself"),
                (
                    Phase::Forking { .. }
                    | Phase::Booting { .. }
                    | Phase::Serving
                    | Phase::Asking { .. }
                    | Phase::Parting { .. }
                    | Phase::Dumping { .. }
                    | Phase::Killed { .. },
                    _,
                ) => continue,
            };
            if let Some(place) = self.places.get_mut(seat) {
                place.newcomer = None;
            }
            self.newcomer_lost(now, peer, Failure { why, last_stderr: Vec::new() });
        }
    }

    /// The new generation is sound: from now on it is the one.
    fn adopt(&mut self, now: Instant) {
        let Some(rollout) = &self.reloads.now else { return };
        self.generation = rollout.to;
        self.directed = rollout.has_director.unwrap_or(rollout.had_director);
        self.enter(Stage::Rolling(Pace::default()));
        self.tell(Event::RollingOut { generation: self.generation });
        self.promote(now, Seat::Slot(Slot(0)));
        if self.directed && self.places.director.is_none() {
            self.places.director = Some(Place::new(now));
            self.actions.push(Action::Direct { director: true });
        }
        self.seek_for_all(now);
        self.bring_next(now);
    }

    /// Whoever was not there has another chance: the program is another.
    fn seek_for_all(&mut self, now: Instant) {
        for place in self.places.slots.iter_mut().chain(&mut self.places.director) {
            match place.holder {
                Holder::Waiting(_) | Holder::Vacant => {
                    place.holder = Holder::Waiting(now);
                    place.backoff = Backoff::default();
                }
                Holder::Member(_) => {}
            }
        }
    }

    /// Makes as many newcomers as may be at once; ends the reload where none is needed.
    fn bring_next(&mut self, now: Instant) {
        if !self.can_spawn(self.generation) {
            return;
        }
        let awaited = self.awaited();
        let mut outdated = self.outdated();
        outdated.retain(|seat| awaited.iter().all(|(known, _)| known != seat));
        let room = usize::from(self.policy.rollout.batch).saturating_sub(awaited.len());
        for seat in outdated.iter().take(room) {
            self.bring(now, *seat, self.generation, Leave::Reload);
        }
        if !awaited.is_empty() || !outdated.is_empty() || self.somebody_boots(now) {
            return;
        }
        if self.directed && self.director_is_outdated() {
            self.bring(now, Seat::Director, self.generation, Leave::Reload);
        } else {
            self.end_reload(now);
        }
    }

    /// Whether there is a seat that has somebody on the way to serve.
    fn somebody_boots(&self, now: Instant) -> bool {
        let wanted = self.places.all().filter(|(seat, _)| self.is_wanted(*seat));
        wanted.map(|(_, place)| place.holder).any(|holder| match holder {
            Holder::Member(peer) => self.members.get(&peer).is_some_and(|member| match member.phase {
                Phase::Forking { .. } | Phase::Booting { .. } => true,
                Phase::Serving
                | Phase::Asking { .. }
                | Phase::Draining { .. }
                | Phase::Parting { .. }
                | Phase::Leaving { .. }
                | Phase::Dumping { .. }
                | Phase::Killed { .. } => false,
            }),
            Holder::Waiting(until) => until <= now,
            Holder::Vacant => false,
        })
    }

    fn director_is_outdated(&self) -> bool {
        let holder = self.places.director.as_ref().map(|place| place.holder);
        let Some(Holder::Member(peer)) = holder else { return false };
        self.members.get(&peer).is_some_and(|member| member.generation != self.generation)
    }

    /// The new generation cannot take over. Nobody who serves has been touched.
    pub(super) fn reload_failed(&mut self, now: Instant, failure: Failure) {
        for (seat, _) in self.awaited() {
            self.turn_away(now, seat);
        }
        let failed = self.reloads.now.take();
        self.fail_reload(failed, failure);
        if self.reloads.next.is_some() {
            return self.next_reload(now);
        }
        // What an earlier one has left behind is replaced yet.
        if !self.outdated().is_empty() || self.director_is_outdated() {
            let (from, to) = (self.generation, self.reloads.last);
            let stage = Stage::Back(Pace::default());
            self.reloads.now = Some(self.rollout(from, to, now, Vec::new(), stage));
        }
    }

    /// The new generation has some slots and cannot have the others: the old one takes them all again.
    fn roll_back(&mut self, now: Instant, failure: Failure) {
        for (seat, _) in self.awaited() {
            self.turn_away(now, seat);
        }
        let Some(rollout) = &mut self.reloads.now else { return };
        self.generation = rollout.from;
        self.directed = rollout.had_director;
        rollout.stage = Stage::Back(Pace::default());
        let (to, askers) = (rollout.to, std::mem::take(&mut rollout.askers));
        self.tell(Event::RollingBack { generation: self.generation, why: failure.why.clone() });
        // BEFORE all are back: that may take long, and whoever has asked can mend it meanwhile.
        self.tell_failure(to, askers, failure);
        self.seek_for_all(now);
        match self.reloads.next.take() {
            Some(askers) => {
                self.close(to);
                self.begin_reload(now, askers);
            }
            None => self.bring_next(now),
        }
    }

    /// Every slot, and the director, is of the generation that was wanted last.
    fn end_reload(&mut self, now: Instant) {
        let Some(Rollout { from, to, since, askers, stage, .. }) = self.reloads.now.take() else { return };
        match stage {
            Stage::Back(_) => self.close(to),
            Stage::Opening { .. } | Stage::Trial { .. } | Stage::Rolling(_) => {
                self.close(from);
                self.tell(Event::Reloaded { generation: to, took: now - since });
                self.answer(askers, Ok(()));
            }
        }
        // AFTER the answers: it may have asked.
        if !self.directed {
            self.dismiss_for_good(now);
        }
        self.next_reload(now);
    }

    /// The present generation has no director.
    fn dismiss_for_good(&mut self, now: Instant) {
        self.turn_away(now, Seat::Director);
        let Some(place) = self.places.director.take() else { return };
        self.actions.push(Action::Direct { director: false });
        if let Holder::Member(peer) = place.holder {
            self.see_off(now, peer, Leave::Reload);
        }
    }

    /// A reload ends without success.
    fn fail_reload(&mut self, reload: Option<Rollout>, failure: Failure) {
        let Some(Rollout { to, askers, .. }) = reload else { return };
        self.close(to);
        self.tell_failure(to, askers, failure);
    }

    fn tell_failure(&mut self, to: u64, askers: Vec<Asker>, failure: Failure) {
        let Failure { why, last_stderr } = failure;
        self.tell(Event::ReloadFailed { generation: to, why: why.clone(), last_stderr: last_stderr.clone() });
        self.answer(askers, Err(ReloadError::Failed { why, last_stderr }));
    }

    fn next_reload(&mut self, now: Instant) {
        if let Some(askers) = self.reloads.next.take() {
            self.begin_reload(now, askers);
        }
    }

    /// Nobody is made of that generation's program any more.
    fn close(&mut self, generation: u64) {
        self.nurseries.remove(&generation);
        self.actions.push(Action::Close { generation });
    }

    /// The cluster stops: nothing is replaced any more.
    pub(super) fn reloads_stop(&mut self) {
        for place in self.places.slots.iter_mut().chain(&mut self.places.director) {
            place.newcomer = None;
        }
        if let Some(askers) = self.reloads.next.take() {
            self.answer(askers, Err(ReloadError::Stopping));
        }
        let Some(Rollout { to, askers, stage, .. }) = self.reloads.now.take() else { return };
        match stage {
            // Nobody is made of it: what it prepares need not be waited for.
            Stage::Opening { .. } | Stage::Trial { .. } => self.close(to),
            Stage::Rolling(_) => {}
            // Its failure has been told.
            Stage::Back(_) => return,
        }
        let why = "the cluster stops".to_owned();
        self.tell(Event::ReloadFailed { generation: to, why, last_stderr: Vec::new() });
        self.answer(askers, Err(ReloadError::Stopping));
    }

    fn answer(&mut self, askers: Vec<Asker>, result: Result<(), ReloadError>) {
        let askers = askers.into_iter().flatten();
        let replies = askers.map(|(to, id)| Action::ReplyReload { to, id, result: result.clone() });
        self.actions.extend(replies);
    }
}
