//! What the director has asked for, until it has happened.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::command::Command;
use crate::error::CommandError;
use crate::event::{Event, Leave};
use crate::id::{PeerId, Seat, Slot, WorkerId};
use crate::supervise::input::{Action, Verdict};
use crate::supervise::member::{Killed, Member, Phase};
use crate::supervise::pool::Pool;
use crate::supervise::pool::place::Holder;
use crate::supervise::pool::stopping::Course;

/// So many commands may wait, and as many `Stop`s: whoever asks for more does not wait for answers.
pub(super) const MOST_OPEN: usize = 1024;
const TOO_MANY: CommandError = CommandError::TooMany { limit: MOST_OPEN as u64 };

/// The commands without an answer yet.
#[derive(Debug, Default)]
pub(super) struct Commands {
    open: Vec<Open>,
    /// Those that wait for the end of all workers, apart: nothing else answers them.
    stops: Vec<(PeerId, u64)>,
}

/// One of them.
#[derive(Debug)]
struct Open {
    from: PeerId,
    id: u64,
    awaits: Awaits,
}

/// What has to happen first.
#[derive(Debug)]
enum Awaits {
    /// New slots that have not served yet, and workers of given-up slots that have not ended.
    Scale { rising: BTreeSet<Slot>, falling: BTreeSet<WorkerId> },
    /// A worker of this slot that is newer than that one.
    Successor { slot: Slot, of: u64 },
}

impl Commands {
    /// A director that is gone hears no answers.
    pub(super) fn forget(&mut self, director: PeerId) {
        self.open.retain(|open| open.from != director);
        self.stops.retain(|(from, _)| *from != director);
    }

    /// The answers that are due: `judge` says which, and what they are.
    fn settle(
        &mut self,
        mut judge: impl FnMut(&mut Awaits) -> Option<Result<(), CommandError>>,
    ) -> Vec<Action> {
        let mut replies = Vec::new();
        self.open.retain_mut(|open| match judge(&mut open.awaits) {
            Some(result) => {
                replies.push(Action::Reply { to: open.from, id: open.id, result });
                false
            }
            None => true,
        });
        replies
    }
}

impl Pool {
    pub(super) fn command(&mut self, now: Instant, from: PeerId, id: u64, command: Command) {
        if !self.members.contains_key(&from) {
            return;
        }
        let awaits = match command {
            Command::Stop => return self.command_stop(now, from, id),
            Command::Reload => return self.reload(now, Some((from, id))),
            // BEFORE anything changes: what is refused has not been done.
            Command::Scale { .. } | Command::Restart { .. } if self.commands.open.len() >= MOST_OPEN => {
                return self.actions.push(Action::Reply { to: from, id, result: Err(TOO_MANY) });
            }
            Command::Scale { workers } => self.scale(now, workers),
            Command::Restart { slot } => self.restart(now, slot),
        };
        match awaits {
            Ok(awaits) => self.commands.open.push(Open { from, id, awaits }),
            Err(err) => self.actions.push(Action::Reply { to: from, id, result: Err(err) }),
        }
        // What asks for how things are has happened: one that was made to take the seat anyway may serve already.
        let serving = self.serving_holders();
        self.settle(|awaits| match awaits {
            Awaits::Scale { .. } => None,
            Awaits::Successor { slot, of } => serving.get(slot).is_some_and(|id| id > of).then_some(Ok(())),
        });
    }

    fn command_stop(&mut self, now: Instant, from: PeerId, id: u64) {
        self.stop(now, Verdict::Stopped);
        let result = match self.course {
            Course::Serving | Course::Stopping { .. } if self.commands.stops.len() < MOST_OPEN => {
                return self.commands.stops.push((from, id));
            }
            Course::Serving | Course::Stopping { .. } => Err(TOO_MANY),
            Course::Dismissing { .. } | Course::Ended => Ok(()),
        };
        self.actions.push(Action::Reply { to: from, id, result });
    }

    /// By a signal, to which nobody waits for an answer: as far as it goes.
    pub(super) fn scale_by(&mut self, now: Instant, by: i32) {
        let (count, most) = (self.places.count(), self.policy.most_workers);
        let wanted = i32::from(count).saturating_add(by).clamp(1, i32::from(most.max(1)));
        match u16::try_from(wanted) {
            // What is asked for otherwise goes on undisturbed.
            Ok(wanted) if wanted == count => {}
            // A cluster that stops is not scaled.
            Ok(wanted) => drop(self.scale(now, wanted)),
            Err(_) => {}
        }
    }

    fn scale(&mut self, now: Instant, to: u16) -> Result<Awaits, CommandError> {
        let limit = self.policy.most_workers;
        if !self.is_serving() {
            return Err(CommandError::Stopping);
        }
        if to == 0 {
            return Err(CommandError::NoWorkers);
        }
        if to > limit {
            return Err(CommandError::TooManyWorkers { asked: to.into(), limit: limit.into() });
        }
        let from = self.places.count();
        let (mut rising, mut falling) = self.supersede();
        rising.retain(|slot| slot.0 < to);
        rising.extend((from..to).map(Slot));
        if to != from {
            self.places.resize(now, to);
            self.actions.push(Action::Resize { slots: to });
            self.tell(Event::Scaled { from, to });
            falling.extend(self.drain_given_up(now));
            self.settle(|awaits| match awaits {
                Awaits::Successor { slot, .. } if slot.0 >= to => {
                    Some(Err(CommandError::NoSuchSlot { slot: *slot, slots: to }))
                }
                Awaits::Successor { .. } | Awaits::Scale { .. } => None,
            });
            // Those that are left may all be ready already.
            self.see_all_ready();
        }
        Ok(Awaits::Scale { rising, falling })
    }

