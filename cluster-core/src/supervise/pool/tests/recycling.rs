//! Workers that have served for long enough.
use super::*;
use crate::supervise::input::Load;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn recycling(workers: u16, recycling: Recycling) -> Bench {
    let mut bench = Bench::new(Policy { recycling, ..policy(workers) });
    bench.boot_all();
    bench.spawned.clear();
    bench
}

fn requests(limit: u64) -> Recycling {
    Recycling { requests: Some(limit), ..Recycling::default() }
}

impl Bench {
    fn weigh(&mut self, ids: impl IntoIterator<Item = u64>, load: Load) {
        self.say(Input::Weighed { loads: ids.into_iter().map(|id| (worker(id), load)).collect() });
    }
}

#[test]
fn the_replacement_comes_first_and_one_worker_at_a_time() {
    let mut bench = recycling(3, requests(100));
    bench.weigh(1..=3, Load { requests: 100, memory: None });
    assert_eq!((&bench.spawned[..], bench.drained.len()), (&[(worker(4), seat(0))][..], 0));
    bench.boot(worker(4));
    assert_eq!((&bench.drained[..], bench.spawned.len()), (&[worker(1)][..], 2), "the next one");
    bench.exit(worker(1), 0);
    assert_eq!(bench.last_exit().reason, ExitReason::Recycled);
    assert!(bench.last_exit().is_planned());
    bench.boot(worker(5));
    bench.boot(worker(6));
    bench.pass(DAY);
    assert_eq!(bench.spawned.len(), 3, "who has come since has answered none");
}

#[test]
fn a_life_ends_by_time_alone() {
    let mut bench = recycling(2, Recycling { lifetime: Some(DAY), ..Recycling::default() });
    let start = bench.now;
    while bench.drained.len() < 2 {
        let due = bench.pool.next_deadline().expect("somebody's time will be over");
        assert!(due <= bench.now + DAY);
        bench.pass(due - bench.now);
        if let Some(&(newcomer, _)) = bench.spawned.last() {
            bench.boot(newcomer);
        }
        bench.killed.clone().into_iter().for_each(|late| bench.exit(late, KILLED));
    }
    assert!(bench.now - start <= DAY);
    assert!(
        bench.pool.next_deadline().is_some_and(|due| due > bench.now),
        "no time that is over is waited for"
    );
}

#[test]
fn a_replacement_that_never_serves_leaves_who_serves_alone_and_is_tried_again() {
    let mut bench = recycling(1, requests(10));
    bench.weigh([1], Load { requests: 10, memory: None });
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        let newcomer = bench.last_spawned();
        bench.say(Input::Stillborn { peer: newcomer, error: "no memory".into() });
        assert_eq!(bench.last_exit().next, Next::NotReplaced);
        bench.pass(Duration::from_secs(pause) - Duration::from_millis(1));
        assert_eq!((bench.last_spawned(), bench.pool.serving()), (newcomer, 1));
        assert!(bench.pool.next_deadline().is_some());
        bench.pass(Duration::from_millis(1));
        assert_ne!(bench.last_spawned(), newcomer);
    }
    assert!(bench.drained.is_empty() && bench.verdict.is_none());
}

#[test]
fn nobody_is_recycled_while_a_reload_replaces_all() {
    let mut bench = recycling(2, requests(10));
    bench.weigh([2], Load { requests: 10, memory: None });
    assert_eq!(bench.spawned, [(worker(3), seat(1))]);
    bench.say(Input::Reload);
    assert_eq!(bench.killed, [worker(3)], "its program is about to be replaced");
    bench.exit(worker(3), KILLED);
    bench.say(Input::Opened { generation: 2 });
    bench.weigh([1, 2], Load { requests: 10, memory: None });
    assert_eq!(bench.spawned.len(), 2, "the one that is tried");
}
