//! Questions whose answerers end, and those who wait for room.
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Wake;

use super::*;
use crate::id::{Seat, Slot, WorkerId};

#[test]
fn a_question_that_was_asked_before_anybody_was_known_ends_with_who_has_it() {
    let mut outbox = Outbox::new(true, 1);
    let refused = Arc::new(AtomicU32::new(0));
    let count = refused.clone();
    let awaits = Awaits::Reply(Box::new(move |reply| {
        assert!(matches!(reply, Reply::Refusal(Refusal::Gone)));
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let mut frame = Vec::new();
    let head = frame::Head::system(frame::Kind::Ask, PeerId::Worker(WorkerId(1)).into(), Address::Director);
    frame::write(&mut frame, &head, b"Question", b"");
    let weight = Weight::of(frame.len(), None);
    let mut prepared = Prepared { to: Address::Director, frame, parcel: None, weight };
    let admitted = outbox.admit(&mut prepared, awaits, &mut |bytes, _| bytes.len());
    assert!(matches!(admitted, Ok(Admitted::Yes { .. })));
    let (peer, seat) = (PeerId::Director(7), Seat::Director);
    assert!(outbox.notice(Notice::Joined { peer, seat }).is_empty());
    let lost = outbox.notice(Notice::Gone { peer, seat });
    lost.into_iter().for_each(|complete| complete(Reply::Refusal(Refusal::Gone)));
    assert_eq!(refused.load(Ordering::Relaxed), 1);
}

/// Asks the worker of slot 0, which is `with`; counts its refusals.
fn asked(with: PeerId) -> (Outbox, Arc<AtomicU32>) {
    let (mut outbox, seat) = (Outbox::new(false, 1), Seat::Slot(Slot(0)));
    outbox.notice(Notice::Slots(1));
    outbox.notice(Notice::Joined { peer: with, seat });
    let refused = Arc::new(AtomicU32::new(0));
    let count = refused.clone();
    let awaits = Awaits::Reply(Box::new(move |reply| {
        assert!(matches!(reply, Reply::Refusal(Refusal::Gone)));
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let head = frame::Head::system(frame::Kind::Ask, PeerId::Worker(WorkerId(1)).into(), seat.into());
    let mut frame = Vec::new();
    frame::write(&mut frame, &head, b"Question", b"");
    let weight = Weight::of(frame.len(), None);
    let mut prepared = Prepared { to: seat.into(), frame, parcel: None, weight };
    let admitted = outbox.admit(&mut prepared, awaits, &mut |bytes, _| bytes.len());
    assert!(matches!(admitted, Ok(Admitted::Yes { .. })));
    (outbox, refused)
}

fn tell(outbox: &mut Outbox, notice: Notice) {
    let lost = outbox.notice(notice);
    lost.into_iter().for_each(|complete| complete(Reply::Refusal(Refusal::Gone)));
}

#[test]
fn a_question_that_a_successor_may_have_lasts_as_long_as_anybody_who_may_have_it() {
    let seat = Seat::Slot(Slot(0));
    let [old, new, newest] = [2, 3, 4].map(|id| PeerId::Worker(WorkerId(id)));
    let joined = |peer| Notice::Joined { peer, seat };
    let gone = |peer| Notice::Gone { peer, seat };
    // (what happens after the question, and how many refusals that makes)
    let cases: [(&[Notice], u32); 6] = [
        (&[gone(old)], 1),
        (&[gone(old), joined(new)], 1),
        // The primary may have let the successor join before it read the question.
        (&[joined(new), gone(old)], 0),
        (&[joined(new), gone(new)], 0),
        (&[joined(new), gone(old), gone(new)], 1),
        (&[joined(new), gone(old), joined(newest), gone(new), gone(newest)], 1),
    ];
    for (notices, expected) in cases {
        let (mut outbox, refused) = asked(old);
        notices.iter().for_each(|notice| tell(&mut outbox, *notice));
        assert_eq!(refused.load(Ordering::Relaxed), expected, "{notices:?}");
    }
}

/// Counts how often a task is woken.
#[derive(Default)]
struct Alarm(AtomicU32);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A task that sends one message.
struct Task {
    prepared: Prepared,
    place: Option<Place>,
    alarm: Arc<Alarm>,
    /// Of its wake-ups it has answered so many.
    answered: u32,
}

impl Task {
    fn new(to: Address, bytes: usize, parcel: Option<u64>) -> Self {
        let prepared =
            Prepared { to, frame: vec![0; bytes], parcel: None, weight: Weight::of(bytes, parcel) };
        Self { prepared, place: None, alarm: Arc::default(), answered: 0 }
    }

    fn wakes(&self) -> u32 {
        self.alarm.0.load(Ordering::Relaxed)
    }

    /// Whether it would be polled: it has not been yet, or it was woken since.
    fn is_due(&self) -> bool {
        self.place.is_none() || self.wakes() > self.answered
    }

    /// Whether its message has gone.
    fn poll(&mut self, outbox: &mut Outbox, socket: bool) -> bool {
        self.answered = self.wakes();
        let mut sink = |bytes: &[u8], _: Option<&SharedParcel>| if socket { bytes.len() } else { 0 };
        match outbox.admit(&mut self.prepared, Awaits::Nothing, &mut sink).unwrap() {
            Admitted::Yes { .. } => {
                self.leave(outbox);
                true
            }
            Admitted::No(_) => {
                let waker = Waker::from(self.alarm.clone());
                self.place = Some(outbox.wait(&self.prepared, self.place, &waker));
                false
            }
        }
    }

    fn leave(&self, outbox: &mut Outbox) {
        if let Some(place) = self.place {
            outbox.leave(place);
        }
    }
}

fn write_all(outbox: &mut Outbox) {
    assert!(outbox.write(&mut |bytes, _| bytes.len()));
}

#[test]
fn a_credit_wakes_as_many_as_there_is_room_for() {
    const WAIT: usize = 500;
    const BYTES: usize = 10_000;
    let (mut outbox, director) = (Outbox::new(true, 1), Address::Director);
    let mut on_the_way = 0;
    let mut tasks: Vec<Task> = Vec::new();
    while tasks.len() < WAIT {
        let mut task = Task::new(director, BYTES, None);
        if task.poll(&mut outbox, true) {
            on_the_way += 1
        } else {
            tasks.push(task)
        }
        write_all(&mut outbox);
    }
    assert_eq!(on_the_way, (1 << 20) / BYTES);
    let mut sent = 0;
    for _ in 0..WAIT {
        outbox.credit(director, Weight::of(BYTES, None));
        // What is written makes no room in a window.
        write_all(&mut outbox);
        let due = tasks.iter().position(Task::is_due).expect("there is room for one");
        assert!(tasks.remove(due).poll(&mut outbox, true));
        assert_eq!(due, 0, "it has waited longest");
        outbox.offer_again();
        assert!(!outbox.some_wait_on() && !tasks.iter().any(Task::is_due));
        sent += 1;
    }
    assert_eq!((sent, tasks.len()), (WAIT, 0));
}

#[test]
fn room_that_nobody_comes_for_is_offered_to_the_next() {
    let (mut outbox, director) = (Outbox::new(true, 1), Address::Director);
    // Parcels that have a window each for themselves.
    let large = || Task::new(director, 100, Some(10 << 20));
    assert!(large().poll(&mut outbox, true));
    let [mut kept, mut dropped, mut waits] = [large(), large(), large()];
    for task in [&mut kept, &mut dropped, &mut waits] {
        assert!(!task.poll(&mut outbox, true));
    }
    outbox.credit(director, large().prepared.weight);
    assert!(kept.is_due() && !dropped.is_due() && outbox.some_wait_on());
    outbox.offer_again();
    assert!(dropped.is_due() && !waits.is_due() && outbox.some_wait_on());
    dropped.leave(&mut outbox);
    outbox.offer_again();
    assert!(waits.poll(&mut outbox, true));
    assert!(!outbox.some_wait_on());
    // It comes late, and waits on in its place.
    assert!(!kept.poll(&mut outbox, true) && !kept.is_due());
    outbox.credit(director, large().prepared.weight);
    assert!(kept.poll(&mut outbox, true));
}

/// What has been sent and not been taken, per name: what its receiver has not told yet.
type Untold = BTreeMap<Address, Weight>;

/// Tasks that come, wait, are dropped or never polled again, in an order by chance.
struct Schedule {
    dice: fastrand::Rng,
    outbox: Outbox,
    tasks: Vec<Task>,
    /// Kept, and never polled again.
    idle: Vec<Task>,
    untold: Untold,
    /// Whether the socket takes anything.
    socket: bool,
    sent: usize,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut outbox = Outbox::new(true, 3);
        outbox.roster.apply(Notice::Slots(3));
        Self {
            dice: fastrand::Rng::with_seed(seed),
            outbox,
            tasks: Vec::new(),
            idle: Vec::new(),
            untold: Untold::new(),
            socket: true,
            sent: 0,
        }
    }

    fn begin(&mut self) {
        let to = match self.dice.u16(0..4) {
            3 => Address::Director,
            slot => Address::Slot(Slot(slot)),
        };
        let parcel = (self.dice.u8(0..4) == 0).then(|| self.dice.u64(1..12 << 20));
        let bytes = self.dice.usize(frame::HEAD..frame::MAX_INLINE);
        self.tasks.push(Task::new(to, bytes, parcel));
    }

    /// Polls one of those that are due.
    fn poll(&mut self) -> bool {
        let due: Vec<usize> = (0..self.tasks.len()).filter(|at| self.tasks[*at].is_due()).collect();
        let Some(at) = self.dice.choice(due) else { return false };
        if self.tasks[at].poll(&mut self.outbox, self.socket) {
            let task = self.tasks.swap_remove(at);
            self.untold.entry(task.prepared.to).or_default().add(task.prepared.weight);
            self.sent += 1;
        }
        true
    }

    /// Receivers take some of what has come, and tell of it when it is worth it.
    fn tell(&mut self, all: bool) -> bool {
        let worth = |weight: &Weight| Limits::worth_telling(*weight);
        let some: Vec<Address> =
            self.untold.iter().filter(|(_, weight)| worth(weight)).map(|(to, _)| *to).collect();
        let Some(to) = self.dice.choice(some) else { return false };
        let Some(weight) = self.untold.get_mut(&to) else { return false };
        let half = Weight { frames: weight.frames / 2, bytes: weight.bytes / 2, parcels: weight.parcels / 2 };
        let told = if all || !worth(&half) { *weight } else { half };
        weight.sub(told);
        self.outbox.credit(to, told);
        true
    }

    fn write(&mut self) {
        let socket = self.socket;
        self.outbox.write(&mut |bytes, _| if socket { bytes.len() } else { 0 });
    }

    /// One of the tasks is dropped, or never polled again.
    fn give_up(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        let task = self.tasks.swap_remove(self.dice.usize(0..self.tasks.len()));
        if self.dice.bool() { task.leave(&mut self.outbox) } else { self.idle.push(task) }
    }

    fn step(&mut self) {
        match self.dice.u8(0..20) {
            0..4 => self.begin(),
            4..11 => drop(self.poll()),
            11..14 => drop(self.tell(false)),
            14..16 => self.write(),
            16..18 => self.outbox.offer_again(),
            18 => self.give_up(),
            _ => self.socket = self.dice.bool(),
        }
    }

    /// Nobody new comes, and all goes its way until nothing happens any more.
    fn settle(&mut self) {
        self.socket = true;
        loop {
            let mut busy = self.poll();
            self.write();
            busy |= self.tell(true);
            // The writing task's turn: only where it is told of it.
            if self.outbox.some_wait_on() {
                self.outbox.offer_again();
                busy = true;
            }
            if !busy {
                return;
            }
        }
    }
}

#[test]
fn nobody_waits_for_ever_behind_others_that_are_dropped_or_not_polled() {
    let mut sent = 0;
    for seed in 0..100 {
        let mut schedule = Schedule::new(seed);
        (0..2000).for_each(|_| schedule.step());
        schedule.settle();
        assert_eq!(schedule.tasks.len(), 0, "seed {seed}: {} have gone", schedule.sent);
        sent += schedule.sent;
    }
    assert!(sent > 10_000, "{sent}: little was tried");
}
