//! Crashes, failed boots, and who is replaced.
use super::*;

#[test]
fn every_slot_gets_a_worker_and_ids_grow_from_1() {
    let bench = Bench::new(policy(3));
    let expected: Vec<_> = (0..3).map(|n| (worker(u64::from(n) + 1), seat(n))).collect();
    assert_eq!(bench.spawned, expected);
}

#[test]
fn a_crashed_worker_is_replaced_at_once_in_its_slot() {
    let mut bench = Bench::new(policy(4));
    bench.boot_all();
    bench.exit(worker(2), KILLED);
    assert_eq!(bench.spawned.last(), Some(&(worker(5), seat(1))));
    assert_eq!(bench.last_exit().reason, ExitReason::Crashed);
    assert_eq!(bench.last_exit().next, Next::RestartIn(Duration::ZERO));
}

#[test]
fn a_worker_that_crashes_again_waits() {
    let mut bench = Bench::new(policy(1));
    bench.boot_all();
    bench.exit(worker(1), KILLED);
    bench.boot(worker(2));
    bench.exit(worker(2), KILLED);
    assert_eq!(bench.spawned.len(), 2, "not at once the second time");
    let Next::RestartIn(delay) = bench.last_exit().next else { panic!("it is restarted") };
    bench.pass(delay);
    assert_eq!(bench.last_spawned(), worker(3));
}

#[test]
fn three_failed_boots_before_anybody_was_online_end_the_cluster() {
    let mut bench = Bench::new(policy(1));
    for id in 1..=3 {
        let peer = worker(id);
        bench.say(Input::Born { peer, pid: 1 });
        bench.say(Input::BootFailed { peer, error: "no database".into() });
        bench.exit(peer, CODE_1);
        bench.pass(Duration::from_secs(1));
    }
    let Some(Verdict::GaveUp(why)) = &bench.verdict else { panic!("it gave up: {:?}", bench.verdict) };
    assert!(why.contains("3 boots failed") && why.contains("no database"), "{why}");
}

#[test]
fn a_cluster_that_was_once_online_goes_on_after_failed_boots() {
    let mut bench = Bench::new(policy(2));
    bench.boot_all();
    for _ in 0..10 {
        let newest = bench.living().into_iter().max().unwrap();
        bench.exit(newest, CODE_1);
        bench.pass(Duration::from_secs(20));
    }
    assert_eq!(bench.verdict, None);
    assert_eq!(bench.living().len(), 2);
}

#[test]
fn sixteen_crashes_in_a_minute_with_none_online_end_the_cluster() {
    let mut restart = Restart::default().delay(Duration::ZERO, Duration::ZERO);
    restart = restart.limit(16, Duration::from_secs(60));
    let mut bench = Bench::new(Policy { restart, ..policy(1) });
    for crash in 1..=16 {
        assert_eq!(bench.verdict, None, "before crash {crash}");
        let newest = bench.last_spawned();
        bench.boot(newest);
        bench.exit(newest, KILLED);
    }
    assert!(matches!(bench.verdict, Some(Verdict::GaveUp(_))));
}

#[test]
fn a_boot_that_takes_too_long_is_killed_and_tried_again() {
    let mut bench = Bench::new(policy(1));
    bench.say(Input::Born { peer: worker(1), pid: 1 });
    bench.pass(BOOT - Duration::from_millis(1));
    assert!(bench.killed.is_empty());
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.killed, [worker(1)]);
    bench.exit(worker(1), KILLED);
    assert_eq!(bench.last_exit().reason, ExitReason::BootTimeout);
    assert_eq!(bench.last_spawned(), worker(2));
}

#[test]
fn programs_that_have_all_done_their_work_are_no_failure() {
    let mut bench = Bench::new(Policy { restart: Restart::never(), ..policy(2) });
    bench.boot_all();
    bench.exit(worker(1), 0);
    bench.exit(worker(2), 0);
    assert_eq!(bench.verdict, Some(Verdict::Stopped));
}

