//! Reloads: a generation is tried with one worker, and takes over slot by slot.
use super::*;

pub(super) const HEALTH: Duration = Duration::from_secs(1);

/// A pool of forked workers that serve.
pub(super) fn forking(workers: u16, director: bool) -> Bench {
    let mut bench = Bench::new(Policy { fork_server: true, director, ..policy(workers) });
    bench.say(Input::ForkServerUp { generation: 1, pid: 1 });
    bench.boot_all();
    bench.spawned.clear();
    bench
}

impl Bench {
    pub(super) fn reload(&mut self) {
        self.say(Input::Reload);
    }

    pub(super) fn up(&mut self, generation: u64) {
        self.say(Input::ForkServerUp { generation, pid: 1 });
    }

    /// The last that was asked for becomes a process and serves.
    pub(super) fn boot_last(&mut self) -> PeerId {
        let peer = self.last_spawned();
        self.boot(peer);
        peer
    }

    /// To the moment when the new generation is found sound.
    pub(super) fn found_sound(&mut self, generation: u64) {
        self.up(generation);
        self.boot_last();
        self.pass(HEALTH);
    }

    /// To the moment when the first worker of a second generation serves; answers with it.
    pub(super) fn try_second(&mut self) -> PeerId {
        self.reload();
        self.up(2);
        self.boot_last()
    }

    /// The newcomers of three attempts, one after another, could not even be made.
    pub(super) fn fail_newcomers(&mut self) {
        for _ in 0..3 {
            self.say(Input::Stillborn { peer: self.last_spawned(), error: "no memory".into() });
            self.pass(Duration::from_secs(1));
        }
    }

    pub(super) fn failures(&self) -> Vec<&str> {
        let failures = self.events().filter_map(|event| match event {
            Event::ReloadFailed { why, .. } => Some(why.as_str()),
            _ => None,
        });
        failures.collect()
    }

    pub(super) fn reloaded(&self) -> usize {
        self.events().filter(|event| matches!(event, Event::Reloaded { .. })).count()
    }

    pub(super) fn generations(&self) -> Vec<u64> {
        let holders = self.pool.places.slots.iter().map(|place| match place.holder {
            Holder::Member(peer) => self.pool.members[&peer].generation,
            Holder::Waiting(_) | Holder::Vacant => 0,
        });
        holders.collect()
    }
}

#[test]
fn a_generation_is_tried_with_one_worker_before_any_other_is_touched() {
    let mut bench = forking(3, false);
    bench.reload();
    assert_eq!((&bench.opened[..], bench.spawned.len()), (&[2][..], 0), "first its fork server");
    bench.up(2);
    assert_eq!(bench.spawned, [(worker(4), seat(0))]);
    bench.boot_last();
    bench.pass(HEALTH - Duration::from_millis(1));
    assert!(bench.drained.is_empty() && bench.seated.is_empty(), "it has to serve for a while");
    assert_eq!((bench.pool.status().generation, bench.generations()), (1, vec![1, 1, 1]));
    bench.pass(Duration::from_millis(1));
    assert_eq!((&bench.seated[..], &bench.drained[..]), (&[worker(4)][..], &[worker(1)][..]));
    assert_eq!((bench.pool.status().generation, bench.generations()), (2, vec![2, 1, 1]));
}

#[test]
fn slots_are_replaced_one_after_another_and_each_newcomer_serves_first() {
    let mut bench = forking(3, false);
    bench.reload();
    bench.found_sound(2);
    for slot in 1..3 {
        assert_eq!(bench.spawned.last(), Some(&(worker(4 + slot), seat(slot as u16))));
        assert_eq!(bench.drained.len() as u64, slot, "not before its successor serves");
        assert_eq!(bench.reloaded(), 0);
        bench.boot_last();
        assert_eq!(bench.drained.last(), Some(&worker(slot + 1)));
    }
    assert_eq!((bench.reloaded(), &bench.closed[..]), (1, &[1][..]), "the old fork server goes");
    assert_eq!(bench.generations(), [2, 2, 2]);
    let whys: Vec<_> = bench.pool.members.values().filter_map(|member| member.leave).collect();
    assert_eq!(whys, [Leave::Reload; 3]);
    for id in 1..=3 {
        bench.exit(worker(id), 0);
        assert_eq!(
            (&bench.last_exit().reason, bench.last_exit().next),
            (&ExitReason::Stopped, Next::AlreadyReplaced)
        );
        assert_eq!(bench.last_exit().generation, 1);
    }
    bench.pass(Duration::from_secs(3600));
    assert_eq!(bench.spawned.len(), 3);
}

