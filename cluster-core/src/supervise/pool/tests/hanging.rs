//! Runtimes that do not turn.
use super::*;
use crate::supervise::input::Condition;
use crate::supervise::member::DUMPING;

/// From a beat until all is over: the next was due in between.
const LIMIT: Duration = Duration::from_secs(31);
const FIRST: PeerId = PeerId::Director(1);

/// How often the primary looks.
fn tick() -> Duration {
    HangLimit::default().beat_every()
}

/// So many looks take so long.
fn looks(time: Duration) -> u128 {
    time.as_millis() / tick().as_millis()
}

impl Bench {
    /// The next look: `beats` is what every page says. Whoever is suspected is examined.
    fn look(&mut self, beats: u64, condition: Condition) {
        self.look_after(tick(), beats, condition);
    }

    fn look_after(&mut self, time: Duration, beats: u64, condition: Condition) {
        self.pass(time);
        let beats = self.living().into_iter().map(|peer| (peer, beats)).collect();
        self.say(Input::Looked { beats });
        for peer in std::mem::take(&mut self.examined) {
            self.say(Input::Examined { peer, condition });
        }
    }

    /// Silence, in looks as they should be.
    fn stand_still(&mut self, time: Duration, condition: Condition) {
        (0..looks(time)).for_each(|_| self.look(1, condition));
    }

    /// Who was told to stall, and for how many seconds.
    fn stalls(&self) -> Vec<(PeerId, u64)> {
        let stalls = self.events().filter_map(|event| match event {
            Event::WorkerStalled { worker, silent, .. } => Some((PeerId::Worker(*worker), silent.as_secs())),
            Event::DirectorStalled { silent, .. } => Some((FIRST, silent.as_secs())),
            _ => None,
        });
        stalls.collect()
    }
}

/// One worker, ready, and seen with a beat.
fn beating() -> Bench {
    let mut bench = Bench::new(policy(1));
    bench.boot_all();
    bench.look(1, Condition::Runs);
    bench
}

#[test]
fn a_worker_whose_runtime_stands_still_is_warned_of_twice_and_ends_at_the_limit() {
    let mut bench = beating();
    bench.stand_still(LIMIT - tick(), Condition::Runs);
    assert_eq!(bench.stalls(), [(worker(1), 1), (worker(1), 5)]);
    assert!(bench.dumped.is_empty());
    bench.look(1, Condition::Runs);
    assert_eq!(bench.dumped, [worker(1)], "it says where");
    assert!(bench.killed.is_empty(), "it has time for that");
    bench.exit(worker(1), KILLED);
    assert_eq!(bench.last_exit().reason, ExitReason::Hung);
    assert!(!bench.last_exit().is_planned());
    assert_eq!(bench.last_exit().next, Next::RestartIn(Duration::ZERO));
    assert_eq!(bench.last_spawned(), worker(2));
}

#[test]
fn one_that_does_not_even_say_where_it_hangs_is_killed_a_moment_later() {
    let mut bench = beating();
    bench.stand_still(LIMIT, Condition::Runs);
    assert_eq!(bench.dumped, [worker(1)]);
    bench.pass(DUMPING - Duration::from_millis(1));
    assert!(bench.killed.is_empty());
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.killed, [worker(1)]);
    bench.stand_still(LIMIT, Condition::Runs);
    assert_eq!((bench.dumped.len(), bench.killed.len()), (1, 1), "once");
    bench.exit(worker(1), KILLED);
    assert_eq!(bench.last_exit().reason, ExitReason::Hung);
    assert_eq!(bench.last_exit().trace, ["no trace: its sentinel did not answer within 5s"]);
}

#[test]
fn where_it_hung_is_in_its_exit_and_in_no_other() {
    let trace = vec!["thread 2 (worker)".to_owned(), "   0: app::spin at src/main.rs:7".to_owned()];
    let end = End { trace: trace.clone(), ..End::default() };
    let mut bench = beating();
    bench.stand_still(LIMIT, Condition::Runs);
    bench.say(Input::Exited { peer: worker(1), end: end.clone() });
    assert_eq!(bench.last_exit().trace, trace);
    assert!(
        bench.last_exit().to_string().ends_with("; it was in app::spin at src/main.rs:7"),
        "{}",
        bench.last_exit()
    );
    bench.boot(worker(2));
    bench.say(Input::Exited { peer: worker(2), end });
    assert!(bench.last_exit().trace.is_empty(), "a page may say what it likes");
}

