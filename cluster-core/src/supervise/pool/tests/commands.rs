//! Commands: each is answered once, when it has happened.
use super::*;

const SCALE_TO_3: Command = Command::Scale { workers: 3 };

fn scale(workers: u16) -> Command {
    Command::Scale { workers }
}

fn restart(slot: u16) -> Command {
    Command::Restart { slot: Slot(slot) }
}

fn reason_of(bench: &Bench) -> (ExitReason, Next) {
    let exit = bench.last_exit();
    (exit.reason.clone(), exit.next)
}

#[test]
fn scaling_up_is_done_when_all_new_ones_serve() {
    let mut bench = directed(1);
    bench.command(7, SCALE_TO_3);
    assert_eq!(bench.resized, [3]);
    assert!(bench.events().any(|event| matches!(event, Event::Scaled { from: 1, to: 3 })));
    assert_eq!(bench.spawned[2..], [(worker(2), seat(1)), (worker(3), seat(2))]);
    bench.boot(worker(3));
    assert!(bench.replies().is_empty());
    bench.boot(worker(2));
    assert_eq!(bench.replies(), [(7, Ok(()))]);
}

#[test]
fn scaling_down_is_done_when_the_workers_of_the_highest_slots_have_ended() {
    let mut bench = directed(3);
    bench.command(7, scale(1));
    assert_eq!((&bench.resized[..], &bench.drained[..]), (&[1][..], &[worker(2), worker(3)][..]));
    bench.exit(worker(3), 0);
    assert_eq!(reason_of(&bench), (ExitReason::Stopped, Next::NotReplaced));
    assert!(bench.last_exit().is_planned() && bench.replies().is_empty());
    bench.exit(worker(2), 0);
    let [.., Action::Tell(Event::WorkerExited(_)), Action::Reply { id: 7, result: Ok(()), .. }] =
        &bench.words[..]
    else {
        panic!("the exit, then the answer: {:?}", bench.words)
    };
    bench.pass(DRAIN);
    assert_eq!(bench.spawned.len(), 4, "nobody is replaced");
}

#[test]
fn scaling_to_what_is_is_done_at_once() {
    let mut bench = directed(2);
    bench.command(1, scale(2));
    assert_eq!((bench.replies(), bench.resized.len()), (vec![(1, Ok(()))], 0));
}

#[test]
fn a_signal_scales_by_one_within_one_and_the_limit() {
    let mut bench = directed(2);
    bench.say(Input::ScaleBy(1));
    bench.boot(worker(3));
    bench.say(Input::ScaleBy(-1));
    bench.exit(worker(3), 0);
    bench.say(Input::ScaleBy(-1));
    bench.exit(worker(2), 0);
    assert_eq!(bench.resized, [3, 2, 1]);
    bench.say(Input::ScaleBy(-1));
    assert_eq!(bench.resized.len(), 3, "one stays");
    for by in [i32::MAX, 1, i32::MIN, -1] {
        bench.say(Input::ScaleBy(by));
    }
    assert_eq!(bench.resized[3..], [bench.pool.policy.most_workers, 1]);
}

#[test]
fn a_signal_that_changes_nothing_disturbs_no_command_and_a_stopping_cluster_is_not_scaled() {
    let mut bench = directed(1);
    bench.command(7, SCALE_TO_3);
    bench.say(Input::ScaleBy(0));
    assert!(bench.replies().is_empty(), "it is not superseded");
    bench.say(Input::Stop);
    bench.say(Input::ScaleBy(1));
    assert_eq!(bench.resized, [3]);
}

#[test]
fn numbers_that_cannot_be_are_refused_and_change_nothing() {
    let mut bench = directed(2);
    bench.command(1, scale(0));
    bench.command(2, scale(61));
    bench.command(3, restart(2));
    let refused = [
        (1, Err(CommandError::NoWorkers)),
        (2, Err(CommandError::TooManyWorkers { asked: 61, limit: 60 })),
        (3, Err(CommandError::NoSuchSlot { slot: Slot(2), slots: 2 })),
    ];
    assert_eq!(bench.replies(), refused);
    assert!(bench.resized.is_empty() && bench.drained.is_empty());
}

#[test]
fn a_later_scale_supersedes_and_waits_for_what_the_earlier_began() {
    let mut bench = directed(3);
    bench.command(1, scale(1));
    bench.command(2, SCALE_TO_3);
    assert_eq!(bench.replies(), [(1, Err(CommandError::Superseded))]);
    assert_eq!(bench.spawned[4..], [(worker(4), seat(1)), (worker(5), seat(2))]);
    bench.boot(worker(4));
    bench.boot(worker(5));
    assert_eq!(bench.replies().len(), 1, "those of before have not left yet");
    bench.exit(worker(2), 0);
    assert_eq!(bench.last_exit().next, Next::AlreadyReplaced);
    bench.exit(worker(3), 0);
    assert_eq!(bench.replies()[1], (2, Ok(())));
}

#[test]
fn a_slot_given_up_while_it_waits_for_its_restart_just_goes() {
    let mut bench = directed(2);
    bench.exit(worker(2), KILLED);
    bench.exit(worker(3), KILLED);
    assert!(matches!(bench.last_exit().next, Next::RestartIn(delay) if !delay.is_zero()));
    bench.command(1, scale(1));
    assert_eq!(bench.replies(), [(1, Ok(()))]);
    bench.pass(DRAIN);
    assert_eq!(bench.living(), [worker(1), PeerId::Director(1)]);
}