#[test]
fn as_many_are_replaced_at_a_time_as_the_batch_says() {
    let mut bench = forking(5, false);
    bench.pool.policy.rollout.batch = 3;
    bench.reload();
    bench.found_sound(2);
    assert_eq!(bench.spawned.len(), 4, "the first, then three");
    bench.boot(worker(8));
    assert_eq!(bench.spawned.len(), 5);
}

#[test]
fn a_program_that_cannot_be_opened_changes_nothing() {
    let mut bench = forking(2, true);
    bench.command(1, Command::Reload);
    bench.say(Input::NotOpened { generation: 2, why: "cannot execute `/srv/x`".into() });
    assert_eq!(bench.failures(), ["cannot execute `/srv/x`"]);
    assert!(
        matches!(&bench.reloads()[..], [(1, Err(ReloadError::Failed { why, .. }))] if why.contains("/srv/x"))
    );
    assert!(bench.spawned.is_empty() && bench.killed.is_empty() && bench.drained.is_empty());
    assert_eq!(bench.closed, [2]);
}

#[test]
fn a_fork_server_that_ends_or_says_nothing_changes_nothing() {
    let mut bench = forking(2, false);
    bench.reload();
    bench.say(Input::ForkServerLost {
        generation: 2,
        why: "exit code 3".into(),
        last_stderr: vec!["no config".into()],
    });
    let told = bench.events().last().map(ToString::to_string).unwrap_or_default();
    assert!(told.contains("exit code 3") && told.contains("no config"), "{told}");
    bench.reload();
    bench.pass(BOOT);
    assert_eq!(bench.failures()[1], "it did not come up within 60s");
    assert_eq!(bench.closed, [2, 3], "its fork server is killed");
    assert!(bench.spawned.is_empty() && bench.drained.is_empty());
    // The old one's is as it was.
    bench.exit(worker(1), KILLED);
    assert_eq!(bench.spawned.len(), 1);
}

#[test]
fn a_first_worker_that_is_not_ready_in_time_or_dies_changes_nothing() {
    for dies_after in [None, Some(Duration::ZERO), Some(HEALTH / 2)] {
        let mut bench = forking(2, false);
        bench.reload();
        bench.up(2);
        let canary = bench.last_spawned();
        match dies_after {
            None => {
                bench.say(Input::Born { peer: canary, pid: 9 });
                bench.pass(BOOT);
                assert_eq!(bench.killed, [canary]);
            }
            Some(after) => {
                bench.boot(canary);
                bench.pass(after);
            }
        }
        bench.exit(canary, KILLED);
        let expected = if dies_after.is_none() { ExitReason::BootTimeout } else { ExitReason::Crashed };
        assert_eq!((&bench.last_exit().reason, bench.last_exit().next), (&expected, Next::NotReplaced));
        assert!(bench.failures()[0].contains("slot 0"), "{:?}", bench.failures());
        assert_eq!((bench.generations(), &bench.closed[..]), (vec![1, 1], &[2][..]));
        assert!(bench.drained.is_empty());
        bench.pass(Duration::from_secs(3600));
        assert_eq!(bench.spawned.len(), 1, "nobody tries again by itself");
    }
}

#[test]
fn a_first_worker_that_serves_when_its_reload_fails_finishes_what_it_has() {
    let mut bench = forking(1, false);
    let canary = bench.try_second();
    bench.say(Input::ForkServerLost { generation: 2, why: "SIGKILL".into(), last_stderr: Vec::new() });
    assert_eq!(bench.failures(), ["its fork server was lost (SIGKILL)"]);
    assert_eq!((&bench.drained[..], bench.killed.len()), (&[canary][..], 0));
    bench.exit(canary, 0);
    assert_eq!(bench.last_exit().reason, ExitReason::Stopped);
    assert_eq!(bench.pool.serving(), 1);
}

