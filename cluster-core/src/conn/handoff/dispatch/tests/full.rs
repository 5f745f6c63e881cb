//! What becomes of the offers of a worker that has its fill.
use std::cell::Cell;

use crate::conn::handoff::dispatch::*;
use crate::id::WorkerId;

const A: PeerId = PeerId::Worker(WorkerId(1));
const B: PeerId = PeerId::Worker(WorkerId(2));

/// Who has no room.
#[derive(Default)]
struct Full(Cell<Option<PeerId>>);

impl Loads for Full {
    fn open(&self, _: PeerId) -> u64 {
        0
    }

    fn is_full(&self, peer: PeerId) -> bool {
        self.0.get() == Some(peer)
    }
}

fn two_workers() -> Dispatch<u32> {
    let mut dispatch = Dispatch::new(vec![Some(Scheduling::RoundRobin)]);
    for peer in [A, B] {
        dispatch.join(peer);
        dispatch.is_here(peer);
    }
    dispatch
}

fn offer(dispatch: &mut Dispatch<u32>, connection: u32, now: Instant, full: &Full) -> Option<Placed> {
    dispatch.add(Accepted { connection, listener: 0 });
    dispatch.place(now, full)
}

#[test]
fn what_a_full_worker_was_offered_goes_to_one_that_has_room() {
    let (mut dispatch, full, now) = (two_workers(), Full::default(), Instant::now());
    let first = offer(&mut dispatch, 1, now, &full).unwrap();
    let second = offer(&mut dispatch, 2, now, &full).unwrap();
    assert_eq!((first.peer, second.peer), (A, B));
    full.0.set(Some(A));
    // B is busy, and has places all the same.
    let overdue = dispatch.overdue(now + PATIENCE, &full);
    assert_eq!(overdue, [first]);
    dispatch.revoked(first);
    assert_eq!(dispatch.place(now, &full).map(|placed| placed.peer), Some(B));
}

#[test]
fn where_all_are_full_nothing_is_offered_and_nobody_looks_again() {
    let (mut dispatch, full, now) = (two_workers(), Full::default(), Instant::now());
    dispatch.leave(B);
    let placed = offer(&mut dispatch, 1, now, &full).unwrap();
    full.0.set(Some(A));
    assert!(!dispatch.has_room(0, &full), "the primary stops accepting");
    assert_eq!(dispatch.overdue(now + PATIENCE, &full), [placed]);
    dispatch.revoked(placed);
    assert_eq!(dispatch.place(now, &full), None);
    assert_eq!(dispatch.overdue(now + 2 * PATIENCE, &full), []);
    assert_eq!(dispatch.look_at(), None);
    // It tells when it has room, and has the one that waits.
    full.0.set(None);
    dispatch.is_here(A);
    assert_eq!(dispatch.place(now, &full).map(|placed| placed.peer), Some(A));
    assert!(dispatch.has_room(0, &full));
}

#[test]
fn those_for_whom_there_is_nobody_can_be_refused() {
    let (mut dispatch, full, now) = (two_workers(), Full::default(), Instant::now());
    dispatch.leave(A);
    full.0.set(Some(B));
    assert_eq!(offer(&mut dispatch, 7, now, &full), None);
    assert!(dispatch.has_homeless());
    assert_eq!(dispatch.take_homeless(), [Accepted { connection: 7, listener: 0 }]);
    assert!(!dispatch.has_homeless());
}
