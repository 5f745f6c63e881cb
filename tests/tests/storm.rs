//! Workers are killed and stopped under load: a client loses what a killed worker had in hand, and nothing else.
use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::seq::IndexedRandom;

use cluster_tests::load::{End, Load, Visit, Visits};
use cluster_tests::{Process, SCHEDULINGS, eventually, is_stopped, signal, subject};

const SUBJECT: &str = env!("CARGO_BIN_EXE_subject");

const CLIENTS: usize = 8;
/// The longest that a connection waits while a worker is idle.
const BOUND: Duration = Duration::from_millis(100);
/// A worker takes no more at a time before it greets them.
const MOUTHFUL: usize = 4;

/// Kills a worker every 250 ms for 10 s; says who was killed when. The last one that is up is left alone: with nobody up
/// clients wait for a birth, which takes as long as the machine has other work.
fn kill_for_10_s(app: &Process) -> HashMap<u32, Instant> {
    let mut killed = HashMap::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        // The rhythm is the promise: a kill every 250 ms.
        thread::sleep(Duration::from_millis(250));
        let mut up = Vec::new();
        eventually("two are up", || {
            up = app.workers();
            up.retain(|worker| !killed.contains_key(&worker.pid));
            up.len() >= 2
        });
        let victim = up.choose(&mut rand::rng()).expect("there are two");
        signal(victim.pid, Signal::SIGKILL).unwrap();
        killed.insert(victim.pid, Instant::now());
    }
    killed
}

fn check_storm(what: &str, visits: &Visits, killed: &HashMap<u32, Instant>) {
    let answered = visits.ended(|end| *end == End::Answered);
    assert!(answered.len() > 1000, "{what}: under load: {}", answered.len());
    let refused = visits.ended(|end| matches!(end, End::Refused(_)));
    assert!(refused.is_empty(), "{what}: {refused:?}");
    let timed_out = visits.ended(|end| *end == End::TimedOut);
    assert!(timed_out.is_empty(), "{what}: {timed_out:?}");
    let late: Vec<_> = visits.all.iter().filter(|visit| visits.waited(visit) > BOUND).collect();
    let waits: Vec<_> = late.iter().map(|visit| visits.waited(visit)).collect();
    assert!(late.is_empty(), "{what}: {waits:?}: {late:?}");
    // Lost are those that a killed worker had in hand: it had greeted them, or was about to.
    let lost = visits.ended(|end| *end == End::Lost);
    let (greeted, silent): (Vec<&Visit>, Vec<&Visit>) =
        lost.into_iter().partition(|visit| visit.greeted.is_some());
    let strange: Vec<_> =
        greeted.iter().filter(|visit| visit.pid().is_none_or(|pid| !killed.contains_key(&pid))).collect();
    assert!(strange.is_empty(), "{what}: lost by workers that live: {strange:?}");
    let mut per_kill: HashMap<Instant, usize> = HashMap::new();
    for visit in &silent {
        let kill = killed.values().filter(|at| **at <= visit.ended).max();
        *per_kill.entry(*kill.expect("nothing is lost before the first kill")).or_default() += 1;
    }
    assert!(per_kill.values().all(|lost| *lost <= MOUTHFUL), "{what}: {per_kill:?}: {silent:?}");
    let longest = visits.all.iter().filter_map(|visit| Some(visit.greeted?.0 - visit.began)).max();
    println!(
        "{what}: {} kills, {} answered, lost {} greeted and {} not, longest in the queue {longest:?}",
        killed.len(),
        answered.len(),
        greeted.len(),
        silent.len()
    );
}

fn storm_with_restarts_at_once(scheduling: &str) {
    let knob = format!("scheduling={scheduling}");
    let app =
        Process::start(subject(SUBJECT, "fork", &["workers=4", "fast", "quiet", "greets", &knob])).unwrap();
    let load = Load::begin(app.addr(), CLIENTS);
    let killed = kill_for_10_s(&app);
    check_storm(&format!("{scheduling}, at once"), &load.end(), &killed);
    assert!(app.stop().unwrap().success(), "{scheduling}");
}