#[test]
fn what_it_says_and_what_is_asked_meanwhile_changes_nothing() {
    let peer = worker(1);
    for input in [
        Input::Ready { peer },
        Input::Draining { peer },
        Input::Finished { peer, error: None },
        Input::BootFailed { peer, error: "no".into() },
        Input::Stop,
    ] {
        let mut bench = beating();
        bench.stand_still(LIMIT, Condition::Runs);
        bench.say(input.clone());
        bench.pass(DUMPING);
        assert_eq!((&bench.killed[..], bench.drained.len()), (&[peer][..], 0), "{input:?}");
        bench.exit(peer, KILLED);
        assert_eq!(bench.last_exit().reason, ExitReason::Hung, "{input:?}");
    }
    let mut bench = beating();
    bench.stand_still(LIMIT, Condition::Runs);
    bench.say(Input::StopNow);
    assert_eq!(bench.killed, [peer], "who is in a hurry waits for no trace");
}

#[test]
fn the_director_is_asked_for_the_same() {
    let mut bench = directed(1);
    for beat in 1..=looks(LIMIT) as u64 + 1 {
        bench.pass(tick());
        bench.say(Input::Looked { beats: vec![(FIRST, 1), (worker(1), beat)] });
        for peer in std::mem::take(&mut bench.examined) {
            bench.say(Input::Examined { peer, condition: Condition::Runs });
        }
    }
    assert_eq!((bench.stalls(), &bench.dumped[..]), (vec![(FIRST, 1), (FIRST, 5)], &[FIRST][..]));
    bench.exit(FIRST, KILLED);
    let told = |event: &Event| matches!(event, Event::DirectorExited { reason: ExitReason::Hung, .. });
    assert!(bench.events().any(told));
    assert_eq!(bench.last_spawned(), PeerId::Director(2));
}

#[test]
fn hanging_counts_as_a_crash() {
    let restart = Restart::default().limit(2, Duration::from_secs(3600));
    let mut bench = Bench::new(Policy { restart, ..policy(1) });
    for hanging in [worker(1), worker(2)] {
        bench.boot(hanging);
        bench.look(1, Condition::Runs);
        bench.stand_still(LIMIT, Condition::Runs);
        assert_eq!(bench.dumped.last(), Some(&hanging));
        bench.exit(hanging, KILLED);
    }
    assert!(bench.events().any(|event| matches!(event, Event::GivingUp { .. })));
}

#[test]
fn one_that_turns_again_begins_anew() {
    let mut bench = beating();
    for beats in 2..5 {
        bench.stand_still(LIMIT - tick(), Condition::Runs);
        bench.look(beats, Condition::Runs);
        bench.look(1, Condition::Runs);
    }
    assert_eq!(bench.stalls(), [(worker(1), 1), (worker(1), 5)].repeat(3), "each stall has its own warnings");
    assert!(bench.dumped.is_empty());
}

#[test]
fn one_that_is_held_is_left_alone_and_has_the_whole_limit_afterwards() {
    for condition in [Condition::Stopped, Condition::Traced, Condition::DumpsCore] {
        let mut bench = beating();
        bench.stand_still(10 * LIMIT, condition);
        assert_eq!((bench.stalls(), bench.dumped.len()), (vec![], 0), "{condition:?}");
        // It is let go at any time between two examinations, and may not have turned yet at the next.
        bench.stand_still(2 * tick(), Condition::Runs);
        assert_eq!(bench.stalls(), [], "{condition:?}");
        bench.stand_still(LIMIT - 3 * tick(), Condition::Runs);
        assert!(bench.dumped.is_empty(), "{condition:?}");
        bench.stand_still(3 * tick(), Condition::Runs);
        assert_eq!(bench.dumped, [worker(1)], "{condition:?}");
    }
}