#[test]
fn times_as_long_as_they_can_be_said_overflow_nothing() {
    let longest = crate::config::bounded(Duration::MAX);
    let restart = Restart::default().delay(Duration::MAX, Duration::MAX).limit(3, Duration::MAX);
    let policy =
        Policy { restart, boot_timeout: longest, drain_timeout: longest, fork_server: true, ..policy(2) };
    let mut bench = Bench::new(policy);
    bench.say(Input::ForkServerUp { generation: 1, pid: 1 });
    bench.boot(worker(1));
    bench.boot(worker(2));
    bench.exit(worker(1), KILLED);
    bench.exit(bench.last_spawned(), KILLED);
    bench.say(Input::Stop);
    assert!(bench.pool.next_deadline().is_some());
}

#[test]
fn a_status_that_somebody_else_took_is_no_success() {
    let mut bench = Bench::new(policy(1));
    bench.boot_all();
    bench.say(Input::Exited { peer: worker(1), end: End::default() });
    assert_eq!(bench.last_exit().reason, ExitReason::Crashed);
}

#[test]
fn a_worker_is_not_replaced_where_the_policy_says_so() {
    let never = Policy { restart: Restart::never(), ..policy(2) };
    let codes = Policy { restart: Restart::default().unless_code([1]), ..policy(2) };
    for policy in [never, codes] {
        let mut bench = Bench::new(policy);
        bench.boot_all();
        bench.exit(worker(1), CODE_1);
        assert_eq!(bench.last_exit().next, Next::NotReplaced);
        assert_eq!(bench.verdict, None, "the other serves on");
        bench.exit(worker(2), CODE_1);
        assert!(matches!(bench.verdict, Some(Verdict::GaveUp(_))), "nobody is left");
    }
}

#[test]
fn a_program_that_says_why_it_ended_is_quoted() {
    let mut bench = Bench::new(policy(1));
    bench.boot_all();
    bench.say(Input::Finished { peer: worker(1), error: Some("disk full".into()) });
    bench.exit(worker(1), CODE_1);
    assert_eq!(bench.last_exit().reason, ExitReason::Crashed);
    assert_eq!(bench.last_exit().last_stderr.last().map(String::as_str), Some("disk full"));
}

#[test]
fn a_worker_that_finished_but_does_not_leave_is_killed() {
    let mut bench = Bench::new(policy(1));
    bench.boot_all();
    bench.say(Input::Finished { peer: worker(1), error: None });
    bench.pass(DRAIN + DRAIN_GRACE);
    assert_eq!(bench.killed, [worker(1)]);
}

#[test]
fn nonsense_of_a_worker_costs_that_worker() {
    let mut bench = Bench::new(policy(2));
    bench.boot_all();
    bench.say(Input::Garbled { peer: worker(1), why: "broke it".into() });
    assert_eq!(bench.killed, [worker(1)]);
    bench.exit(worker(1), KILLED);
    assert_eq!(bench.last_exit().reason, ExitReason::Garbled("broke it".into()));
    assert_eq!(bench.last_spawned(), worker(3));
}

#[test]
fn words_of_workers_that_are_none_do_nothing() {
    let mut bench = Bench::new(policy(1));
    let peer = worker(99);
    for input in [
        Input::Born { peer, pid: 1 },
        Input::Stillborn { peer, error: String::new() },
        Input::Online { peer },
        Input::Ready { peer },
        Input::Draining { peer },
        Input::BootFailed { peer, error: String::new() },
        Input::Finished { peer, error: None },
        Input::Garbled { peer, why: String::new() },
        Input::Exited { peer, end: End::default() },
        Input::Command { from: peer, id: 1, command: Command::Stop },
    ] {
        bench.say(input);
    }
    assert_eq!((bench.words.len(), bench.spawned.len(), bench.killed.len()), (0, 1, 0));
}