#[test]
fn a_new_slot_whose_worker_fails_says_why_and_goes_on_trying() {
    let mut bench = directed(1);
    bench.command(1, scale(2));
    bench.say(Input::Born { peer: worker(2), pid: 1 });
    bench.say(Input::BootFailed { peer: worker(2), error: "no database".into() });
    bench.exit(worker(2), CODE_1);
    let [(1, Err(CommandError::SuccessorFailed { why }))] = &bench.replies()[..] else { panic!("it failed") };
    assert!(why.contains("no database"), "{why}");
    assert_eq!(bench.last_spawned(), worker(3));
}

#[test]
fn a_restart_is_done_when_the_successor_is_ready() {
    let mut bench = directed(2);
    bench.pass(Duration::from_secs(1));
    bench.command(1, restart(1));
    assert_eq!((&bench.drained[..], bench.last_spawned()), (&[worker(2)][..], worker(3)));
    bench.exit(worker(2), 0);
    assert_eq!(reason_of(&bench), (ExitReason::Stopped, Next::AlreadyReplaced));
    assert!(bench.replies().is_empty());
    bench.boot(worker(3));
    assert_eq!(bench.replies(), [(1, Ok(()))]);
}

#[test]
fn a_restart_whose_successor_fails_says_why() {
    let mut bench = directed(1);
    bench.pass(Duration::from_secs(1));
    bench.command(1, restart(0));
    bench.say(Input::Stillborn { peer: worker(2), error: "no memory".into() });
    let [(1, Err(CommandError::SuccessorFailed { why }))] = &bench.replies()[..] else { panic!("it failed") };
    assert!(why.contains("no memory"), "{why}");
}

#[test]
fn a_restart_brings_back_who_waits_and_who_would_not_come_back() {
    let never = Policy { director: true, restart: Restart::never(), ..policy(2) };
    let waits = Policy { director: true, ..policy(2) };
    for policy in [never, waits] {
        let mut bench = Bench::new(policy);
        bench.boot_all();
        bench.exit(worker(2), KILLED);
        // At once, or never: the second time it waits.
        if bench.last_spawned() == worker(3) {
            bench.exit(worker(3), KILLED);
        }
        let before = bench.spawned.len();
        bench.command(1, restart(1));
        assert_eq!(bench.spawned.len(), before + 1);
        bench.boot(bench.last_spawned());
        assert_eq!(bench.replies(), [(1, Ok(()))]);
    }
}

#[test]
fn a_slot_that_goes_while_it_restarts_is_none() {
    let mut bench = directed(2);
    bench.pass(Duration::from_secs(1));
    bench.command(1, restart(1));
    bench.command(2, scale(1));
    assert_eq!(bench.replies(), [(1, Err(CommandError::NoSuchSlot { slot: Slot(1), slots: 1 }))]);
    bench.exit(worker(2), 0);
    bench.exit(worker(3), 0);
    assert_eq!(bench.replies()[1], (2, Ok(())));
}

#[test]
fn a_stop_answers_the_others_at_once_and_itself_before_the_director_leaves() {
    let mut bench = directed(1);
    bench.command(1, SCALE_TO_3);
    bench.command(2, restart(0));
    bench.command(3, Command::Stop);
    assert_eq!(bench.replies(), [(1, Err(CommandError::Stopping)), (2, Err(CommandError::Stopping))]);
    bench.command(4, restart(0));
    bench.command(5, scale(1));
    assert_eq!(bench.replies()[2..], [(4, Err(CommandError::Stopping)), (5, Err(CommandError::Stopping))]);
    for peer in bench.living() {
        if let PeerId::Worker(_) = peer {
            bench.exit(peer, 0);
        }
    }
    let [.., Action::Reply { id: 3, result: Ok(()), .. }, Action::Dismiss { .. }] = &bench.words[..] else {
        panic!("the answer, then the dismissal: {:?}", bench.words)
    };
    bench.command(6, Command::Stop);
    assert_eq!(bench.replies().last(), Some(&(6, Ok(()))), "it has happened");
}

#[test]
fn a_director_that_dies_takes_its_commands_along() {
    let mut bench = directed(1);
    bench.command(1, SCALE_TO_3);
    bench.exit(PeerId::Director(1), KILLED);
    bench.boot_all();
    assert!(bench.replies().is_empty());
    assert_eq!(bench.pool.serving(), 3, "what it had asked for is done all the same");
    bench.command(2, scale(1));
    assert!(bench.replies().is_empty() && bench.resized == [3], "the dead ask for nothing");
}

#[test]
fn more_commands_than_may_wait_are_refused_and_change_nothing() {
    const MOST: u64 = 1024;
    let too_many = Err(CommandError::TooMany { limit: MOST });
    let mut bench = directed(1);
    (0..MOST).for_each(|id| bench.command(id, restart(0)));
    assert!(bench.replies().is_empty());
    bench.command(5000, SCALE_TO_3);
    bench.command(5001, restart(0));
    assert_eq!(bench.replies(), [(5000, too_many.clone()), (5001, too_many.clone())]);
    assert!(bench.resized.is_empty());

    // Those that wait for something else make no stop wait.
    bench.words.clear();
    bench.command(6000, Command::Stop);
    assert_eq!(bench.replies().len() as u64, MOST);
    assert!(bench.replies().iter().all(|(_, result)| *result == Err(CommandError::Stopping)));
    bench.words.clear();
    (1..=MOST).for_each(|more| bench.command(6000 + more, Command::Stop));
    assert_eq!(bench.replies(), [(6000 + MOST, too_many)]);
    bench.words.clear();
    let workers: Vec<_> =
        bench.living().into_iter().filter(|peer| matches!(peer, PeerId::Worker(_))).collect();
    workers.into_iter().for_each(|worker| bench.exit(worker, 0));
    assert_eq!(bench.replies(), (6000..6000 + MOST).map(|id| (id, Ok(()))).collect::<Vec<_>>());
}
