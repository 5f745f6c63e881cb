//! Reloads to a program that has code for the primary's side, from one that had none, and back.
use super::rollouts::{HEALTH, forking};
use super::*;

const DIRECTOR: PeerId = PeerId::Director(1);

impl Bench {
    /// To the moment when a generation is found sound whose first worker says whether it has a director.
    fn found_directed(&mut self, generation: u64, director: bool) {
        self.reload();
        self.up(generation);
        let tried = self.last_spawned();
        self.say(Input::Directed { peer: tried, director });
        self.boot(tried);
        assert!(self.directed.is_empty(), "it may yet fail");
        self.pass(HEALTH);
    }
}

#[test]
fn a_first_director_comes_as_soon_as_its_program_is_found_sound() {
    let mut bench = forking(1, false);
    bench.found_directed(2, true);
    assert_eq!(bench.directed, [true]);
    assert_eq!(bench.last_spawned(), DIRECTOR);
    bench.exit(worker(1), 0);
    bench.pass(HEALTH);
    assert_eq!(bench.reloaded(), 0, "it is waited for");
    bench.boot(DIRECTOR);
    assert_eq!(bench.reloaded(), 1);
    bench.exit(DIRECTOR, KILLED);
    bench.pass(Duration::ZERO);
    assert_eq!(bench.last_spawned(), PeerId::Director(2), "it is supervised like any other");
}

#[test]
fn a_director_that_the_new_program_has_not_leaves_last_and_for_good() {
    let mut bench = forking(2, true);
    bench.say(Input::Command { from: DIRECTOR, id: 7, command: Command::Reload });
    bench.found_directed(2, false);
    assert!(!bench.dismissed() && bench.directed.is_empty(), "it hears the old workers");
    bench.boot_last();
    // A signal has asked for another meanwhile.
    bench.found_sound(3);
    bench.boot_last();
    assert_eq!(bench.directed, [false]);
    let place = |is: &dyn Fn(&Action) -> bool| bench.words.iter().position(is).expect("it was said");
    let answered = place(&|word| matches!(word, Action::ReplyReload { id: 7, result: Ok(()), .. }));
    assert!(answered < place(&|word| matches!(word, Action::Dismiss { .. })), "it hears of it");
    bench.exit(DIRECTOR, 0);
    let told = bench.events().find_map(|event| match event {
        Event::DirectorExited { next, .. } => Some(*next),
        _ => None,
    });
    assert_eq!(told, Some(Next::NotReplaced));
    assert!(bench.pool.is_vacant(Seat::Director));
    bench.pass(Duration::from_secs(60));
    assert!(!bench.living().iter().any(|peer| matches!(peer, PeerId::Director(_))));
}

#[test]
fn a_director_that_crashes_on_its_way_out_is_not_made_of_a_program_that_has_none() {
    let mut bench = forking(3, true);
    bench.found_directed(2, false);
    bench.exit(DIRECTOR, KILLED);
    bench.boot_last();
    bench.boot_last();
    assert_eq!((bench.reloaded(), &bench.directed[..]), (1, &[false][..]));
    assert!(!bench.spawned.iter().any(|(peer, _)| matches!(peer, PeerId::Director(_))));
}

#[test]
fn a_roll_back_takes_its_director_along_or_leaves_the_one_there_was() {
    for had in [false, true] {
        let mut bench = forking(2, had);
        bench.found_directed(2, !had);
        if !had {
            bench.boot(DIRECTOR);
        }
        while bench.failures().is_empty() {
            let newcomer = bench.spawned.iter().rev().find(|(peer, _)| matches!(peer, PeerId::Worker(_)));
            let (newcomer, _) = *newcomer.expect("one was asked for");
            bench.say(Input::Stillborn { peer: newcomer, error: "no memory".into() });
            bench.pass(HEALTH);
        }
        // Slot 0 is given back.
        let back = bench.last_spawned();
        bench.boot(back);
        bench.exit(worker(3), 0);
        bench.pass(DRAIN + DRAIN_GRACE);
        let directors = bench.living().into_iter().filter(|peer| matches!(peer, PeerId::Director(_)));
        let leaves = bench.killed.contains(&DIRECTOR);
        assert_eq!((directors.count(), leaves), (1, !had), "{:?}", bench.living());
        assert_eq!((bench.pool.directed, bench.generations()), (had, vec![1, 1]));
    }
}
