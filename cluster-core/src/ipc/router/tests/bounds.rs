//! What may wait for those who take nothing, and who hears of what may not.
use super::*;

#[test]
fn what_a_worker_misses_of_what_is_for_several_is_told() {
    let (mut bench, a, b, _) = trio();
    let text = "x".repeat(60_000);
    let (mut sent, mut told) = (0, Vec::new());
    while told.is_empty() {
        told = bench.route(a, &said(a, Address::Others, &text)).unwrap();
        sent += 1;
        assert!(sent < 1000, "there is no bound");
    }
    let what = Undelivered {
        from: Some(WorkerId(1)),
        type_name: "Said".to_owned(),
        size: frame::HEAD as u64 + 4 + 60_000,
        count: 1,
        reason: "a worker that it was for has not taken enough of earlier ones to have room for it"
            .to_owned(),
    };
    assert_eq!(told, [Found::Undelivered(what)]);
    assert_eq!(bench.texts(b).len(), sent - 1);

    // In one piece: a word for each row of a type, with the size of its last.
    let mut piece = [said(a, Address::Others, &text), said(a, Address::Everyone, &text)].concat();
    let head = Head::system(Kind::Message, a.into(), Address::Everyone);
    frame::write(&mut piece, &head, b"Other", &[0; 60_000]);
    frame::write(&mut piece, &head, b"Other", &[0; 50_000]);
    let told: Vec<(String, u64, u64)> = bench.route(a, &piece).unwrap().into_iter().map(found).collect();
    let said = |name: &str, body, count| (name.to_owned(), (frame::HEAD + name.len()) as u64 + body, count);
    assert_eq!(told, [said("Said", 60_000, 1), said("Said", 60_000, 1), said("Other", 50_000, 2)]);
    assert_eq!(bench.texts(a).len(), 3, "who has room hears it");
}

fn found(found: Found) -> (String, u64, u64) {
    match found {
        Found::Undelivered(what) => (what.type_name, what.size, what.count),
        Found::Word(_) | Found::Survey(_) => panic!("{found:?}"),
    }
}

/// Workers of which the first four take all that they are sent, and the others nothing.
struct Crowd {
    router: Router,
    slots: u16,
    told: usize,
}

impl Crowd {
    const WELL: u64 = 4;

    fn new(slots: u16) -> Self {
        let mut crowd = Self { router: Router::new(true, slots), slots, told: 0 };
        for id in 1..=u64::from(slots) {
            crowd.router.join(worker(id), slot(id as u16 - 1), &mut Self::write);
        }
        crowd
    }

    fn write(peer: PeerId, bytes: &[u8], _: Option<&SharedParcel>) -> usize {
        if matches!(peer, PeerId::Worker(id) if id.0 > Self::WELL) { 0 } else { bytes.len() }
    }

    fn say(&mut self, from: u64, to: Address) -> Weight {
        let bytes = said(worker(from), to, &"x".repeat(100_000));
        let mut found = Vec::new();
        let routed =
            self.router.route(worker(from), &bytes, &mut VecDeque::new(), &mut Self::write, &mut found);
        assert_eq!(routed, Ok(bytes.len()));
        self.told += found.len();
        Weight::of(bytes.len(), None)
    }

    /// What senders may by their windows: to each who is stuck, by both of its names.
    fn flood(&mut self) {
        let limits = crate::ipc::window::Limits::of(self.slots);
        for from in 1..=Self::WELL {
            for to in Self::WELL + 1..=u64::from(self.slots) {
                for name in [worker(to).into(), Address::Slot(Slot(to as u16 - 1))] {
                    let mut on_the_way = Weight::default();
                    while limits.admit(on_the_way, Weight::of(100_050, None)) {
                        on_the_way.add(self.say(from, name));
                    }
                }
            }
        }
    }

    /// All backlogs together, in MiB, but for the little that each may have whatever the others do: that, and the
    /// message with which it is full.
    fn waiting(&self) -> usize {
        let little = usize::from(self.slots) * ((256 << 10) + 101_000);
        self.router.waiting().saturating_sub(little) >> 20
    }
}

#[test]
fn all_that_waits_keeps_to_one_bound_whoever_it_is_for() {
    const MOST: usize = 36;
    for slots in [8, 23, 48, 96] {
        let mut crowd = Crowd::new(slots);
        crowd.flood();
        assert!(crowd.waiting() <= MOST, "{slots} slots: {} MiB by name", crowd.waiting());
        for _ in 0..30 {
            crowd.say(1, Address::Others);
        }
        assert!(crowd.waiting() <= MOST, "{slots} slots: {} MiB with broadcasts", crowd.waiting());
        // Nobody is the director just now.
        for n in 0..200 {
            crowd.say(n % Crowd::WELL + 1, Address::Director);
        }
        assert!(crowd.waiting() <= MOST, "{slots} slots: {} MiB with the director's", crowd.waiting());
        let told = crowd.told;
        crowd.say(1, worker(2).into());
        assert_eq!(crowd.told, told, "{slots} slots: who is well hears all");
    }
}
