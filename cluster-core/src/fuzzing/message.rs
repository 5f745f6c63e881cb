//! Any bytes in the stream of one process, at the primary.
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::fd::OwnedFd;

use crate::fuzzing::{Amounts, Dice, slot, stream, worker};
use crate::id::{PeerId, Seat};
use crate::ipc::frame::{self, Address, Collector, Kind};
use crate::ipc::router::{Fault, Router};

/// What each process's socket has taken.
type Taken = BTreeMap<PeerId, Vec<u8>>;

/// The stream of a worker, from its socket to those of others: in pieces of any size, to sockets that take any
/// amounts.
///
/// # Panics
/// Where a promise is broken.
pub fn message_frames(bytes: &[u8]) {
    let mut dice = Dice { bytes };
    let mut amounts = Amounts(dice.u64() | 1);
    let mut parcels = parcels(dice.u8() % 4);
    let input = stream(&mut dice, Address::from(worker(1)));
    let (mut router, mut taken) = (Router::new(true, 4), Taken::new());
    let seats = [
        (worker(1), slot(0)),
        (worker(2), slot(1)),
        (worker(3), slot(2)),
        (PeerId::Director(1), Seat::Director),
    ];
    for (peer, seat) in seats {
        router.join(peer, seat, &mut |peer, bytes, _| take(&mut taken, &mut amounts, peer, bytes));
    }
    let routed = route(&mut router, &mut taken, &mut amounts, &input, &mut parcels);
    if let Err(Fault::Forged(name)) = routed {
        assert_ne!(name, Address::from(worker(1)), "it may speak in its own name");
    }
    // What waits for a seat that nobody has goes with the seat.
    router.vacate(slot(3), &mut |peer, bytes, _| take(&mut taken, &mut amounts, peer, bytes));
    for (peer, seat) in seats {
        drain(&mut router, &mut taken, &mut amounts, peer);
        assert_eq!(router.waiting_of(peer), 0, "{peer}, who had {seat:?}");
    }
    // After a `Leave` its seat was free, and what was for it waits for the next.
    let after: Vec<_> = (4..).map(worker).zip([slot(0), slot(1), slot(2)]).collect();
    for (peer, seat) in &after {
        router.join(*peer, *seat, &mut |peer, bytes, _| take(&mut taken, &mut amounts, peer, bytes));
    }
    for peer in seats.iter().map(|(peer, _)| peer).chain(after.iter().map(|(peer, _)| peer)) {
        drain(&mut router, &mut taken, &mut amounts, *peer);
    }
    assert_eq!(router.waiting(), 0, "all that waited has been taken");
    taken.iter().for_each(|(peer, taken)| check(*peer, taken, &input));
}

fn parcels(count: u8) -> VecDeque<OwnedFd> {
    (0..count).map(|_| File::open("/dev/null").expect("it is there").into()).collect()
}

fn take(taken: &mut Taken, amounts: &mut Amounts, peer: PeerId, bytes: &[u8]) -> usize {
    let len = amounts.up_to(bytes.len());
    taken.entry(peer).or_default().extend_from_slice(&bytes[..len]);
    len
}

fn route(
    router: &mut Router,
    taken: &mut Taken,
    amounts: &mut Amounts,
    mut input: &[u8],
    parcels: &mut VecDeque<OwnedFd>,
) -> Result<(), Fault> {
    let (mut collector, mut found) = (Collector::default(), Vec::new());
    while !input.is_empty() {
        let spare = collector.spare();
        assert!(!spare.is_empty(), "there is always room for what comes");
        let len = amounts.up_to(input.len().min(spare.len()));
        spare[..len].copy_from_slice(&input[..len]);
        collector.filled(len);
        input = &input[len..];
        let mut sink = |peer, bytes: &[u8], _: Option<&_>| take(taken, amounts, peer, bytes);
        let routed = router.route(worker(1), collector.bytes(), parcels, &mut sink, &mut found)?;
        collector.take(routed);
        assert_eq!(frame::read(collector.bytes()), Ok(None), "all whole frames are routed");
    }
    Ok(())
}

fn drain(router: &mut Router, taken: &mut Taken, amounts: &mut Amounts, peer: PeerId) {
    while let Some((bytes, _)) = router.front(peer) {
        assert!(!bytes.is_empty(), "what waits has bytes");
        let len = take(taken, amounts, peer, bytes);
        router.advance(peer, len);
    }
}

/// Frames of the sender's in the order in which it wrote them, whole, and in nobody else's name.
fn check(peer: PeerId, taken: &[u8], mut input: &[u8]) {
    let mut rest = taken;
    while let Some(got) = frame::read(rest).expect("what goes out can be read") {
        rest = &rest[got.bytes.len()..];
        if got.head.from == Address::Exchange {
            let own = [Kind::Notice, Kind::Refusal, Kind::Receipt, Kind::Credit, Kind::Mark, Kind::Leave];
            assert!(own.contains(&got.head.kind), "the primary said {:?}", got.head);
            continue;
        }
        assert_eq!(got.head.from, Address::from(worker(1)), "to {peer}: in another's name");
        loop {
            let sent = frame::read(input).expect("it was routed").expect("it was sent, and in this order");
            input = &input[sent.bytes.len()..];
            if sent.bytes == got.bytes {
                break;
            }
        }
    }
    assert!(rest.is_empty(), "{peer} got {} bytes of half a frame", rest.len());
}
