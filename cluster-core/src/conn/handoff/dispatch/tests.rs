//! Random schedules of the claim protocol: whatever workers do, each connection is sent exactly once.
mod full;
mod table;
mod world;

use super::*;
use crate::conn::handoff::dispatch::tests::world::World;
use crate::id::WorkerId;

/// Nobody is full, and all have the same.
struct Equal;

impl Loads for Equal {
    fn open(&self, _: PeerId) -> u64 {
        0
    }

    fn is_full(&self, _: PeerId) -> bool {
        false
    }
}

#[test]
fn what_a_blocked_worker_was_offered_goes_to_one_that_is_never_idle_but_gets_on() {
    let (blocked, busy) = (PeerId::Worker(WorkerId(1)), PeerId::Worker(WorkerId(2)));
    let mut dispatch = Dispatch::new(vec![Some(Scheduling::RoundRobin)]);
    for peer in [blocked, busy] {
        dispatch.join(peer);
        dispatch.is_here(peer);
    }
    let (begun, mut came) = (Instant::now(), 0);
    for millis in 0..=(STALL + 2 * PATIENCE).as_millis() as u64 {
        let now = begun + Duration::from_millis(millis);
        // Eight come each millisecond; one serves one of them, and its places are soon taken.
        for _ in 0..8 {
            came += 1;
            dispatch.add(Accepted { connection: came, listener: 0 });
        }
        while dispatch.place(now, &Equal).is_some() {}
        let first = dispatch.made_to(busy)[0];
        assert!(dispatch.claimed(first).is_some());
        for placed in dispatch.overdue(now, &Equal) {
            assert_eq!(placed.peer, blocked, "the other gets on");
            dispatch.revoked(placed);
        }
    }
    assert!(dispatch.made_to(blocked).is_empty());
    dispatch.is_here(blocked);
    let oldest = dispatch.homeless.iter().map(|accepted| accepted.connection).min();
    let next = dispatch.place(begun + STALL, &Equal).unwrap();
    assert_eq!(next.peer, blocked);
    // They are offered again in the order in which they came.
    assert_eq!(dispatch.claimed(next).map(|accepted| accepted.connection), oldest);
}

/// Schedules in an ordinary run, of each kind: 10,200 in all.
const SCHEDULES: u64 = 3_400;

#[test]
fn whatever_workers_do_each_connection_is_sent_to_exactly_one() {
    for scheduling in [Scheduling::RoundRobin, Scheduling::LeastConnections] {
        for seed in 0..SCHEDULES {
            let mut world = World::new(seed, scheduling);
            for _ in 0..40 {
                world.step();
                world.check();
            }
            world.be_kind();
            world.check();
            world.all_are_served();
            world.everybody_is_offered_something();
        }
    }
}

#[test]
fn whatever_workers_do_an_end_serves_what_was_accepted() {
    for seed in 0..SCHEDULES {
        let mut world = World::new(seed, Scheduling::RoundRobin);
        for _ in 0..40 {
            world.step();
        }
        world.close();
        for _ in 0..10 {
            world.step();
            world.check();
        }
        world.be_kind();
        world.check();
        world.all_are_served();
    }
}