#[test]
fn when_the_primary_itself_did_not_run_all_begin_anew() {
    let mut bench = beating();
    bench.stand_still(LIMIT - tick(), Condition::Runs);
    bench.look_after(Duration::from_secs(3600), 1, Condition::Runs);
    assert!(bench.dumped.is_empty());
    bench.stand_still(LIMIT - tick(), Condition::Runs);
    assert!(bench.dumped.is_empty());
    bench.look(1, Condition::Runs);
    assert_eq!(bench.dumped, [worker(1)]);
}

#[test]
fn when_the_primary_stops_between_two_looks_at_one_nothing_follows() {
    let mut bench = beating();
    bench.stand_still(LIMIT - tick(), Condition::Runs);
    bench.pass(tick());
    bench.say(Input::Looked { beats: vec![(worker(1), 1)] });
    assert_eq!(bench.examined, [worker(1)]);
    bench.pass(Duration::from_secs(3600));
    bench.say(Input::Examined { peer: worker(1), condition: Condition::Runs });
    assert!(bench.dumped.is_empty());
}

#[test]
fn a_look_that_is_a_bit_late_still_counts() {
    let mut bench = beating();
    (0..21).for_each(|_| bench.look_after(3 * tick() / 2, 1, Condition::Runs));
    assert_eq!(bench.dumped, [worker(1)]);
}

#[test]
fn a_boot_and_a_drain_have_their_own_deadlines() {
    let mut bench = Bench::new(policy(1));
    bench.say(Input::Born { peer: worker(1), pid: 1 });
    bench.stand_still(BOOT - tick(), Condition::Runs);
    assert_eq!((bench.stalls(), bench.killed.len()), (vec![], 0), "it boots");
    bench.say(Input::Ready { peer: worker(1) });
    bench.look(1, Condition::Runs);
    bench.stand_still(LIMIT - tick(), Condition::Runs);
    bench.say(Input::Draining { peer: worker(1) });
    bench.pass(ASKING);
    bench.stand_still(DRAIN, Condition::Runs);
    assert!(bench.killed.is_empty() && bench.dumped.is_empty(), "it drains");
    bench.stand_still(DRAIN_GRACE, Condition::Runs);
    bench.exit(worker(1), KILLED);
    assert_eq!(bench.last_exit().reason, ExitReason::DrainTimeout);
}

#[test]
fn one_that_is_ready_and_has_never_beaten_is_looked_at() {
    let mut bench = Bench::new(policy(1));
    bench.boot_all();
    for _ in 0..=looks(LIMIT) {
        bench.look(0, Condition::Runs);
    }
    assert_eq!(bench.dumped, [worker(1)]);
}

#[test]
fn without_a_limit_nobody_hangs() {
    let mut bench = Bench::new(Policy { hang: None, ..policy(1) });
    bench.boot_all();
    bench.stand_still(10 * LIMIT, Condition::Runs);
    assert_eq!((bench.stalls(), bench.dumped.len()), (vec![], 0));
}

#[test]
fn a_short_limit_is_looked_at_more_often_and_has_the_warnings_that_come_before_it() {
    for (millis, warnings) in [(0, 0), (1_000, 0), (2_000, 1), (6_000, 2)] {
        let limit = HangLimit::of(Duration::from_millis(millis));
        assert!(limit.limit() >= Duration::from_millis(100));
        assert!(3 * limit.beat_every() / 2 <= limit.longest_gap() && limit.longest_gap() < limit.limit());
        let mut bench = Bench::new(Policy { hang: Some(limit), ..policy(1) });
        bench.boot_all();
        let mut looks = 0;
        while bench.dumped.is_empty() && looks < 100 {
            bench.look_after(limit.beat_every(), 1, Condition::Runs);
            looks += 1;
        }
        assert!(looks >= 9, "{millis}: {looks}");
        assert_eq!((bench.dumped.len(), bench.stalls().len()), (1, warnings), "{millis}");
    }
}
