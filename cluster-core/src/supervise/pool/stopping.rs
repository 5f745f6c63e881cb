//! The end of the cluster: workers first, then the director.
use std::time::{Duration, Instant};

use crate::event::{Event, Leave};
use crate::id::PeerId;
use crate::program::DIRECTOR_DRAIN;
use crate::supervise::input::{Action, Verdict};
use crate::supervise::member::{DRAIN_GRACE, DYING, Killed, Phase};
use crate::supervise::nursery::FORK_TIMEOUT;
use crate::supervise::pool::Pool;
use crate::supervise::pool::place::Holder;

/// What is not ready when the cluster stops serves nobody; so long it may take to leave by itself.
pub(super) const UNREADY_DRAIN: Duration = Duration::from_secs(1);

/// Where the cluster is heading.
#[derive(Debug, Clone)]
pub(super) enum Course {
    Serving,
    /// Workers leave; the drain timeout ends then.
    Stopping {
        verdict: Verdict,
        until: Instant,
    },
    /// No worker is left: the director leaves.
    Dismissing {
        verdict: Verdict,
    },
    Ended,
}

impl Pool {
    pub(super) fn stop(&mut self, now: Instant, verdict: Verdict) {
        if !self.is_serving() {
            return;
        }
        let asked = verdict == Verdict::Stopped && !self.members.is_empty();
        self.course = Course::Stopping { verdict, until: now + self.policy.drain_timeout };
        self.tell(Event::Stopping { connections: 0, asked });
        self.commands_stop();
        self.reloads_stop();
        self.places.close();
        let peers: Vec<PeerId> = self.members.keys().copied().collect();
        for peer in peers {
            match peer {
                PeerId::Worker(_) => self.stop_worker(now, peer),
                PeerId::Director(_) => self.keep_director(now, peer),
            }
        }
    }

    fn stop_worker(&mut self, now: Instant, peer: PeerId) {
        let Some(member) = self.members.get(&peer) else { return };
        let patience = match member.phase {
            Phase::Serving | Phase::Asking { .. } => self.policy.drain_timeout + DRAIN_GRACE,
            Phase::Forking { .. } | Phase::Booting { .. } => UNREADY_DRAIN,
            Phase::Draining { .. } => {
                // It has its deadline; what is new is that nobody will serve the queue.
                self.actions.push(Action::Drain { peer, close_queue: true });
                return;
            }
            Phase::Parting { .. } | Phase::Leaving { .. } | Phase::Dumping { .. } | Phase::Killed { .. } => {
                return;
            }
        };
        self.drain(peer, now + patience, Leave::Stop, true);
    }

    /// It hears the workers to their end, also where the signal that stops the cluster went to it too.
    fn keep_director(&mut self, now: Instant, peer: PeerId) {
        let Some(member) = self.members.get_mut(&peer) else { return };
        match member.phase {
            Phase::Asking { .. } => {
                member.phase = if member.told.ready {
                    Phase::Serving
                } else {
                    Phase::Booting { until: now + self.policy.boot_timeout }
                };
                self.actions.push(Action::Stay { peer });
            }
            Phase::Forking { .. }
            | Phase::Booting { .. }
            | Phase::Serving
            | Phase::Draining { .. }
            | Phase::Parting { .. }
            | Phase::Leaving { .. }
            | Phase::Dumping { .. }
            | Phase::Killed { .. } => {}
        }
    }

    /// The workers have ended, and their exits are told: now the director leaves.
    pub(super) fn dismiss_director(&mut self, now: Instant) {
        let Course::Stopping { verdict, until } = &self.course else { return };
        if self.workers().next().is_some() {
            return;
        }
        let until = (*until).max(now + DIRECTOR_DRAIN) + DRAIN_GRACE;
        self.course = Course::Dismissing { verdict: verdict.clone() };
        // BEFORE it is told to drain, so that the answers reach it.
        self.commands_are_stopped();
        let directors: Vec<PeerId> = self.members.keys().copied().collect();
        for peer in directors {
            match self.members.get(&peer).map(|member| &member.phase) {
                Some(Phase::Serving | Phase::Asking { .. }) => self.drain(peer, until, Leave::Stop, false),
                Some(Phase::Forking { .. } | Phase::Booting { .. }) => {
                    self.drain(peer, now + UNREADY_DRAIN, Leave::Stop, false);
                }
                Some(
                    Phase::Draining { .. }
                    | Phase::Parting { .. }
                    | Phase::Leaving { .. }
                    | Phase::Dumping { .. }
                    | Phase::Killed { .. },
                )
                | None => {}
            }
        }
    }

    pub(super) fn stop_now(&mut self, now: Instant) {
        if self.is_serving() {
            self.course = Course::Stopping { verdict: Verdict::Stopped, until: now };
            self.commands_stop();
            self.reloads_stop();
            self.places.slots.iter_mut().for_each(|place| place.holder = Holder::Vacant);
            self.places.close();
        }
        self.tell(Event::StoppingNow);
        let living: Vec<PeerId> = self.members.keys().copied().collect();
        living.into_iter().for_each(|peer| self.kill_at_once(now, peer, Killed::Stop));
    }

    pub(super) fn give_up(&mut self, now: Instant, why: String) {
        if self.is_serving() {
            self.tell(Event::GivingUp { why: why.clone() });
            self.stop(now, Verdict::GaveUp(why));
        }
    }

    /// Kills it. One that is no process yet finds that in its socket, and is killed again when it is born: a fork server
    /// that is well is left alone.
    pub(super) fn kill(&mut self, now: Instant, peer: PeerId, why: Killed) {
        let Some(member) = self.members.get_mut(&peer) else { return };
        let patience = if member.pid == 0 { FORK_TIMEOUT } else { DYING };
        member.phase = Phase::Killed { why, until: now + patience };
        self.actions.push(Action::Kill { peer });
    }

    /// Kills it, and where it is no process yet also what keeps it from being one or none: a fork server that is stuck.
    pub(super) fn kill_at_once(&mut self, now: Instant, peer: PeerId, why: Killed) {
        self.kill(now, peer, why);
        let unborn = self.members.get(&peer).filter(|member| member.pid == 0);
        if let Some(generation) = unborn.map(|member| member.generation) {
            self.kill_fork_server(now, generation);
        }
    }

    pub(super) fn end_if_over(&mut self) {
        if let Course::Dismissing { verdict } = &self.course
            && self.members.is_empty()
        {
            let verdict = verdict.clone();
            self.course = Course::Ended;
            self.tell(Event::Stopped);
            self.actions.push(Action::End(verdict));
        }
    }
}
