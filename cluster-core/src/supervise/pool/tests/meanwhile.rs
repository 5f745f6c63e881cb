//! What happens while a reload is under way: others, a stop, a scaling.
use super::rollouts::{HEALTH, forking};
use super::*;

#[test]
fn reloads_during_a_reload_are_one_more() {
    let mut bench = forking(1, true);
    bench.command(1, Command::Reload);
    bench.command(2, Command::Reload);
    bench.reload();
    bench.command(3, Command::Reload);
    assert_eq!(bench.opened, [2]);
    bench.say(Input::NotOpened { generation: 2, why: "half written".into() });
    assert_eq!((bench.reloads().len(), &bench.opened[..]), (1, &[2, 3][..]));
    bench.found_sound(3);
    bench.boot_last();
    assert_eq!(bench.reloads()[1..], [(2, Ok(())), (3, Ok(()))]);
    assert_eq!(bench.opened, [2, 3]);
}

#[test]
fn three_generations_may_drain_and_the_oldest_makes_room() {
    let mut bench = forking(1, false);
    for generation in 2..=4 {
        bench.reload();
        bench.found_sound(generation);
    }
    assert!(bench.killed.is_empty(), "generations 1 to 3 drain");
    bench.reload();
    bench.found_sound(5);
    assert_eq!(bench.killed, [worker(1)]);
    bench.exit(worker(1), KILLED);
    assert_eq!(bench.last_exit().reason, ExitReason::Superseded);
}

#[test]
fn a_stop_ends_a_reload_and_everybody() {
    let mut bench = forking(2, true);
    bench.command(1, Command::Reload);
    bench.up(2);
    bench.command(2, Command::Reload);
    bench.say(Input::Stop);
    assert_eq!(bench.reloads(), [(2, Err(ReloadError::Stopping)), (1, Err(ReloadError::Stopping))]);
    assert_eq!(bench.failures(), ["the cluster stops"]);
    bench.command(3, Command::Reload);
    assert_eq!(bench.reloads()[2..], [(3, Err(ReloadError::Stopping))]);
    for id in 1..=3 {
        bench.say(Input::Born { peer: worker(id), pid: 1 });
        bench.exit(worker(id), 0);
    }
    assert!(bench.dismissed());
}

#[test]
fn a_slot_that_is_given_up_meanwhile_is_not_waited_for() {
    let mut bench = forking(3, true);
    bench.reload();
    bench.found_sound(2);
    bench.command(1, Command::Scale { workers: 1 });
    assert_eq!(bench.spawned.last(), Some(&(PeerId::Director(2), Seat::Director)), "the slots are done");
    bench.boot_last();
    assert_eq!(bench.reloaded(), 1);
}

#[test]
fn slots_that_nobody_has_are_filled_by_the_new_generation() {
    let restart = Restart::never();
    let mut bench = Bench::new(Policy { restart, ..policy(2) });
    bench.boot_all();
    bench.exit(worker(2), CODE_1);
    bench.reload();
    bench.say(Input::Opened { generation: 2 });
    bench.boot_last();
    bench.pass(HEALTH);
    assert_eq!(bench.spawned.last().map(|(_, seat)| *seat), Some(seat(1)));
    assert_eq!(bench.reloaded(), 0, "it has still to come");
    bench.boot_last();
    assert_eq!((bench.reloaded(), bench.generations()), (1, vec![2, 2]));
}
