//! A generation that was found sound and cannot take over after all.
use super::rollouts::forking;
use super::*;

#[test]
fn a_generation_that_cannot_take_over_after_all_is_rolled_back() {
    let mut bench = forking(3, true);
    bench.command(1, Command::Reload);
    bench.found_sound(2);
    for failure in 1..=3 {
        let newcomer = bench.last_spawned();
        bench.say(Input::Born { peer: newcomer, pid: 1 });
        bench.exit(newcomer, CODE_1);
        assert_eq!(bench.generations()[1..], [1, 1], "who serves is not touched");
        if failure < 3 {
            bench.pass(Duration::from_millis(100 << (failure - 1)));
        }
    }
    assert!(bench.events().any(|event| matches!(event, Event::RollingBack { generation: 1, .. })));
    assert_eq!(bench.pool.members[&bench.last_spawned()].generation, 1);
    // Whoever has asked hears of it before all are back: it may be the one who can mend it.
    assert_eq!((bench.failures().len(), bench.reloads().len()), (1, 1));
    assert!(bench.closed.is_empty(), "slot 0 has it still");
    bench.boot_last();
    assert_eq!(bench.generations(), [1, 1, 1]);
    assert_eq!((bench.failures().len(), &bench.closed[..]), (1, &[2][..]));
}

#[test]
fn a_roll_back_that_cannot_be_does_not_hold_up_the_next_reload() {
    let mut bench = forking(2, false);
    bench.reload();
    bench.found_sound(2);
    bench.fail_newcomers();
    // The old program does not start any more either: what it has prepared is another's now.
    for _ in 0..20 {
        bench.say(Input::Stillborn { peer: bench.last_spawned(), error: "another schema".into() });
        bench.pass(Duration::from_secs(60));
    }
    assert_eq!((bench.generations(), bench.failures().len()), (vec![2, 1], 1));
    bench.reload();
    assert_eq!((&bench.opened[..], &bench.closed[..]), (&[2, 3][..], &[2][..]));
    bench.found_sound(3);
    bench.boot_last();
    assert_eq!((bench.generations(), bench.reloaded()), (vec![3, 3], 1));
}

#[test]
fn a_reload_that_fails_during_a_roll_back_leaves_that_to_go_on() {
    let mut bench = forking(2, false);
    bench.reload();
    bench.found_sound(2);
    bench.fail_newcomers();
    bench.reload();
    bench.say(Input::NotOpened { generation: 3, why: "no file".into() });
    bench.boot_last();
    assert_eq!((bench.generations(), bench.failures().len()), (vec![1, 1], 2));
}

#[test]
fn a_generation_whose_fork_server_is_lost_again_and_again_is_rolled_back() {
    let mut bench = forking(2, false);
    bench.reload();
    bench.found_sound(2);
    let newcomer = bench.last_spawned();
    for nth in 0..3 {
        bench.say(Input::ForkServerLost { generation: 2, why: "SIGSEGV".into(), last_stderr: Vec::new() });
        if nth == 0 {
            bench.say(Input::Stillborn { peer: newcomer, error: "lost".into() });
        }
        bench.pass(Duration::from_secs(20));
    }
    assert_eq!(bench.failures(), ["its fork server was lost (SIGSEGV)"]);
    bench.boot_last();
    assert_eq!(bench.generations(), [1, 1]);
}

#[test]
fn a_roll_back_has_the_fork_server_that_it_needs() {
    let mut bench = forking(2, false);
    bench.reload();
    bench.found_sound(2);
    bench.say(lost("SIGKILL"));
    assert_eq!(bench.fork_servers_started, 0, "nobody needs it now");
    bench.fail_newcomers();
    assert_eq!(bench.fork_servers_started, 1);
    bench.up(1);
    bench.boot_last();
    assert_eq!(bench.generations(), [1, 1]);
}
