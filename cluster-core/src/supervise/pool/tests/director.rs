//! The director's life.
use super::*;
use crate::program::DIRECTOR_DRAIN;

const FIRST: PeerId = PeerId::Director(1);
const SECOND: PeerId = PeerId::Director(2);

fn last_next(bench: &Bench) -> Next {
    let mut exits = bench.events().rev().filter_map(|event| match event {
        Event::DirectorExited { next, .. } => Some(*next),
        _ => None,
    });
    exits.next().expect("a director has exited")
}

#[test]
fn the_director_is_asked_for_first_and_workers_are_numbered_without_it() {
    let bench = Bench::new(Policy { director: true, ..policy(2) });
    assert_eq!(bench.spawned, [(FIRST, Seat::Director), (worker(1), seat(0)), (worker(2), seat(1))]);
}

#[test]
fn all_are_ready_without_the_director() {
    let mut bench = Bench::new(Policy { director: true, ..policy(1) });
    bench.boot(worker(1));
    assert!(bench.events().any(|event| matches!(event, Event::AllReady { workers: 1 })));
    bench.boot(FIRST);
    assert!(matches!(bench.events().last(), Some(Event::DirectorReady { pid: 501 })));
}

#[test]
fn a_director_comes_back_however_it_ends_and_never_ends_the_cluster() {
    let restart = Restart::never().limit(1, Duration::from_secs(60)).unless_code([0, 1]);
    let mut bench = Bench::new(Policy { director: true, restart, ..policy(1) });
    for (at, raw) in [KILLED, CODE_1, 0, KILLED, CODE_1, KILLED].into_iter().enumerate() {
        let director = PeerId::Director(at as u64 + 1);
        assert_eq!(bench.spawned.last().map(|(peer, _)| *peer).max(Some(director)), Some(director));
        // Some before they are ready, though no worker serves yet.
        if at % 2 == 0 {
            bench.boot(director);
        } else {
            bench.say(Input::Born { peer: director, pid: 1 });
        }
        bench.exit(director, raw);
        let Next::RestartIn(delay) = last_next(&bench) else { panic!("it comes back") };
        assert_eq!(delay.is_zero(), at == 0, "at once the first time alone");
        bench.pass(delay);
        assert_eq!(bench.verdict, None);
    }
    assert_eq!(bench.last_spawned(), PeerId::Director(7));
    bench.boot(worker(1));
    assert_eq!(bench.pool.serving(), 1);
}

#[test]
fn a_director_that_does_not_boot_in_time_is_killed() {
    let mut bench = Bench::new(Policy { director: true, ..policy(1) });
    bench.boot(worker(1));
    bench.say(Input::Born { peer: FIRST, pid: 1 });
    bench.pass(BOOT);
    assert_eq!(bench.killed, [FIRST]);
    bench.exit(FIRST, KILLED);
    assert_eq!(bench.last_spawned(), SECOND);
}

#[test]
fn a_stop_lets_the_director_hear_the_last_exit_before_it_drains() {
    let mut bench = directed(2);
    bench.say(Input::Stop);
    assert_eq!(bench.drained, [worker(1), worker(2)], "not the director");
    bench.exit(worker(1), 0);
    assert!(!bench.dismissed());
    bench.exit(worker(2), 0);
    let [.., Action::Tell(Event::WorkerExited(exit)), Action::Dismiss { peer: FIRST }] = &bench.words[..]
    else {
        panic!("the last exit, then the dismissal: {:?}", bench.words)
    };
    assert_eq!(exit.worker, WorkerId(2));
    assert_eq!(bench.verdict, None);
    bench.exit(FIRST, 0);
    assert_eq!((last_next(&bench), bench.verdict), (Next::NotReplaced, Some(Verdict::Stopped)));
}

#[test]
fn the_director_has_what_is_left_of_the_drain_timeout_and_5_s_at_least() {
    for (taken, left) in [(Duration::from_secs(1), DRAIN - Duration::from_secs(1)), (DRAIN, DIRECTOR_DRAIN)] {
        let mut bench = directed(1);
        bench.say(Input::Stop);
        bench.pass(taken);
        bench.exit(worker(1), 0);
        bench.pass(left);
        assert!(bench.killed.is_empty(), "its own sentinel comes first");
        bench.pass(DRAIN_GRACE);
        assert_eq!(bench.killed, [FIRST], "after {taken:?}");
        bench.exit(FIRST, KILLED);
        assert_eq!(bench.verdict, Some(Verdict::Stopped));
    }
}