    /// Ends an earlier `Scale`; what it waited for the later one has to wait for too.
    fn supersede(&mut self) -> (BTreeSet<Slot>, BTreeSet<WorkerId>) {
        let mut left = (BTreeSet::new(), BTreeSet::new());
        self.settle(|awaits| match awaits {
            Awaits::Scale { rising, falling } => {
                left.0.append(rising);
                left.1.append(falling);
                Some(Err(CommandError::Superseded))
            }
            Awaits::Successor { .. } => None,
        });
        left
    }

    /// Tells the workers of slots that are no more to drain.
    fn drain_given_up(&mut self, now: Instant) -> Vec<WorkerId> {
        let slots = self.places.count();
        let given_up = |seat| matches!(seat, Seat::Slot(slot) if slot.0 >= slots);
        let of_those = self.workers().filter(|(_, member)| given_up(member.seat));
        let workers: Vec<WorkerId> = of_those.map(|(worker, _)| worker).collect();
        for worker in &workers {
            self.see_off(now, PeerId::Worker(*worker), Leave::Scaled);
        }
        workers
    }

    fn serving_holders(&self) -> BTreeMap<Slot, u64> {
        let holders = self.places.all().filter_map(|(seat, place)| match (seat, place.holder) {
            (Seat::Slot(slot), Holder::Member(PeerId::Worker(id))) => Some((slot, id)),
            (Seat::Slot(_), Holder::Member(PeerId::Director(_)) | Holder::Waiting(_) | Holder::Vacant)
            | (Seat::Director, _) => None,
        });
        let serves = |id: &WorkerId| {
            self.members.get(&PeerId::Worker(*id)).is_some_and(|member| member.phase == Phase::Serving)
        };
        holders.filter(|(_, id)| serves(id)).map(|(slot, id)| (slot, id.0)).collect()
    }

    fn restart(&mut self, now: Instant, slot: Slot) -> Result<Awaits, CommandError> {
        if !self.is_serving() {
            return Err(CommandError::Stopping);
        }
        let slots = self.places.count();
        let last = self.last_worker;
        let place = self.places.get_mut(Seat::Slot(slot)).ok_or(CommandError::NoSuchSlot { slot, slots })?;
        // Whoever comes after the one that is there: its successor may have been made already.
        let of = match place.holder {
            Holder::Member(PeerId::Worker(worker)) => worker.0,
            Holder::Member(PeerId::Director(_)) | Holder::Waiting(_) | Holder::Vacant => last,
        };
        match place.holder {
            // It has crashed and waits, or is not replaced by itself: now it is.
            Holder::Waiting(_) | Holder::Vacant => place.holder = Holder::Waiting(now),
            Holder::Member(peer) => match self.members.get(&peer).map(|member| &member.phase) {
                Some(
                    Phase::Forking { .. } | Phase::Booting { .. } | Phase::Serving | Phase::Asking { .. },
                ) => self.replace(now, peer, Leave::Restart),
                // It is on its way out.
                Some(
                    Phase::Draining { .. }
                    | Phase::Parting { .. }
                    | Phase::Leaving { .. }
                    | Phase::Dumping { .. }
                    | Phase::Killed { .. },
                )
                | None => place.holder = Holder::Waiting(now),
            },
        }
        Ok(Awaits::Successor { slot, of })
    }

    pub(super) fn commands_see_ready(&mut self, worker: WorkerId, slot: Slot) {
        self.settle(|awaits| match awaits {
            Awaits::Scale { rising, .. } => {
                rising.remove(&slot);
                None
            }
            Awaits::Successor { slot: awaited, of } => (*awaited == slot && worker.0 > *of).then_some(Ok(())),
        });
    }

    /// A worker has ended; `told` says how.
    pub(super) fn commands_see_end(&mut self, worker: WorkerId, slot: Slot, member: &Member, told: &str) {
        // One that was told to leave before it was ready has not failed; its successor is waited for.
        let turned_away = matches!(member.phase, Phase::Killed { why: Killed::Stop, .. });
        let failed = !member.told.ready
            && !turned_away
            && !matches!(
                member.leave,
                Some(Leave::Restart | Leave::Reload | Leave::Recycled | Leave::Scaled)
            );
        let why = || CommandError::SuccessorFailed { why: told.to_owned() };
        self.settle(|awaits| match awaits {
            Awaits::Scale { rising, falling } => {
                falling.remove(&worker);
                (failed && rising.contains(&slot)).then(|| Err(why()))
            }
            Awaits::Successor { slot: awaited, of } => {
                (failed && *awaited == slot && worker.0 > *of).then(|| Err(why()))
            }
        });
    }

    /// The cluster stops: nothing else will happen.
    pub(super) fn commands_stop(&mut self) {
        self.settle(|_| Some(Err(CommandError::Stopping)));
    }

    /// All workers have ended.
    pub(super) fn commands_are_stopped(&mut self) {
        self.commands_stop();
        let stops = std::mem::take(&mut self.commands.stops);
        self.actions.extend(stops.into_iter().map(|(to, id)| Action::Reply { to, id, result: Ok(()) }));
    }

    /// Answers what `judge` says, and what waits for nothing any more.
    fn settle(&mut self, mut judge: impl FnMut(&mut Awaits) -> Option<Result<(), CommandError>>) {
        let replies = self.commands.settle(|awaits| {
            judge(awaits).or_else(|| match awaits {
                Awaits::Scale { rising, falling } => {
                    (rising.is_empty() && falling.is_empty()).then_some(Ok(()))
                }
                Awaits::Successor { .. } => None,
            })
        });
        self.actions.extend(replies);
    }
}
