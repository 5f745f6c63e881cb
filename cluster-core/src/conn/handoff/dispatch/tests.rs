//! Random schedules of the claim protocol: whatever workers do, each connection is sent exactly once.
mod table;
mod world;

use super::*;
use crate::conn::handoff::dispatch::tests::world::World;

/// Schedules in an ordinary run, of each kind: 10,200 in all.
const SCHEDULES: u64 = 3_400;

#[test]
fn whatever_workers_do_each_connection_is_sent_to_exactly_one() {
    for scheduling in [Scheduling::RoundRobin, Scheduling::LeastConnections] {
        for seed in 0..SCHEDULES {
            let mut world = World::new(seed, scheduling);
            for _ in 0..60 {
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
        for _ in 0..60 {
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
