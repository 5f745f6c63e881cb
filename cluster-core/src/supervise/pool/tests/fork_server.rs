//! The fork server's troubles.
use super::*;

fn forking(workers: u16) -> Bench {
    let mut bench = Bench::new(Policy { fork_server: true, ..policy(workers) });
    assert!(bench.spawned.is_empty(), "nobody is forked before the fork server is there");
    bench.say(Input::ForkServerUp { generation: 1, pid: 1 });
    bench
}

#[test]
fn a_lost_fork_server_is_executed_again_and_workers_serve_on() {
    let mut bench = forking(2);
    bench.boot_all();
    bench.say(lost("SIGKILL"));
    assert_eq!(bench.fork_servers_started, 1);
    assert!(bench.killed.is_empty() && bench.drained.is_empty());
    bench.exit(worker(1), KILLED);
    assert_eq!(bench.spawned.len(), 2, "not before the fork server is there");
    bench.say(Input::ForkServerUp { generation: 1, pid: 2 });
    assert_eq!(bench.last_spawned(), worker(3));
}

#[test]
fn a_fork_server_that_does_not_answer_is_killed_and_replaced() {
    let mut bench = forking(1);
    bench.pass(FORK_TIMEOUT);
    assert_eq!(bench.fork_servers_killed, [1]);
    bench.say(lost("SIGKILL"));
    bench.say(Input::Stillborn { peer: worker(1), error: "the fork server was lost".into() });
    assert_eq!(bench.fork_servers_started, 1);
    bench.say(Input::ForkServerUp { generation: 1, pid: 2 });
    bench.pass(STILLBORN_DELAY);
    assert_eq!(bench.last_spawned(), worker(2));
}

#[test]
fn a_fork_server_that_never_comes_up_ends_a_cluster_that_never_served() {
    let mut bench = Bench::new(Policy { fork_server: true, ..policy(1) });
    for _ in 0..3 {
        bench.pass(BOOT);
        bench.say(lost("SIGKILL"));
        bench.pass(Duration::from_secs(1));
    }
    assert!(matches!(bench.verdict, Some(Verdict::GaveUp(_))));
}

#[test]
fn a_stop_ends_also_while_the_fork_server_is_stuck() {
    let mut bench = forking(1);
    bench.say(Input::Stop);
    bench.pass(UNREADY_DRAIN);
    assert_eq!(bench.fork_servers_killed, [1], "its end turns the request into a stillbirth");
    bench.say(Input::Stillborn { peer: worker(1), error: "the fork server was lost".into() });
    assert_eq!(bench.verdict, Some(Verdict::Stopped));
}

fn unprepared(generation: u64) -> Input {
    Input::Unprepared { generation, error: "no such table".into(), last_stderr: Vec::new() }
}

#[test]
fn a_first_generation_that_cannot_be_prepared_is_not_tried_again() {
    let mut bench = Bench::new(Policy { fork_server: true, ..policy(1) });
    bench.say(unprepared(1));
    assert_eq!(bench.verdict, Some(Verdict::GaveUp("prepare failed: no such table".into())));
    assert_eq!((bench.fork_servers_started, bench.spawned.len()), (0, 0));
}

#[test]
fn a_preparation_that_takes_longer_than_the_boot_timeout_is_not_begun_anew() {
    let mut bench = Bench::new(Policy { fork_server: true, ..policy(1) });
    bench.pass(BOOT);
    assert_eq!(bench.fork_servers_killed, [1]);
    bench.say(unprepared(1));
    let Some(Verdict::GaveUp(why)) = &bench.verdict else { panic!("{:?}", bench.verdict) };
    assert!(why.contains("the boot timeout"), "{why}");
}

#[test]
fn a_stop_is_no_failure_of_what_it_interrupts() {
    let mut bench = Bench::new(Policy { fork_server: true, ..policy(1) });
    bench.say(Input::Stop);
    bench.say(unprepared(1));
    assert_eq!(bench.verdict, Some(Verdict::Stopped));
}
