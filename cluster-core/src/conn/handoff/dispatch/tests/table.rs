//! Whom the primary offers a connection, by table.
use std::collections::BTreeMap;
use std::time::Instant;

use crate::conn::handoff::dispatch::{Accepted, Dispatch, Loads, PATIENCE, Placed};
use crate::conn::handoff::offer::MOST;
use crate::id::{PeerId, WorkerId};
use crate::scheduling::Scheduling;

/// Open connections of the workers; whoever is not in here is full.
type Opened = BTreeMap<PeerId, u64>;

impl Loads for Opened {
    fn open(&self, peer: PeerId) -> u64 {
        self.get(&peer).copied().unwrap_or(0)
    }

    fn is_full(&self, peer: PeerId) -> bool {
        !self.contains_key(&peer)
    }
}

fn worker(number: u64) -> PeerId {
    PeerId::Worker(WorkerId(number))
}

/// With workers 1 to `count`, who are there.
fn among(count: u64, scheduling: Scheduling) -> (Dispatch<u32>, Opened, Instant) {
    with_listeners(vec![Some(scheduling)], count)
}

fn with_listeners(schedulings: Vec<Option<Scheduling>>, count: u64) -> (Dispatch<u32>, Opened, Instant) {
    let mut dispatch = Dispatch::new(schedulings);
    for number in 1..=count {
        dispatch.join(worker(number));
        dispatch.is_here(worker(number));
    }
    (dispatch, (1..=count).map(|number| (worker(number), 0)).collect(), Instant::now())
}

fn add(dispatch: &mut Dispatch<u32>, connections: impl IntoIterator<Item = u32>) {
    connections.into_iter().for_each(|connection| dispatch.add(Accepted { connection, listener: 0 }));
}

/// Places all that can be placed; answers with to whom.
fn place(dispatch: &mut Dispatch<u32>, now: Instant, loads: &Opened) -> Vec<Placed> {
    std::iter::from_fn(|| dispatch.place(now, loads)).collect()
}

fn peers(placed: &[Placed]) -> Vec<PeerId> {
    placed.iter().map(|placed| placed.peer).collect()
}

#[test]
fn round_robin_goes_round() {
    let (mut dispatch, loads, now) = among(3, Scheduling::RoundRobin);
    add(&mut dispatch, 0..7);
    let wanted: Vec<PeerId> = [1, 2, 3, 1, 2, 3, 1].map(worker).into();
    assert_eq!(peers(&place(&mut dispatch, now, &loads)), wanted);
}

#[test]
fn the_fewest_are_those_open_and_those_offered() {
    let (mut dispatch, mut loads, now) = among(3, Scheduling::LeastConnections);
    loads.insert(worker(1), 2);
    loads.insert(worker(2), 1);
    add(&mut dispatch, 0..5);
    // Among equals whoever was offered something the longest ago.
    assert_eq!(peers(&place(&mut dispatch, now, &loads)), [3, 2, 3, 1, 2].map(worker));
}

#[test]
fn no_more_is_placed_than_there_are_places() {
    let (mut dispatch, loads, now) = among(2, Scheduling::RoundRobin);
    add(&mut dispatch, 0..100);
    assert_eq!(place(&mut dispatch, now, &loads).len(), 2 * MOST);
    assert!(!dispatch.has_room(0, &loads), "nothing more is to be accepted");
    let claimed = dispatch.made_to(worker(1))[5];
    assert_eq!(dispatch.claimed(claimed).unwrap().connection, 10);
    assert_eq!(peers(&place(&mut dispatch, now, &loads)), [worker(1)]);
}

#[test]
fn a_listener_whose_offers_nobody_claims_holds_up_no_other() {
    use Scheduling::{LeastConnections, RoundRobin};
    let schedulings = vec![Some(RoundRobin), None, Some(LeastConnections), Some(RoundRobin)];
    let (mut dispatch, loads, now) = with_listeners(schedulings, 2);
    add(&mut dispatch, 0..100);
    assert_eq!(place(&mut dispatch, now, &loads).len(), 2 * (MOST - 2), "one is kept for each of the others");
    assert!(!dispatch.has_room(0, &loads));
    for listener in [2, 3] {
        assert!(dispatch.has_room(listener, &loads));
        dispatch.add(Accepted { connection: 1000, listener });
        let placed = place(&mut dispatch, now, &loads)[0];
        assert!(dispatch.claimed(placed).is_some());
    }
    // They use the same places as long as there are many.
    let (mut dispatch, loads, now) = with_listeners(vec![Some(RoundRobin); 200], 1);
    for listener in 0..200 {
        dispatch.add(Accepted { connection: 1, listener });
    }
    assert_eq!(place(&mut dispatch, now, &loads).len(), MOST);
}

#[test]
fn nobody_is_offered_anything_who_is_new_full_or_retired() {
    let (mut dispatch, mut loads, now) = among(3, Scheduling::RoundRobin);
    dispatch.join(worker(4));
    loads.insert(worker(4), 0);
    loads.remove(&worker(1));
    dispatch.retire(worker(2));
    dispatch.is_here(worker(2));
    add(&mut dispatch, 0..3);
    assert_eq!(peers(&place(&mut dispatch, now, &loads)), [worker(3); 3]);
}

#[test]
fn what_nobody_claims_goes_to_whoever_is_idle_and_only_then() {
    let (mut dispatch, loads, now) = among(2, Scheduling::RoundRobin);
    add(&mut dispatch, 0..2);
    let placed = place(&mut dispatch, now, &loads);
    let late = now + PATIENCE;
    assert!(dispatch.overdue(late - PATIENCE / 2, &loads).is_empty(), "it is early");
    assert!(dispatch.overdue(late, &loads).is_empty(), "both are busy");
    dispatch.claimed(placed[1]).unwrap();
    let again = dispatch.look_at().unwrap();
    assert!(again <= late + PATIENCE, "it is looked at again soon");
    assert_eq!(dispatch.overdue(again, &loads), [placed[0]]);
    dispatch.revoked(placed[0]);
    assert_eq!(peers(&place(&mut dispatch, again, &loads)), [worker(2)]);
    // It is silent: nothing until it says that it is there.
    add(&mut dispatch, [9]);
    assert_eq!(peers(&place(&mut dispatch, again, &loads)), [worker(2)]);
    dispatch.is_here(worker(1));
    add(&mut dispatch, [9]);
    assert_eq!(peers(&place(&mut dispatch, again, &loads)), [worker(1)]);
}

#[test]
fn what_a_worker_that_is_gone_had_is_offered_to_others() {
    let (mut dispatch, loads, now) = among(2, Scheduling::RoundRobin);
    add(&mut dispatch, 0..4);
    let placed = place(&mut dispatch, now, &loads);
    dispatch.leave(worker(1));
    assert_eq!(peers(&place(&mut dispatch, now, &loads)), [worker(2); 2]);
    assert!(dispatch.claimed(placed[0]).is_none(), "its claim is worth nothing now");
}

#[test]
fn with_nobody_there_it_is_kept_for_who_comes() {
    let (mut dispatch, mut loads, now) = among(1, Scheduling::RoundRobin);
    add(&mut dispatch, 0..3);
    place(&mut dispatch, now, &loads);
    dispatch.leave(worker(1));
    assert!(place(&mut dispatch, now, &loads).is_empty());
    dispatch.join(worker(2));
    dispatch.is_here(worker(2));
    loads.insert(worker(2), 0);
    assert_eq!(place(&mut dispatch, now, &loads).len(), 3);
}