#[test]
fn stop_now_takes_the_director_too() {
    for graceful_first in [false, true] {
        let mut bench = directed(1);
        if graceful_first {
            bench.say(Input::Stop);
            bench.exit(worker(1), 0);
        }
        bench.say(Input::StopNow);
        assert!(bench.killed.contains(&FIRST));
        bench.exit(worker(1), KILLED);
        bench.exit(FIRST, KILLED);
        assert_eq!(bench.verdict, Some(Verdict::Stopped));
    }
}

#[test]
fn a_cluster_that_gives_up_dismisses_its_director_last() {
    let mut bench = Bench::new(Policy { director: true, ..policy(1) });
    bench.boot(FIRST);
    for _ in 0..3 {
        let failing = bench.living()[0];
        bench.say(Input::Born { peer: failing, pid: 1 });
        assert!(!bench.dismissed());
        bench.exit(failing, CODE_1);
        bench.pass(Duration::from_secs(1));
    }
    assert!(bench.dismissed());
    bench.exit(FIRST, 0);
    assert!(matches!(bench.verdict, Some(Verdict::GaveUp(_))));
}

#[test]
fn a_director_told_to_leave_alone_is_replaced() {
    let mut bench = directed(1);
    bench.pass(Duration::from_secs(1));
    bench.say(Input::Draining { peer: FIRST });
    assert!(bench.drained.is_empty(), "whether the cluster stops will be known in a moment");
    bench.pass(ASKING);
    assert_eq!((&bench.drained[..], bench.last_spawned()), (&[FIRST][..], SECOND));
    bench.boot(SECOND);
    bench.exit(FIRST, 0);
    assert_eq!(last_next(&bench), Next::AlreadyReplaced);
}

#[test]
fn a_term_to_all_processes_at_once_does_not_take_the_director_before_the_workers() {
    for director_first in [false, true] {
        let mut bench = directed(1);
        if director_first {
            bench.say(Input::Draining { peer: FIRST });
            bench.say(Input::Stop);
        } else {
            bench.say(Input::Stop);
            bench.say(Input::Draining { peer: FIRST });
        }
        assert_eq!(bench.stayed, [FIRST]);
        bench.pass(ASKING);
        assert_eq!((&bench.drained[..], bench.dismissed()), (&[worker(1)][..], false));
        // A second one is answered likewise.
        bench.say(Input::Draining { peer: FIRST });
        assert_eq!(bench.stayed, [FIRST, FIRST]);
        bench.exit(worker(1), 0);
        assert!(bench.dismissed());
    }
}

#[test]
fn a_director_that_is_told_to_stay_while_it_boots_boots_on() {
    for ready_while_asking in [false, true] {
        let mut bench = Bench::new(Policy { director: true, ..policy(1) });
        bench.boot(worker(1));
        bench.say(Input::Born { peer: FIRST, pid: 1 });
        bench.say(Input::Draining { peer: FIRST });
        if ready_while_asking {
            bench.say(Input::Ready { peer: FIRST });
        }
        bench.say(Input::Stop);
        if !ready_while_asking {
            bench.say(Input::Ready { peer: FIRST });
        }
        assert_eq!(bench.pool.members[&FIRST].phase, Phase::Serving);
        let ready = bench.events().filter(|event| matches!(event, Event::DirectorReady { .. })).count();
        assert_eq!(ready, 1);
    }
}

#[test]
fn a_director_that_dies_during_a_stop_is_not_missed() {
    let mut bench = directed(1);
    bench.say(Input::Stop);
    bench.exit(FIRST, KILLED);
    assert_eq!((last_next(&bench), bench.verdict.clone()), (Next::NotReplaced, None));
    bench.exit(worker(1), 0);
    assert_eq!(bench.verdict, Some(Verdict::Stopped));
    assert_eq!(bench.spawned.len(), 2);
}
