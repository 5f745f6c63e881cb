//! Stops and drains.
use super::*;

#[test]
fn a_stop_drains_everybody_and_ends_when_all_have_left() {
    let mut bench = Bench::new(policy(3));
    bench.boot_all();
    bench.say(Input::Stop);
    assert_eq!(bench.drained.len(), 3);
    for id in 1..=3 {
        assert_eq!(bench.verdict, None);
        bench.exit(worker(id), 0);
        assert_eq!(bench.last_exit().reason, ExitReason::Stopped);
    }
    assert_eq!(bench.verdict, Some(Verdict::Stopped));
    assert_eq!(bench.spawned.len(), 3, "nobody is replaced");
}

#[test]
fn who_does_not_drain_in_time_is_killed() {
    let mut bench = Bench::new(policy(1));
    bench.boot_all();
    bench.say(Input::Stop);
    bench.pass(DRAIN);
    assert!(bench.killed.is_empty(), "its own sentinel comes first");
    bench.pass(DRAIN_GRACE);
    assert_eq!(bench.killed, [worker(1)]);
    bench.exit(worker(1), KILLED);
    assert_eq!(bench.last_exit().reason, ExitReason::DrainTimeout);
    assert_eq!(bench.verdict, Some(Verdict::Stopped));
}

#[test]
fn a_stop_does_not_wait_long_for_who_is_not_ready() {
    let mut bench = Bench::new(policy(1));
    bench.say(Input::Born { peer: worker(1), pid: 1 });
    bench.say(Input::Stop);
    bench.pass(UNREADY_DRAIN);
    assert_eq!(bench.killed, [worker(1)]);
}

#[test]
fn stop_now_kills_everybody_once_asked_or_twice() {
    for graceful_first in [false, true] {
        let mut bench = Bench::new(policy(2));
        bench.boot_all();
        if graceful_first {
            bench.say(Input::Stop);
        }
        bench.say(Input::StopNow);
        assert_eq!(bench.killed.len(), 2);
        bench.exit(worker(1), KILLED);
        bench.exit(worker(2), KILLED);
        assert_eq!(bench.verdict, Some(Verdict::Stopped));
    }
}

#[test]
fn a_worker_that_drains_itself_has_a_successor() {
    let mut bench = Bench::new(policy(2));
    bench.boot_all();
    bench.pass(Duration::from_secs(1));
    bench.say(Input::Draining { peer: worker(1) });
    assert!(bench.drained.is_empty(), "whether the cluster stops will be known in a moment");
    bench.pass(ASKING);
    assert_eq!(bench.drained, [worker(1)]);
    assert_eq!(bench.spawned.last(), Some(&(worker(3), seat(0))));
    bench.boot(worker(3));
    bench.exit(worker(1), 0);
    assert_eq!(bench.last_exit().next, Next::AlreadyReplaced);
    assert_eq!(bench.last_exit().reason, ExitReason::Stopped);
    assert_eq!(bench.living().len(), 2);
}

#[test]
fn a_term_to_all_processes_at_once_makes_no_successor_whoever_hears_it_first() {
    let mut bench = Bench::new(policy(2));
    bench.boot_all();
    bench.say(Input::Draining { peer: worker(1) });
    bench.say(Input::Stop);
    bench.say(Input::Draining { peer: worker(2) });
    assert_eq!(bench.drained, [worker(1), worker(2)], "both are told to close the queue");
    for id in 1..=2 {
        bench.exit(worker(id), 0);
    }
    assert_eq!(bench.verdict, Some(Verdict::Stopped));
    assert_eq!(bench.spawned.len(), 2);
}

#[test]
fn a_program_that_leaves_as_soon_as_it_comes_does_not_pile_up() {
    let mut bench = Bench::new(policy(1));
    for _ in 0..10 {
        let peer = bench.last_spawned();
        bench.boot(peer);
        bench.say(Input::Draining { peer });
        bench.pass(ASKING);
    }
    assert!(bench.spawned.len() <= 4, "{} were made in 200 ms", bench.spawned.len());
}

#[test]
fn programs_that_leave_before_they_are_ready_are_given_up() {
    let mut bench = Bench::new(policy(1));
    for _ in 0..3 {
        let peer = bench.last_spawned();
        bench.say(Input::Born { peer, pid: 1 });
        bench.say(Input::Draining { peer });
        bench.pass(ASKING);
        bench.exit(peer, 0);
        bench.pass(Duration::from_secs(1));
    }
    assert!(matches!(bench.verdict, Some(Verdict::GaveUp(_))));
}

#[test]
fn events_of_a_worker_come_in_order_also_where_it_is_told_to_leave_before_it_is_born() {
    let mut bench = Bench::new(policy(1));
    bench.say(Input::Stop);
    assert!(bench.events().all(|event| event.worker().is_none()));
    bench.say(Input::Born { peer: worker(1), pid: 1 });
    bench.exit(worker(1), 0);
    let own: Vec<_> = bench.events().filter(|event| event.worker().is_some()).collect();
    assert!(
        matches!(
            own[..],
            [
                Event::WorkerStarted { .. },
                Event::WorkerDraining { why: Leave::Stop, .. },
                Event::WorkerExited(_)
            ]
        ),
        "{own:?}"
    );
}
