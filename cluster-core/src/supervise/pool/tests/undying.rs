//! What was killed and does not die: it holds up nothing.
use super::rollouts::forking;
use super::*;
use crate::supervise::input::Load;

/// All that is killed is still there after this.
const LATE: Duration = DYING.saturating_sub(Duration::from_millis(1));
const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn a_killed_worker_that_does_not_die_is_not_waited_for() {
    let mut bench = Bench::new(policy(1));
    bench.say(Input::Born { peer: worker(1), pid: 7 });
    bench.pass(BOOT);
    assert_eq!(bench.killed, [worker(1)]);
    bench.pass(LATE);
    assert_eq!(bench.spawned.len(), 1, "most die in that time");
    assert_eq!(bench.pool.next_deadline(), Some(bench.now + MOMENT));
    bench.pass(MOMENT);
    let exit = bench.last_exit();
    assert_eq!((&exit.reason, exit.status, exit.pid), (&ExitReason::BootTimeout, None, 7));
    assert!(exit.last_stderr.concat().contains("does not let it go"), "{exit}");
    bench.pass(Duration::ZERO);
    assert_eq!(bench.last_spawned(), worker(2));
    // It dies after all: that has been told.
    let words = bench.words.len();
    bench.exit(worker(1), KILLED);
    assert_eq!((bench.words.len(), bench.living()), (words, vec![worker(2)]));
}

#[test]
fn a_reload_whose_first_worker_can_neither_serve_nor_die_fails() {
    let mut bench = forking(2, false);
    bench.reload();
    bench.up(2);
    let tried = bench.last_spawned();
    bench.say(Input::Born { peer: tried, pid: 7 });
    bench.pass(BOOT);
    assert_eq!((&bench.killed[..], bench.failures().len()), (&[tried][..], 0));
    bench.pass(DYING);
    assert_eq!(bench.failures().len(), 1);
    assert!(bench.failures()[0].contains("not ready in time"), "{:?}", bench.failures());
    assert_eq!((bench.pool.serving(), &bench.closed[..]), (2, &[2][..]));
}

#[test]
fn a_reload_whose_fork_server_neither_answers_nor_dies_fails() {
    let mut bench = forking(2, false);
    bench.reload();
    bench.up(2);
    bench.pass(FORK_TIMEOUT);
    assert_eq!(bench.fork_servers_killed, [2]);
    bench.pass(FORK_TIMEOUT);
    bench.pass(FORK_TIMEOUT);
    assert_eq!((&bench.fork_servers_forgotten[..], bench.failures().len()), (&[2][..], 0));
    // As the driver tells it.
    let why = "it was killed and does not die".to_owned();
    bench.say(Input::ForkServerLost { generation: 2, why, last_stderr: Vec::new() });
    assert_eq!(bench.failures().len(), 1);
    bench.say(Input::Stillborn { peer: worker(3), error: "lost".into() });
    assert_eq!((bench.living().len(), bench.pool.serving()), (2, 2));
}

#[test]
fn a_stop_does_not_wait_for_what_cannot_die() {
    let mut bench = directed(2);
    bench.say(Input::StopNow);
    assert_eq!(bench.killed.len(), 3);
    bench.exit(worker(1), KILLED);
    bench.pass(DYING);
    assert_eq!(bench.verdict, Some(Verdict::Stopped));
}

/// One worker is about to be recycled, and its replacement was asked for.
fn recycling() -> Bench {
    let recycling = Recycling { requests: Some(10), ..Recycling::default() };
    let mut bench = Bench::new(Policy { fork_server: true, recycling, ..policy(1) });
    bench.up(1);
    bench.boot_all();
    bench.say(Input::Weighed { loads: vec![(worker(1), Load { requests: 10, memory: None })] });
    assert_eq!(bench.last_spawned(), worker(2));
    bench
}

#[test]
fn a_reload_turns_away_who_is_being_forked_and_leaves_the_fork_server_alone() {
    let mut bench = recycling();
    bench.reload();
    assert_eq!((&bench.killed[..], bench.fork_servers_killed.len()), (&[worker(2)][..], 0));
    bench.pass(FORK_TIMEOUT - MOMENT);
    bench.say(Input::Born { peer: worker(2), pid: 7 });
    assert_eq!(bench.killed, [worker(2), worker(2)], "now it can be");
    bench.exit(worker(2), KILLED);
    assert_eq!(bench.last_exit().reason, ExitReason::Stopped);
    bench.pass(DYING);
    assert!(bench.fork_servers_killed.is_empty());
    bench.found_sound(2);
    assert_eq!(bench.reloaded(), 1);
}

#[test]
fn a_fork_server_that_does_not_make_who_was_turned_away_is_stuck_all_the_same() {
    let mut bench = recycling();
    bench.reload();
    bench.pass(FORK_TIMEOUT);
    assert_eq!(bench.fork_servers_killed, [1]);
    bench.say(lost("SIGKILL"));
    bench.say(Input::Stillborn { peer: worker(2), error: "lost".into() });
    assert_eq!(bench.last_exit().reason, ExitReason::Stopped);
    assert_eq!((bench.living(), bench.fork_servers_started), (vec![worker(1)], 1));
}

#[test]
fn a_slot_given_up_while_its_worker_is_forked_leaves_the_fork_server_alone() {
    let mut bench = forking(1, true);
    bench.command(1, Command::Scale { workers: 2 });
    let new = bench.last_spawned();
    bench.command(2, Command::Scale { workers: 1 });
    bench.pass(FORK_TIMEOUT - MOMENT);
    assert!(bench.fork_servers_killed.is_empty());
    bench.say(Input::Born { peer: new, pid: 7 });
    bench.exit(new, 0);
    assert_eq!(bench.replies().last(), Some(&(2, Ok(()))));
}

#[test]
fn who_waits_for_the_fork_server_of_a_generation_that_is_over_is_given_up() {
    let rollout = Rollout { batch: 2, ..Rollout::default() };
    let mut bench = Bench::new(Policy { fork_server: true, rollout, ..policy(3) });
    bench.up(1);
    bench.boot_all();
    bench.reload();
    bench.found_sound(2);
    let (fails, hangs) = (worker(5), worker(6));
    assert_eq!(bench.spawned[4..], [(fails, seat(1)), (hangs, seat(2))]);
    bench.reload();
    bench.say(Input::Stillborn { peer: fails, error: "no memory".into() });
    for nth in 1..3 {
        bench.pass(Duration::from_millis(100 * nth));
        bench.say(Input::Stillborn { peer: bench.last_spawned(), error: "no memory".into() });
    }
    assert_eq!((&bench.closed[..], &bench.killed[..]), (&[2][..], &[hangs][..]), "the next reload begins");
    bench.pass(FORK_TIMEOUT);
    assert_eq!(bench.forgotten, [hangs]);
    assert!(!bench.living().contains(&hangs));
    assert_eq!(bench.last_exit().reason, ExitReason::Stopped);
}
