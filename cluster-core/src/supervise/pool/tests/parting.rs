//! Programs that end unasked, and what they leave unfinished.
use super::*;
use crate::supervise::member::PARTING;

const MOMENT: Duration = Duration::from_millis(1);

fn finished(peer: PeerId, error: Option<&str>) -> Input {
    Input::Finished { peer, error: error.map(str::to_owned) }
}

fn drains(bench: &Bench, id: u64) -> bool {
    let of = |event: &Event| matches!(event, Event::WorkerDraining { worker, why: Leave::Ended, .. } if worker.0 == id);
    bench.events().any(of)
}

#[test]
fn a_program_that_ends_and_is_gone_in_a_moment_is_told_once() {
    let mut bench = Bench::new(policy(1));
    bench.boot_all();
    bench.say(finished(worker(1), None));
    bench.pass(PARTING - MOMENT);
    assert_eq!(bench.spawned.len(), 1, "its exit decides what happens next");
    bench.exit(worker(1), 0);
    assert_eq!(bench.last_exit().reason, ExitReason::Finished);
    assert_eq!(bench.last_exit().next, Next::RestartIn(Duration::ZERO));
    assert!(!drains(&bench, 1));
}

#[test]
fn one_that_takes_its_time_drains_and_has_a_successor() {
    for (error, reason) in [(None, ExitReason::Finished), (Some("disk full"), ExitReason::Crashed)] {
        let mut bench = Bench::new(policy(1));
        bench.boot_all();
        bench.say(finished(worker(1), error));
        bench.pass(PARTING);
        assert_eq!(bench.last_spawned(), worker(2));
        assert!(drains(&bench, 1));
        bench.boot(worker(2));
        bench.exit(worker(1), if error.is_some() { CODE_1 } else { 0 });
        assert_eq!((&bench.last_exit().reason, bench.last_exit().next), (&reason, Next::AlreadyReplaced));
        assert_eq!(bench.living(), [worker(2)]);
    }
}

#[test]
fn its_deadline_is_the_drain_timeout_after_its_word() {
    let ends = [
        (finished(worker(1), None), ExitReason::DrainTimeout),
        (finished(worker(1), Some("disk full")), ExitReason::Crashed),
        (
            Input::BootFailed { peer: worker(1), error: "no database".into() },
            ExitReason::BootFailed("no database".into()),
        ),
    ];
    for (word, reason) in ends {
        // By its own sentinel, or by the primary; once more where it was never ready.
        for by_itself in [true, false] {
            let mut bench = Bench::new(policy(1));
            bench.say(Input::Born { peer: worker(1), pid: 1 });
            if let Input::Finished { .. } = word {
                bench.say(Input::Ready { peer: worker(1) });
            }
            bench.say(word.clone());
            bench.pass(PARTING);
            bench.pass(DRAIN - PARTING);
            assert!(bench.killed.is_empty(), "its own sentinel comes first");
            if !by_itself {
                bench.pass(DRAIN_GRACE);
                assert_eq!(bench.killed, [worker(1)]);
            }
            bench.exit(worker(1), KILLED);
            assert_eq!(bench.last_exit().reason, reason);
        }
    }
}

#[test]
fn who_crashes_in_what_it_left_unfinished_has_crashed() {
    for raw in [6, KILLED, CODE_1] {
        let mut bench = Bench::new(policy(1));
        bench.boot_all();
        bench.say(finished(worker(1), None));
        bench.pass(PARTING);
        bench.exit(worker(1), raw);
        assert_eq!(bench.last_exit().reason, ExitReason::Crashed);
    }
}

#[test]
fn where_the_exit_code_decides_the_seat_waits_for_it() {
    for restart in [Restart::never(), Restart::default().unless_code([0])] {
        let mut bench = Bench::new(Policy { restart, ..policy(2) });
        bench.boot_all();
        bench.say(finished(worker(1), None));
        bench.pass(PARTING);
        assert!(drains(&bench, 1));
        bench.exit(worker(1), 0);
        assert_eq!(bench.last_exit().next, Next::NotReplaced);
        assert_eq!(bench.spawned.len(), 2);
    }
}

#[test]
fn programs_that_end_as_soon_as_they_come_and_linger_do_not_pile_up() {
    for retires in [false, true] {
        let mut bench = Bench::new(policy(1));
        for _ in 0..20 {
            let peer = bench.last_spawned();
            bench.boot(peer);
            if retires {
                bench.say(Input::Draining { peer });
            }
            bench.say(finished(peer, None));
            bench.pass(PARTING);
        }
        assert!(bench.spawned.len() <= 8, "{} were made in 10 s", bench.spawned.len());
    }
}

#[test]
fn boots_that_fail_and_linger_are_given_up_with_the_cause_and_counted_once() {
    let mut bench = Bench::new(policy(1));
    for boot in 1..=3 {
        assert!(!bench.events().any(|event| matches!(event, Event::GivingUp { .. })), "before boot {boot}");
        let peer = bench.last_spawned();
        bench.say(Input::Born { peer, pid: 1 });
        bench.say(Input::BootFailed { peer, error: "no database".into() });
        bench.pass(PARTING);
        if boot == 1 {
            // Counted when it was replaced, not once more.
            bench.exit(peer, CODE_1);
        }
        bench.pass(Duration::from_secs(1));
    }
    for peer in bench.living() {
        bench.exit(peer, CODE_1);
    }
    let Some(Verdict::GaveUp(why)) = &bench.verdict else { panic!("it gave up: {:?}", bench.verdict) };
    assert!(why.contains("3 boots failed") && why.contains("no database"), "{why}");
}

#[test]
fn a_stop_waits_for_what_is_left_unfinished() {
    let mut bench = Bench::new(policy(1));
    bench.boot_all();
    bench.say(finished(worker(1), None));
    bench.say(Input::Stop);
    bench.pass(PARTING);
    assert_eq!((bench.spawned.len(), bench.verdict.clone()), (1, None));
    bench.exit(worker(1), 0);
    assert_eq!(bench.last_exit().reason, ExitReason::Finished);
    assert_eq!(bench.verdict, Some(Verdict::Stopped));
}

#[test]
fn a_slot_that_was_restarted_meanwhile_has_one_successor() {
    let mut bench = directed(1);
    bench.say(finished(worker(1), None));
    bench.command(1, Command::Restart { slot: Slot(0) });
    assert_eq!(bench.last_spawned(), worker(2));
    bench.pass(PARTING);
    bench.boot(worker(2));
    bench.exit(worker(1), 0);
    assert_eq!(bench.replies(), [(1, Ok(()))]);
    assert_eq!(bench.spawned.len(), 3, "the director and two workers");
}

#[test]
fn a_director_that_ends_unasked_and_lingers_has_a_successor_too() {
    let mut bench = directed(1);
    let first = PeerId::Director(1);
    bench.say(finished(first, Some("it ran twice")));
    bench.pass(PARTING);
    assert_eq!(bench.last_spawned(), PeerId::Director(2));
    assert!(bench.killed.is_empty());
}
