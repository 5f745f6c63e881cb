//! What has happened since the cluster began, and what workers that are gone have counted: so that a sum never falls.
//! It decides nothing.
use std::collections::BTreeMap;

use crate::event::{ConnectionCounts, Event, ExitReason, Status, WorkerState, WorkerStatus};
use crate::id::{Slot, WorkerId};
use crate::metrics::{EXITS, Newest, SlotSurvey, Whole};

/// What a worker's page says of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) connections: ConnectionCounts,
    pub(crate) requests: u64,
    pub(crate) in_flight: u64,
    /// In nanoseconds.
    pub(crate) loop_delay: Option<u64>,
    /// In bytes.
    pub(crate) private_memory: Option<u64>,
    /// It takes no connection.
    pub(crate) is_full: bool,
}

#[derive(Debug)]
pub(crate) struct Past {
    whole: Whole,
    slots: BTreeMap<Slot, Gone>,
    workers: BTreeMap<WorkerId, Known>,
}

/// What is left of a slot's workers.
#[derive(Debug, Default)]
struct Gone {
    births: u64,
    totals: Totals,
}

/// A worker that there is.
#[derive(Debug)]
struct Known {
    slot: Slot,
    started: u64,
    /// The most that was read of each.
    totals: Totals,
}

/// What only rises.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    connections: ConnectionCounts,
    requests: u64,
}

impl Past {
    /// `now` is in milliseconds since 1970, here and below.
    pub(crate) fn new(now: u64) -> Self {
        let whole = Whole { started: now, ..Whole::default() };
        Self { whole, slots: BTreeMap::new(), workers: BTreeMap::new() }
    }

    pub(crate) fn happened(&mut self, now: u64, event: &Event) {
        match event {
            Event::WorkerStarted { worker, slot, .. } => {
                self.slots.entry(*slot).or_default().births += 1;
                let known = Known { slot: *slot, started: now, totals: Totals::default() };
                self.workers.insert(*worker, known);
            }
            Event::WorkerExited(exit) => self.whole.exits[place(&exit.reason)] += 1,
            Event::DirectorExited { .. } => self.whole.director_exits += 1,
            Event::ForkServerLost { .. } => self.whole.fork_servers_lost += 1,
            Event::Reloaded { .. } => self.whole.reloads += 1,
            Event::ReloadFailed { .. } => self.whole.failed_reloads += 1,
            _ => {}
        }
    }

    /// A worker's process has ended: this its page said at last.
    pub(crate) fn ended(&mut self, worker: WorkerId, last: &Reading) {
        if let Some(mut known) = self.workers.remove(&worker) {
            known.totals.saw(last);
            let gone = self.slots.entry(known.slot).or_default();
            gone.totals = gone.totals.plus(known.totals);
        }
    }

    /// How the cluster stands, with what its workers' pages say.
    pub(crate) fn survey(
        &mut self,
        status: &Status,
        read: impl Fn(WorkerId) -> Option<Reading>,
    ) -> (Whole, Vec<SlotSurvey>) {
        let Status { generation, slots, stopping, .. } = *status;
        let whole = Whole { generation, wanted: slots, stopping, ..self.whole };
        let mut surveys: BTreeMap<Slot, SlotSurvey> =
            (0..slots).map(Slot).map(|slot| (slot, empty(slot))).collect();
        for (slot, gone) in &self.slots {
            let survey = surveys.entry(*slot).or_insert_with(|| empty(*slot));
            survey.restarts = gone.births.saturating_sub(1);
            survey.add(gone.totals);
        }
        for worker in &status.workers {
            let survey = surveys.entry(worker.slot).or_insert_with(|| empty(worker.slot));
            let reading = read(worker.id).unwrap_or_default();
            survey.show(worker, &reading);
            if let Some(known) = self.workers.get_mut(&worker.id) {
                known.totals.saw(&reading);
                survey.add(known.totals);
                // By their numbers: the last is the newest.
                survey.newest = Some(Newest { generation: worker.generation, started: known.started });
            }
        }
        (whole, surveys.into_values().collect())
    }
}

impl Totals {
    /// Never less than before: a page that is garbage must not make a sum fall.
    fn saw(&mut self, reading: &Reading) {
        let (known, new) = (self.connections, reading.connections);
        self.connections = ConnectionCounts {
            open: 0,
            total: known.total.max(new.total),
            offered: known.offered.max(new.offered),
            claimed: known.claimed.max(new.claimed),
            revoked: known.revoked.max(new.revoked),
            rings: known.rings.max(new.rings),
        };
        self.requests = self.requests.max(reading.requests);
    }

    fn plus(self, other: Self) -> Self {
        Self {
            connections: self.connections.plus(other.connections),
            requests: self.requests.saturating_add(other.requests),
        }
    }
}

impl SlotSurvey {
    fn add(&mut self, Totals { connections, requests }: Totals) {
        self.connections = self.connections.plus(connections);
        self.requests = self.requests.saturating_add(requests);
    }

    /// What is so at the moment.
    fn show(&mut self, worker: &WorkerStatus, reading: &Reading) {
        match worker.state {
            WorkerState::Starting => self.starting += 1,
            WorkerState::Serving => {
                self.serving += 1;
                self.full += u32::from(reading.is_full);
            }
            WorkerState::Draining => self.draining += 1,
        }
        let open = ConnectionCounts { open: reading.connections.open, ..ConnectionCounts::default() };
        self.connections = self.connections.plus(open);
        self.in_flight = self.in_flight.saturating_add(reading.in_flight);
        self.loop_delay = self.loop_delay.max(reading.loop_delay);
        self.private_memory = match (self.private_memory, reading.private_memory) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
    }
}

