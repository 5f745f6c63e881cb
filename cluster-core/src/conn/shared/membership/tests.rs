//! The wait set in a pretended kernel, on virtual time: nobody waits for long while a worker is idle.
mod kernel;
mod world;

use crate::conn::shared::membership::tests::world::{Disturbances, World};

/// Schedules in an ordinary run; each is some 400 ms long.
const SCHEDULES: u64 = 700;

fn run(seed: u64, disturbances: Disturbances) -> World {
    let mut world = World::new(seed, disturbances);
    for tick in 0..4_000 {
        world.disturb(tick);
        world.tick();
        world.check();
    }
    world.calm_down();
    world.check_end();
    world
}

#[test]
fn nobody_waits_for_100_ms_while_a_worker_is_idle_whoever_joins_leaves_stalls_and_dies() {
    let mut served = 0;
    for seed in 0..SCHEDULES {
        served += run(seed, Disturbances::All).served();
    }
    assert!(served > 10 * SCHEDULES, "under load: {served}");
}

#[test]
fn nobody_waits_for_10_ms_where_loops_are_blocked_and_nobody_dies() {
    for seed in 0..SCHEDULES {
        run(seed, Disturbances::BlockedLoops);
    }
}
