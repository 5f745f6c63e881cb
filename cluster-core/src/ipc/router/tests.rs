//! The router by table: who gets what, in which order, and what becomes of the rest.
mod bounds;

use super::*;
use crate::id::Slot;
use crate::ipc::codec;
use crate::ipc::notice::{Notice, Receipt, Refusal};

/// A router with sockets that take as much as they are let.
struct Bench {
    router: Router,
    sockets: BTreeMap<PeerId, Vec<u8>>,
    /// So much does each socket take at a time.
    takes: usize,
}

const SLOT: Seat = Seat::Slot(Slot(0));

fn worker(id: u64) -> PeerId {
    PeerId::Worker(WorkerId(id))
}

fn slot(slot: u16) -> Seat {
    Seat::Slot(Slot(slot))
}

/// A message with this text.
fn said(from: PeerId, to: Address, text: &str) -> Vec<u8> {
    frame(Kind::Message, from, to, 0, text.as_bytes())
}

fn frame(kind: Kind, from: PeerId, to: Address, correlation: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write(&mut bytes, &Head { correlation, ..Head::system(kind, from.into(), to) }, b"Said", body);
    bytes
}

impl Bench {
    fn new(director: bool, slots: u16) -> Self {
        Self { router: Router::new(director, slots), sockets: BTreeMap::new(), takes: usize::MAX }
    }