fn empty(slot: Slot) -> SlotSurvey {
    SlotSurvey { slot: slot.0, ..SlotSurvey::default() }
}

/// Where a reason is in [`EXITS`].
fn place(reason: &ExitReason) -> usize {
    let name = match reason {
        ExitReason::Finished => "finished",
        ExitReason::Stopped => "stopped",
        ExitReason::Recycled => "recycled",
        ExitReason::BootFailed(_) => "boot_failed",
        ExitReason::Crashed => "crashed",
        ExitReason::Hung => "hung",
        ExitReason::BootTimeout => "boot_timeout",
        ExitReason::DrainTimeout => "drain_timeout",
        ExitReason::Superseded => "superseded",
        ExitReason::Garbled(_) => "garbled",
    };
    EXITS.iter().position(|known| *known == name).expect("every reason is listed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(worker: u64, slot: u16) -> Event {
        Event::WorkerStarted { worker: WorkerId(worker), slot: Slot(slot), pid: 1, generation: 1 }
    }

    fn status(slots: u16, workers: &[(u64, u16, WorkerState)]) -> Status {
        let worker = |&(id, slot, state): &(u64, u16, WorkerState)| WorkerStatus {
            id: WorkerId(id),
            slot: Slot(slot),
            pid: 1,
            generation: id,
            state,
            connections: ConnectionCounts::default(),
            private_memory: None,
        };
        Status { slots, generation: 2, workers: workers.iter().map(worker).collect(), ..Status::default() }
    }

    fn reading(requests: u64, open: u64) -> Reading {
        let connections = ConnectionCounts { open, total: requests, ..ConnectionCounts::default() };
        Reading { connections, requests, private_memory: Some(100), ..Reading::default() }
    }

    #[test]
    fn a_sum_has_what_workers_that_are_gone_have_counted() {
        let mut past = Past::new(5);
        past.happened(10, &started(1, 0));
        past.ended(WorkerId(1), &reading(7, 3));
        past.happened(20, &started(2, 0));
        let status = status(1, &[(2, 0, WorkerState::Serving)]);
        let (whole, slots) = past.survey(&status, |_| Some(reading(2, 1)));
        assert_eq!((whole.started, whole.wanted, whole.generation), (5, 1, 2));
        let [slot] = slots[..] else { panic!("{slots:?}") };
        assert_eq!((slot.requests, slot.connections.total, slot.connections.open), (9, 9, 1));
        assert_eq!((slot.restarts, slot.serving), (1, 1));
        assert_eq!(slot.newest, Some(Newest { generation: 2, started: 20 }));
    }

    #[test]
    fn a_page_that_is_garbage_makes_no_sum_fall() {
        let mut past = Past::new(0);
        past.happened(0, &started(1, 0));
        let status = status(1, &[(1, 0, WorkerState::Serving)]);
        past.survey(&status, |_| Some(reading(9, 0)));
        let (_, slots) = past.survey(&status, |_| Some(reading(4, 0)));
        assert_eq!(slots[0].requests, 9);
        past.ended(WorkerId(1), &reading(u64::MAX, 0));
        past.happened(0, &started(2, 0));
        past.ended(WorkerId(2), &reading(u64::MAX, 0));
        let (_, slots) = past.survey(&self::status(1, &[]), |_| None);
        assert_eq!(slots[0].requests, u64::MAX, "and none overflows");
    }

    #[test]
    fn a_slot_with_two_workers_shows_both_and_one_with_none_is_there_too() {
        let mut past = Past::new(0);
        for (worker, slot) in [(1, 0), (2, 0), (3, 7)] {
            past.happened(0, &started(worker, slot));
        }
        // Slot 7 was scaled away.
        past.ended(WorkerId(3), &reading(5, 0));
        let status = status(2, &[(1, 0, WorkerState::Draining), (2, 0, WorkerState::Serving)]);
        let (_, slots) = past.survey(&status, |worker| (worker.0 == 1).then(|| reading(1, 4)));
        let numbers: Vec<_> = slots.iter().map(|slot| slot.slot).collect();
        assert_eq!(numbers, [0, 1, 7]);
        assert_eq!((slots[0].serving, slots[0].draining, slots[0].connections.open), (1, 1, 4));
        assert_eq!(slots[0].private_memory, Some(100));
        assert_eq!((slots[1].requests, slots[1].newest, slots[1].private_memory), (0, None, None));
        assert_eq!((slots[2].requests, slots[2].restarts), (5, 0));
    }

    #[test]
    fn each_reason_has_a_place_of_its_own() {
        let reasons = [
            ExitReason::Finished,
            ExitReason::Stopped,
            ExitReason::Recycled,
            ExitReason::BootFailed(String::new()),
            ExitReason::Crashed,
            ExitReason::Hung,
            ExitReason::BootTimeout,
            ExitReason::DrainTimeout,
            ExitReason::Superseded,
            ExitReason::Garbled(String::new()),
        ];
        assert_eq!(reasons.iter().map(place).collect::<Vec<_>>(), (0..EXITS.len()).collect::<Vec<_>>());
    }
}
