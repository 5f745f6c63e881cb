//! How the cluster stands, told to a process that has asked: in as many pieces as it takes. And who waits for one.
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::ipc::control::Surveyed;
use crate::metrics::Survey;

/// So many slots fit into one piece, whatever their numbers are.
const PER_PIECE: usize = 150;

/// The pieces, in order.
pub(crate) fn pieces(survey: Survey) -> Vec<Surveyed> {
    let Survey { whole, listeners, slots } = survey;
    let slots = slots.chunks(PER_PIECE).map(|some| Surveyed::Slots(some.to_vec()));
    let listeners = listeners.into_iter().map(Surveyed::Listener);
    [Surveyed::Whole(whole)].into_iter().chain(listeners).chain(slots).chain([Surveyed::End]).collect()
}

/// Who waits for which answer.
#[derive(Debug, Default)]
pub(super) struct Surveys(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    waiting: HashMap<u64, (Survey, oneshot::Sender<Survey>)>,
    /// Nobody will answer any more.
    over: bool,
}

impl Surveys {
    /// Somebody asks, under this number, where anybody will answer. Resolves to `None` where nobody does.
    pub(super) fn expect(&self) -> (Option<u64>, impl Future<Output = Option<Survey>> + Send + use<>) {
        let (tell, told) = oneshot::channel();
        let mut state = self.lock();
        // Those that nobody waits for any more: the primary is slow to answer, or stopped.
        state.waiting.retain(|_, (_, tell)| !tell.is_closed());
        let id = (!state.over).then(|| {
            state.last += 1;
            state.last
        });
        if let Some(id) = id {
            state.waiting.insert(id, (Survey::default(), tell));
        }
        (id, async move { told.await.ok() })
    }

    /// A piece of the answer has come.
    pub(super) fn hear(&self, id: u64, piece: Surveyed) {
        let mut state = self.lock();
        let Some((survey, _)) = state.waiting.get_mut(&id) else { return };
        match piece {
            Surveyed::Whole(whole) => survey.whole = whole,
            Surveyed::Listener(listener) => survey.listeners.push(listener),
            Surveyed::Slots(slots) => survey.slots.extend(slots),
            Surveyed::End => {
                let answered = state.waiting.remove(&id);
                drop(state);
                if let Some((survey, tell)) = answered {
                    let _ = tell.send(survey);
                }
            }
        }
    }

    /// Nobody will answer any more: who waits is told so.
    pub(super) fn over(&self) {
        let mut state = self.lock();
        state.over = true;
        state.waiting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::Scheduling;
    use crate::event::{ConnectionCounts, ListenerStatus};
    use crate::ipc::frame::{self, Address, Head, Kind};
    use crate::ipc::{codec, notice};
    use crate::metrics::{EXITS, Newest, SlotSurvey, Whole};

    /// With numbers that take as much room as they can.
    fn largest(slots: u16) -> Survey {
        let most = u64::MAX;
        let connections = ConnectionCounts {
            open: most,
            total: most,
            offered: most,
            claimed: most,
            revoked: most,
            rings: most,
        };
        let slot = |slot| SlotSurvey {
            slot,
            starting: u32::MAX,
            serving: u32::MAX,
            draining: u32::MAX,
            full: u32::MAX,
            restarts: most,
            newest: Some(Newest { generation: most, started: most }),
            connections,
            requests: most,
            in_flight: most,
            loop_delay: Some(most),
            private_memory: Some(most),
        };
        let listener = ListenerStatus {
            address: format!("unix:/{}", "x".repeat(4096)),
            scheduling: Scheduling::Shared,
            queued: Some(u32::MAX),
            backlog: Some(u32::MAX),
            refused: most,
        };
        let whole = Whole { started: most, exits: [most; EXITS.len()], ..Whole::default() };
        Survey { whole, listeners: vec![listener; 3], slots: (0..slots).map(slot).collect() }
    }

    /// A piece as it arrives.
    fn travel(piece: &Surveyed) -> Surveyed {
        let mut bytes = Vec::new();
        notice::write(&mut bytes, &Head::system(Kind::Survey, Address::Exchange, Address::Director), piece);
        let frame = frame::read(&bytes).unwrap().expect("it was not too long to be written");
        codec::decode(frame.body).unwrap()
    }

    #[test]
    fn the_survey_of_the_largest_cluster_arrives_whole() {
        for slots in [0, 1, 150, 151, u16::MAX] {
            let surveys = Surveys::default();
            let (id, told) = surveys.expect();
            for piece in pieces(largest(slots)) {
                surveys.hear(id.unwrap(), travel(&piece));
            }
            assert!(told.now_or_never().unwrap() == Some(largest(slots)), "{slots} slots");
        }
    }

    #[test]
    fn each_has_its_own_answer_and_none_is_waited_for_in_vain() {
        let surveys = Surveys::default();
        let ((first, told_first), (second, told_second)) = (surveys.expect(), surveys.expect());
        // A piece for nobody is passed over.
        surveys.hear(99, Surveyed::End);
        for piece in pieces(largest(2)) {
            surveys.hear(second.unwrap(), piece);
        }
        assert_eq!(told_second.now_or_never().unwrap().unwrap().slots.len(), 2);
        assert!(first.is_some());
        surveys.over();
        assert_eq!(told_first.now_or_never(), Some(None));
        let (none, told) = surveys.expect();
        assert_eq!((none, told.now_or_never()), (None, Some(None)));
    }

    #[test]
    fn who_has_given_up_takes_no_room() {
        let surveys = Surveys::default();
        for _ in 0..100 {
            drop(surveys.expect());
        }
        assert_eq!(surveys.lock().waiting.len(), 1);
    }
}