    fn act<R>(&mut self, act: impl FnOnce(&mut Router, Sink<'_>) -> R) -> R {
        let Self { router, sockets, takes } = self;
        act(router, &mut |peer, bytes, _| {
            let taken = bytes.len().min(*takes);
            sockets.entry(peer).or_default().extend_from_slice(&bytes[..taken]);
            taken
        })
    }

    fn join(&mut self, peer: PeerId, seat: Seat) {
        self.act(|router, sink| router.join(peer, seat, sink));
    }

    fn route(&mut self, from: PeerId, frames: &[u8]) -> Result<Vec<Found>, Fault> {
        let mut found = Vec::new();
        let routed =
            self.act(|router, sink| router.route(from, frames, &mut VecDeque::new(), sink, &mut found));
        routed.map(|len| {
            assert_eq!(len, frames.len());
            found
        })
    }

    /// Writes all backlogs out.
    fn drain(&mut self) {
        let peers: Vec<PeerId> = self.router.ports.keys().copied().collect();
        for peer in peers {
            while let Some((bytes, _)) = self.router.front(peer) {
                let len = bytes.len();
                self.sockets.entry(peer).or_default().extend_from_slice(bytes);
                self.router.advance(peer, len);
            }
        }
    }

    /// The frames of a kind that have come to a process: their bodies.
    fn heard(&self, peer: PeerId, kind: Kind) -> Vec<Vec<u8>> {
        let mut rest = self.sockets.get(&peer).map_or(&[][..], Vec::as_slice);
        let mut bodies = Vec::new();
        while let Some(frame) = frame::read(rest).unwrap() {
            rest = &rest[frame.bytes.len()..];
            if frame.head.kind == kind {
                bodies.push(frame.body.to_vec());
            }
        }
        assert!(rest.is_empty(), "half a frame is left");
        bodies
    }

    fn texts(&self, peer: PeerId) -> Vec<String> {
        self.heard(peer, Kind::Message).into_iter().map(|body| String::from_utf8(body).unwrap()).collect()
    }

    fn notices(&self, peer: PeerId) -> Vec<Notice> {
        self.heard(peer, Kind::Notice).iter().map(|body| codec::decode(body).unwrap()).collect()
    }
}

/// Two workers and a director.
fn trio() -> (Bench, PeerId, PeerId, PeerId) {
    let mut bench = Bench::new(true, 2);
    let (a, b, director) = (worker(1), worker(2), PeerId::Director(1));
    bench.join(a, slot(0));
    bench.join(b, slot(1));
    bench.join(director, Seat::Director);
    (bench, a, b, director)
}

#[test]
fn each_gets_its_own_in_order_in_whatever_pieces_sockets_take_them() {
    for takes in [0, 1, 7, 100, usize::MAX] {
        let (mut bench, a, b, director) = trio();
        bench.takes = takes;
        let to = [b.into(), Address::Slot(Slot(1)), Address::Director, a.into()];
        let frames: Vec<u8> = (0..40).flat_map(|n| said(a, to[n / 3 % to.len()], &n.to_string())).collect();
        assert_eq!(bench.route(a, &frames), Ok(vec![]));
        bench.drain();
        let expected = |which: &[usize]| -> Vec<String> {
            (0..40).filter(|n| which.contains(&(n / 3 % 4))).map(|n| n.to_string()).collect()
        };
        assert_eq!(bench.texts(b), expected(&[0, 1]));
        assert_eq!(bench.texts(director), expected(&[2]));
        assert_eq!(bench.texts(a), expected(&[3]), "a process may write to itself");
        assert_eq!(bench.router.waiting(), 0);
    }
}

#[test]
fn a_broadcast_reaches_all_workers_but_the_sender_and_says_so() {
    let (mut bench, a, b, director) = trio();
    bench.route(a, &frame(Kind::Message, a, Address::Others, 5, b"hello")).unwrap();
    bench.route(director, &frame(Kind::Message, director, Address::Everyone, 6, b"all")).unwrap();
    assert_eq!((bench.texts(a), bench.texts(b)), (vec!["all".into()], vec!["hello".into(), "all".into()]));
    assert!(bench.texts(director).is_empty());
    let receipt = |peer| codec::decode::<Receipt>(&bench.heard(peer, Kind::Receipt)[0]).unwrap();
    assert_eq!(receipt(a), Receipt { reached: 1, missed: 0 });
    assert_eq!(receipt(director), Receipt { reached: 2, missed: 0 });
}

#[test]
fn a_worker_that_takes_nothing_is_missed_and_keeps_nobody_waiting() {
    let (mut bench, a, b, _) = trio();
    let text = "x".repeat(60_000);
    let mut rounds = 0;
    let missed = loop {
        bench.route(a, &said(a, Address::Others, &text)).unwrap();
        rounds += 1;
        let receipts = bench.heard(a, Kind::Receipt);
        let last = codec::decode::<Receipt>(receipts.last().unwrap()).unwrap();
        if last.missed > 0 {
            break last;
        }
        assert!(rounds < 1000, "there is no bound");
    };
    assert_eq!(missed, Receipt { reached: 0, missed: 1 });
    // It takes them, and has room again.
    let mut credit = Vec::new();
    let weight = Weight { frames: rounds, bytes: 60_100 * rounds, parcels: 0 };
    let head = Head::system(Kind::Credit, b.into(), Address::Exchange);
    notice::write(&mut credit, &head, &Credit { to: Address::Exchange, weight });
    bench.route(b, &credit).unwrap();
    bench.route(a, &said(a, Address::Others, "again")).unwrap();
    assert_eq!(bench.texts(b).last().map(String::as_str), Some("again"));
}

#[test]
fn messages_for_a_seat_wait_for_its_next_and_those_for_a_worker_do_not() {
    let (mut bench, a, b, _) = trio();
    bench.takes = 0;
    bench.route(a, &said(a, Address::Slot(Slot(1)), "unwritten")).unwrap();
    bench.route(a, &said(a, b.into(), "for it alone")).unwrap();
    bench.takes = usize::MAX;
    let lost = bench.act(|router, sink| router.leave(b, sink));
    assert_eq!(lost.len(), 1);
    assert_eq!((lost[0].from, lost[0].type_name.as_str()), (Some(WorkerId(1)), "Said"));
    bench.route(a, &said(a, Address::Slot(Slot(1)), "meanwhile")).unwrap();
    assert!(bench.router.waiting() > 0);
    bench.join(worker(3), slot(1));
    assert_eq!(bench.texts(worker(3)), ["unwritten", "meanwhile"]);
    let too_late = bench.route(a, &said(a, b.into(), "too late")).unwrap();
    assert!(matches!(&too_late[..], [Found::Undelivered(_)]));
    bench.drain();
    assert_eq!(bench.router.waiting(), 0);
}

#[test]
fn what_a_seat_is_told_stays_in_order_when_who_has_left_it_dies() {
    for next_is_there in [false, true] {
        let mut bench = Bench::new(false, 2);
        bench.takes = 0;
        bench.join(worker(1), slot(0));
        bench.join(worker(2), slot(1));
        let leave = frame(Kind::Leave, worker(2), Address::Exchange, 0, b"");
        let to = slot(1).into();
        bench.route(worker(1), &said(worker(1), to, "first")).unwrap();
        bench.route(worker(2), &leave).unwrap();
        if next_is_there {
            bench.join(worker(3), slot(1));
        }
        bench.route(worker(1), &said(worker(1), to, "second")).unwrap();
        let lost = bench.act(|router, sink| router.leave(worker(2), sink));
        if !next_is_there {
            bench.join(worker(3), slot(1));
        }
        bench.drain();
        let expected: (&[&str], usize) =
            if next_is_there { (&["second"], 1) } else { (&["first", "second"], 0) };
        assert_eq!(
            (bench.texts(worker(3)), lost.len()),
            (expected.0.iter().map(|text| text.to_string()).collect(), expected.1)
        );
        assert_eq!(bench.router.waiting(), 0);
    }
}

#[test]
fn a_seat_that_nobody_will_have_keeps_nothing_until_somebody_has_it_after_all() {
    let (mut bench, a, b, _) = trio();
    bench.act(|router, sink| router.leave(b, sink));
    bench.route(a, &said(a, Address::Slot(Slot(1)), "kept")).unwrap();
    let lost = bench.act(|router, sink| router.vacate(slot(1), sink));
    assert_eq!((lost.len(), bench.router.waiting()), (1, 0));
    let found = bench.route(a, &said(a, Address::Slot(Slot(1)), "not kept")).unwrap();
    assert!(matches!(&found[..], [Found::Undelivered(_)]));
    assert!(bench.notices(a).contains(&Notice::Vacant { seat: slot(1) }));
    bench.join(worker(3), slot(1));
    bench.route(a, &said(a, Address::Slot(Slot(1)), "there is one again")).unwrap();
    assert_eq!(bench.texts(worker(3)), ["there is one again"]);
}

#[test]
fn slots_that_are_no_more_keep_nothing() {
    let (mut bench, a, b, _) = trio();
    bench.act(|router, sink| router.leave(b, sink));
    bench.route(a, &said(a, Address::Slot(Slot(1)), "kept")).unwrap();
    let lost = bench.act(|router, sink| router.set_slots(1, sink));
    assert_eq!((lost.len(), bench.router.waiting()), (1, 0));
    let found = bench.route(a, &said(a, Address::Slot(Slot(1)), "no such slot")).unwrap();
    assert!(matches!(&found[..], [Found::Undelivered(_)]));
}

#[test]
fn a_question_to_nobody_is_refused_at_once() {
    let (mut bench, a, b, _) = trio();
    bench.act(|router, sink| router.leave(b, sink));
    for to in [b.into(), Address::Slot(Slot(1)), Address::Slot(Slot(9)), Address::Worker(WorkerId(99))] {
        bench.route(a, &frame(Kind::Ask, a, to, 7, b"?")).unwrap();
    }
    let refusals = bench.heard(a, Kind::Refusal);
    assert_eq!(refusals.len(), 4);
    assert!(refusals.iter().all(|body| codec::decode::<Refusal>(body).unwrap() == Refusal::Gone));
}

#[test]
fn who_leaves_gets_all_that_was_on_the_way_and_then_nothing_but_answers() {
    let (mut bench, a, b, _) = trio();
    bench.takes = 10;
    bench.route(a, &said(a, b.into(), "on the way")).unwrap();
    bench.route(b, &frame(Kind::Leave, b, Address::Exchange, 0, b"")).unwrap();
    bench.route(a, &said(a, Address::Slot(Slot(1)), "for the next")).unwrap();
    bench.route(a, &frame(Kind::Answer, a, b.into(), 3, b"an answer")).unwrap();
    bench.route(a, &frame(Kind::Message, a, Address::Others, 4, b"to the others")).unwrap();
    bench.drain();
    assert_eq!(bench.texts(b), ["on the way"]);
    assert_eq!((bench.heard(b, Kind::Leave).len(), bench.heard(b, Kind::Answer).len()), (1, 1));
    bench.takes = usize::MAX;
    bench.join(worker(3), slot(1));
    assert_eq!(bench.texts(worker(3)), ["for the next"]);
}

#[test]
fn a_newcomer_is_told_who_there_is_and_the_others_of_it() {
    let (bench, a, b, director) = trio();
    let joined = |peer, seat| Notice::Joined { peer, seat };
    let told = bench.notices(b);
    assert_eq!(told[..3], [Notice::Slots(2), joined(a, SLOT), joined(b, slot(1))]);
    assert_eq!(told[3..], [joined(director, Seat::Director)]);
    assert_eq!(bench.notices(a).len(), 4);
}

#[test]
fn a_frame_that_its_sender_may_not_write_is_a_fault_and_what_came_before_it_counts() {
    let (_, a, b, director) = trio();
    let forged = said(b, Address::Director, "in another's name");
    type Expected = fn(&Fault) -> bool;
    let cases: [(Vec<u8>, Expected); 7] = [
        (forged, |fault| matches!(fault, Fault::Forged(_))),
        (frame(Kind::Word, a, Address::Exchange, 0, b""), |fault| matches!(fault, Fault::Misdirected { .. })),
        (frame(Kind::Notice, a, b.into(), 0, b""), |fault| matches!(fault, Fault::Misdirected { .. })),
        (frame(Kind::Survey, a, b.into(), 0, b""), |fault| matches!(fault, Fault::Misdirected { .. })),
        (frame(Kind::Ask, a, Address::Everyone, 0, b""), |fault| matches!(fault, Fault::Misdirected { .. })),
        (frame(Kind::Report, a, Address::Exchange, 0, &[9; 40]), |fault| matches!(fault, Fault::Body { .. })),
        (vec![0xff; 50], |fault| matches!(fault, Fault::Frame(_))),
    ];
    for (bad, is_expected) in cases {
        let (mut bench, ..) = trio();
        let frames =
            [said(a, Address::Director, "before"), bad, said(a, Address::Director, "after")].concat();
        let fault = bench.route(a, &frames).unwrap_err();
        assert!(is_expected(&fault), "{fault}");
        assert_eq!(bench.texts(director), ["before"]);
    }
}

#[test]
fn who_asks_how_the_cluster_stands_is_answered_and_nobody_else() {
    let (mut bench, a, b, director) = trio();
    for asker in [a, director] {
        let found = bench.route(asker, &frame(Kind::Survey, asker, Address::Exchange, 7, b"")).unwrap();
        assert_eq!(found, [Found::Survey(7)]);
        bench.act(|router, sink| router.tell_survey(asker, 7, &[Surveyed::End], sink));
        assert_eq!(bench.heard(asker, Kind::Survey).len(), 1);
        assert!(bench.heard(b, Kind::Survey).is_empty());
    }
}

#[test]
fn words_for_the_director_wait_for_one() {
    let mut bench = Bench::new(true, 1);
    bench.act(|router, sink| router.tell_director(&7_u8, sink));
    assert!(bench.router.waiting() > 0);
    bench.join(PeerId::Director(1), Seat::Director);
    assert_eq!(bench.heard(PeerId::Director(1), Kind::Word), [[7]]);
    bench.takes = 0;
    bench.act(|router, sink| router.tell_director(&8_u8, sink));
    bench.takes = usize::MAX;
    bench.act(|router, sink| router.leave(PeerId::Director(1), sink));
    bench.join(PeerId::Director(2), Seat::Director);
    assert_eq!(bench.heard(PeerId::Director(2), Kind::Word), [[8]]);
}

#[test]
fn a_parcel_goes_where_its_frame_goes_and_one_without_is_a_fault() {
    let (mut bench, a, b, _) = trio();
    let mut frames = Vec::new();
    let head = Head { parcel: true, ..Head::system(Kind::Message, a.into(), b.into()) };
    frame::write(&mut frames, &head, b"Said", &100_000_u64.to_le_bytes());
    let fd: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    let (mut parcels, mut seen) = (VecDeque::from([fd]), Vec::new());
    let routed = bench.router.route(
        a,
        &frames,
        &mut parcels,
        &mut |peer, bytes, parcel| {
            seen.push((peer, parcel.is_some()));
            bytes.len()
        },
        &mut Vec::new(),
    );
    assert_eq!((routed, seen, parcels.len()), (Ok(frames.len()), vec![(b, true)], 0));
    assert!(matches!(bench.route(a, &frames), Err(Fault::Descriptors(_))));
}

/// What a sender has got back of the windows of these names.
fn credited(bench: &Bench, sender: PeerId, name: Address) -> u64 {
    let credits = bench.heard(sender, Kind::Credit);
    let credits = credits.iter().map(|body| codec::decode::<Credit>(body).unwrap());
    credits.filter(|credit| credit.to == name).map(|credit| credit.weight.frames).sum()
}

#[test]
fn whatever_goes_no_further_is_credited() {
    let (mut bench, a, b, director) = trio();
    bench.act(|router, sink| router.leave(director, sink));
    bench.act(|router, sink| router.leave(b, sink));
    let nobody = Address::Worker(WorkerId(99));
    bench.route(a, &frame(Kind::Ask, a, Address::Director, 1, b"?")).unwrap();
    bench.route(a, &frame(Kind::Ask, a, Address::Slot(Slot(1)), 2, b"?")).unwrap();
    bench.route(a, &said(a, nobody, "to nobody")).unwrap();
    bench.route(a, &frame(Kind::Answer, a, director.into(), 3, b"!")).unwrap();
    for name in [Address::Director, Address::Slot(Slot(1)), nobody, director.into()] {
        assert_eq!(credited(&bench, a, name), 1, "{name:?}");
    }
}

#[test]
fn what_does_not_fit_for_an_empty_seat_is_credited_and_told() {
    let (mut bench, a, b, _) = trio();
    bench.act(|router, sink| router.leave(b, sink));
    let frames = said(a, Address::Slot(Slot(1)), &"x".repeat(100_000));
    let mut told = 0;
    while told == 0 {
        told = bench.route(a, &frames).unwrap().len();
    }
    assert_eq!((told as u64, credited(&bench, a, Address::Slot(Slot(1)))), (1, 1));
}

#[test]
fn stuck_receivers_keep_nobody_from_the_others() {
    let mut bench = Bench::new(true, 20);
    (0..20).for_each(|n| bench.join(worker(u64::from(n) + 1), slot(n)));
    bench.takes = 0;
    let text = "x".repeat(100_000);
    // All flood three that take nothing, by both of their names, and never wait for room.
    for round in 0..60 {
        for sender in 4..=20 {
            for stuck in 1..=3 {
                let to = if round % 2 == 0 {
                    Address::Worker(WorkerId(stuck))
                } else {
                    Address::Slot(Slot(stuck as u16 - 1))
                };
                bench.route(worker(sender), &said(worker(sender), to, &text)).unwrap();
            }
        }
    }
    assert!(bench.router.waiting() < 48 << 20, "{}", bench.router.waiting());
    bench.takes = usize::MAX;
    let waiting_for_a_healthy_one = |bench: &Bench| bench.router.waiting_of(worker(5));
    bench.sockets.clear();
    while let Some((bytes, _)) = bench.router.front(worker(5)) {
        let len = bytes.len();
        bench.router.advance(worker(5), len);
    }
    bench.route(worker(4), &said(worker(4), Address::Worker(WorkerId(5)), "hello")).unwrap();
    assert_eq!((bench.texts(worker(5)), waiting_for_a_healthy_one(&bench)), (vec!["hello".to_owned()], 0));
}

#[test]
fn what_comes_back_to_a_director_is_for_that_one_even_beside_its_successor() {
    let (mut bench, a, _, first) = trio();
    bench.route(first, &frame(Kind::Leave, first, Address::Exchange, 0, b"")).unwrap();
    let second = PeerId::Director(2);
    bench.join(second, Seat::Director);
    bench.route(a, &frame(Kind::Answer, a, first.into(), 7, b"for the first")).unwrap();
    bench.route(a, &said(a, Address::Director, "for the second")).unwrap();
    assert_eq!(bench.heard(first, Kind::Answer), [b"for the first"]);
    assert!(bench.heard(second, Kind::Answer).is_empty());
    assert_eq!(bench.texts(second), ["for the second"]);
    bench.act(|router, sink| router.leave(first, sink));
    bench.route(a, &frame(Kind::Answer, a, first.into(), 8, b"too late")).unwrap();
    assert!(bench.heard(second, Kind::Answer).is_empty(), "the answer of another question");
}

#[test]
fn a_question_for_one_that_takes_nothing_is_turned_away_as_that() {
    let (mut bench, a, b, _) = trio();
    bench.takes = 0;
    let message = said(a, b.into(), &"x".repeat(64 << 10));
    while !bench.router.is_overfull(b, &frame::read(&message).unwrap().unwrap()) {
        assert_eq!(bench.route(a, &message).unwrap(), []);
    }
    let question = frame(Kind::Ask, a, b.into(), 7, &[0; 64 << 10]);
    assert_eq!(bench.route(a, &question).unwrap(), [], "its asker hears of it, and nobody else");
    bench.route(a, &frame(Kind::Ask, a, worker(99).into(), 8, b"")).unwrap();
    bench.drain();
    let refusals = bench.heard(a, Kind::Refusal);
    let refusals: Vec<Refusal> = refusals.iter().map(|body| codec::decode(body).unwrap()).collect();
    assert_eq!(refusals, [Refusal::Full, Refusal::Gone]);
}