#[test]
fn a_first_worker_that_leaves_by_itself_is_no_sound_one() {
    let mut bench = forking(1, false);
    let canary = bench.try_second();
    bench.say(Input::Draining { peer: canary });
    bench.pass(ASKING);
    assert_eq!(bench.failures(), ["worker 2 left by itself"]);
    assert_eq!(bench.generations(), [1]);
    bench.exit(canary, 0);
    assert_eq!(bench.pool.serving(), 1);
}

#[test]
fn a_worker_that_crashes_while_the_new_generation_is_tried_comes_back_as_it_was() {
    let mut bench = forking(1, false);
    bench.try_second();
    bench.exit(worker(1), KILLED);
    let successor = bench.last_spawned();
    assert_eq!(bench.pool.members[&successor].generation, 1);
    bench.pass(HEALTH);
    assert_eq!(bench.generations(), [2]);
    assert_eq!(bench.drained, [successor]);
}

#[test]
fn whoever_crashes_once_the_generation_is_sound_comes_back_as_that() {
    let mut bench = forking(3, false);
    bench.reload();
    bench.found_sound(2);
    // Its successor is on its way: it has the seat now.
    let awaited = bench.last_spawned();
    bench.exit(worker(2), KILLED);
    assert_eq!((bench.last_exit().next, bench.seated.last()), (Next::AlreadyReplaced, Some(&awaited)));
    // This one's is not.
    bench.exit(worker(3), KILLED);
    assert_eq!(bench.pool.members[&bench.last_spawned()].generation, 2);
    bench.boot(awaited);
    assert_eq!(bench.reloaded(), 0, "one is on its way");
    bench.boot_last();
    assert_eq!((bench.reloaded(), bench.generations()), (1, vec![2, 2, 2]));
}

#[test]
fn a_first_worker_that_is_about_to_end_is_not_taken_for_sound() {
    for word in [Input::Draining { peer: worker(2) }, Input::Finished { peer: worker(2), error: None }] {
        let mut bench = forking(1, false);
        assert_eq!(bench.try_second(), worker(2));
        bench.pass(HEALTH - Duration::from_millis(1));
        bench.say(word);
        bench.pass(Duration::from_millis(1));
        assert_eq!((bench.generations(), bench.drained.contains(&worker(1))), (vec![1], false));
        let due = bench.pool.next_deadline();
        assert!(due.is_none_or(|due| due > bench.now), "no time that is over is waited for");
        bench.exit(worker(2), 0);
        assert_eq!(bench.failures().len(), 1);
    }
}

#[test]
fn a_stop_does_not_wait_for_what_is_tried() {
    let mut bench = forking(1, false);
    bench.reload();
    bench.say(Input::Stop);
    assert_eq!(bench.closed, [2]);
}

#[test]
fn a_stop_waits_for_no_fork_server() {
    let mut bench = forking(1, false);
    bench.say(lost("SIGKILL"));
    bench.say(lost("SIGKILL"));
    bench.say(Input::Stop);
    bench.pass(Duration::from_secs(20));
    let due = bench.pool.next_deadline();
    assert!(due.is_none_or(|due| due > bench.now), "no time that is over is waited for");
}

#[test]
fn the_director_is_replaced_last_and_who_has_asked_hears_the_answer_before_it_leaves() {
    let mut bench = forking(1, true);
    bench.command(1, Command::Reload);
    bench.found_sound(2);
    assert_eq!(bench.spawned.last(), Some(&(PeerId::Director(2), Seat::Director)));
    assert!(bench.reloads().is_empty() && bench.reloaded() == 0);
    bench.boot_last();
    let [
        ..,
        Action::Tell(Event::Reloaded { generation: 2, .. }),
        Action::ReplyReload { to: PeerId::Director(1), id: 1, result: Ok(()) },
        Action::Dismiss { peer: PeerId::Director(1) },
    ] = &bench.words[..]
    else {
        panic!("the event, the answer, the dismissal: {:?}", bench.words)
    };
    assert_eq!(bench.seated.last(), Some(&PeerId::Director(2)));
}