fn storm_with_restarts_delayed_by_5_s(scheduling: &str) {
    // Of 40 that are killed in 10 s no more than 24 are down at a time, with 20 % jitter.
    const WORKERS: usize = 32;
    let (knob, workers) = (format!("scheduling={scheduling}"), format!("workers={WORKERS}"));
    let knobs = [&workers, "restart-delay=5000", "quiet", "greets", &knob];
    let app = Process::start(subject(SUBJECT, "fork", &knobs)).unwrap();
    // The first restart of each slot is at once, whatever the delay.
    app.workers().iter().for_each(|first| signal(first.pid, Signal::SIGKILL).unwrap());
    app.wait_for_workers(|now| now.len() == WORKERS && now.iter().all(|worker| worker.id > WORKERS as u64))
        .unwrap();
    let load = Load::begin(app.addr(), CLIENTS);
    let killed = kill_for_10_s(&app);
    let left = app.workers().len();
    assert!(left < WORKERS, "{scheduling}: some are still to be restarted");
    check_storm(&format!("{scheduling}, delayed, {left} left"), &load.end(), &killed);
    assert!(app.stop().unwrap().success(), "{scheduling}");
}

#[test]
fn a_kill_storm_costs_what_the_killed_had_in_hand_where_workers_help_themselves() {
    storm_with_restarts_at_once("shared");
}

#[test]
fn a_kill_storm_costs_what_the_killed_had_in_hand_where_connections_go_round() {
    storm_with_restarts_at_once("round-robin");
}

#[test]
fn a_kill_storm_costs_what_the_killed_had_in_hand_where_the_least_loaded_is_chosen() {
    storm_with_restarts_at_once("least");
}

#[test]
fn late_restarts_make_a_kill_storm_no_worse_where_workers_help_themselves() {
    storm_with_restarts_delayed_by_5_s("shared");
}

#[test]
fn late_restarts_make_a_kill_storm_no_worse_where_connections_go_round() {
    storm_with_restarts_delayed_by_5_s("round-robin");
}

#[test]
fn late_restarts_make_a_kill_storm_no_worse_where_the_least_loaded_is_chosen() {
    storm_with_restarts_delayed_by_5_s("least");
}

/// Stops a worker for a while, 40 times; says who was stopped from when to when.
fn stop_40_times(app: &Process) -> Vec<(u32, Instant, Instant)> {
    let stop = |_| {
        let pid = app.workers().choose(&mut rand::rng()).expect("none ends").pid;
        let from = Instant::now();
        signal(pid, Signal::SIGSTOP).unwrap();
        eventually("it stands still", || is_stopped(pid));
        // Longer than anybody may wait for it.
        thread::sleep(BOUND + BOUND / 2);
        let until = Instant::now();
        signal(pid, Signal::SIGCONT).unwrap();
        (pid, from, until)
    };
    (0..40).map(stop).collect()
}

#[test]
fn who_is_taken_by_no_stopped_worker_waits_for_none() {
    let storm = |scheduling: &'static str| {
        move || {
            let knob = format!("scheduling={scheduling}");
            let app = Process::start(subject(SUBJECT, "fork", &["workers=4", "greets", &knob])).unwrap();
            let load = Load::begin(app.addr(), CLIENTS);
            let stops = stop_40_times(&app);
            let visits = load.end();
            let unanswered = visits.ended(|end| *end != End::Answered);
            assert!(unanswered.is_empty(), "{scheduling}: {unanswered:?}");
            let late: Vec<_> = visits.all.iter().filter(|visit| visits.waited(visit) > BOUND).collect();
            // Each of these was in the hands of one that stood still.
            let by_stopped = |visit: &Visit| {
                let (greeted, who) = visit.greeted.expect("it was answered");
                let mut stops = stops.iter();
                stops.any(|(pid, from, until)| *pid == who.pid && *from < greeted && visit.began < *until)
            };
            let strange: Vec<_> = late.iter().filter(|visit| !by_stopped(visit)).collect();
            assert!(strange.is_empty(), "{scheduling}: {strange:?}");
            assert!(late.len() <= stops.len() * MOUTHFUL, "{scheduling}: {}", late.len());
            println!(
                "{scheduling}: {} answered, {} waited for a stopped worker",
                visits.all.len(),
                late.len()
            );
            assert!(app.stop().unwrap().success(), "{scheduling}");
        }
    };
    let storms = SCHEDULINGS.map(|scheduling| thread::spawn(storm(scheduling)));
    storms.into_iter().for_each(|storm| storm.join().unwrap());
}
