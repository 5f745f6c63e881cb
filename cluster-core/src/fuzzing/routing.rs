//! Any course of events at the router, beside a model of what it promises.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::os::fd::OwnedFd;

use crate::fuzzing::{Amounts, Dice, address, slot, worker};
use crate::id::{PeerId, Seat};
use crate::ipc::frame::{self, Address, Head, Kind};
use crate::ipc::notice::Undelivered;
use crate::ipc::router::{Found, Router};

/// Slots that are joined and left; there may be fewer at times.
const SLOTS: u16 = 5;

/// Processes come and go, send and read, in any order. A message for one process is taken by that process once,
/// or told as undelivered; what is neither was cut by its receiver's end. Messages of one sender to one name
/// stay in order, and parcels with their frames.
///
/// # Panics
/// Where a promise is broken.
pub fn routing(bytes: &[u8]) {
    let mut dice = Dice { bytes };
    let mut world = World::new(&mut dice);
    while !dice.is_empty() {
        world.step(&mut dice);
    }
    world.end();
    world.judge();
}

/// What a process's socket has taken, and where parcels came with it.
#[derive(Default)]
struct Socket {
    bytes: Vec<u8>,
    parcels: BTreeSet<usize>,
    /// What it takes without being read.
    room: usize,
}

struct World {
    router: Router,
    amounts: Amounts,
    sockets: BTreeMap<PeerId, Socket>,
    seats: BTreeMap<PeerId, Seat>,
    living: Vec<PeerId>,
    /// Messages for one process.
    sent: BTreeSet<u64>,
    told: BTreeSet<u64>,
    /// Seats whose messages may change their order: two processes had it at once, or one that reads no more.
    shared: BTreeSet<Seat>,
    /// Processes that ended in the midst of a frame.
    cut: usize,
    last_peer: u64,
    last_message: u64,
}

impl World {
    fn new(dice: &mut Dice<'_>) -> Self {
        Self {
            router: Router::new(dice.u8().is_multiple_of(2), SLOTS),
            amounts: Amounts(dice.u64() | 1),
            sockets: BTreeMap::new(),
            seats: BTreeMap::new(),
            living: Vec::new(),
            sent: BTreeSet::new(),
            told: BTreeSet::new(),
            shared: BTreeSet::new(),
            cut: 0,
            last_peer: 0,
            last_message: 0,
        }
    }

    fn step(&mut self, dice: &mut Dice<'_>) {
        match dice.u8() % 16 {
            0 | 1 => self.join(seat(dice)),
            2 => {
                if let Some(peer) = self.someone(dice) {
                    self.leave(peer);
                }
            }
            3 => self.vacate(seat(dice)),
            4 => self.set_slots(u16::from(dice.u8()) % (SLOTS + 1)),
            5 => self.say_leave(dice),
            6..9 => self.read(dice),
            _ => self.send(dice),
        }
    }

    fn someone(&self, dice: &mut Dice<'_>) -> Option<PeerId> {
        let at = usize::from(dice.u8());
        (!self.living.is_empty()).then(|| self.living[at % self.living.len()])
    }

    /// Runs the router with sockets that take as much as they have room for.
    fn with_router<R>(&mut self, act: impl FnOnce(&mut Router, crate::ipc::router::Sink<'_>) -> R) -> R {
        let Self { router, sockets, .. } = self;
        act(router, &mut |peer, bytes, parcel| {
            let socket = sockets.entry(peer).or_default();
            let len = bytes.len().min(socket.room);
            socket.take(&bytes[..len], parcel.is_some());
            socket.room -= len;
            len
        })
    }

    // ----- who comes and goes

    fn join(&mut self, seat: Seat) {
        if self.living.len() == 8 {
            return;
        }
        self.last_peer += 1;
        let peer = match seat {
            Seat::Slot(_) => worker(self.last_peer),
            Seat::Director => PeerId::Director(self.last_peer),
        };
        if self.living.iter().any(|other| self.seats[other] == seat) {
            self.shared.insert(seat);
        }
        let room = self.amounts.up_to(2000);
        self.sockets.insert(peer, Socket { room, ..Socket::default() });
        self.seats.insert(peer, seat);
        self.living.push(peer);
        self.with_router(|router, sink| router.join(peer, seat, sink));
    }

    fn leave(&mut self, peer: PeerId) {
        self.living.retain(|other| *other != peer);
        let lost = self.with_router(|router, sink| router.leave(peer, sink));
        self.tell(lost);
        assert!(self.router.front(peer).is_none());
        let (_, rest) = whole_frames(&self.sockets[&peer].bytes);
        self.cut += usize::from(rest > 0);
    }

    fn vacate(&mut self, seat: Seat) {
        let lost = self.with_router(|router, sink| router.vacate(seat, sink));
        self.tell(lost);
    }

    fn set_slots(&mut self, slots: u16) {
        let lost = self.with_router(|router, sink| router.set_slots(slots, sink));
        self.tell(lost);
    }

    fn tell(&mut self, lost: Vec<Undelivered>) {
        for what in lost {
            let Some(number) = what.type_name.parse().ok().filter(|number| self.sent.contains(number)) else {
                continue;
            };
            assert!(self.told.insert(number), "message {number} is told as undelivered twice");
        }
    }

    // ----- what they say

    fn send(&mut self, dice: &mut Dice<'_>) {
        let Some(from) = self.someone(dice) else { return };
        let (mut bytes, mut parcels) = (Vec::new(), VecDeque::new());
        for _ in 0..=dice.u8() % 4 {
            self.message(dice, from, &mut bytes, &mut parcels);
        }
        self.route(from, &bytes, &mut parcels);
    }

    fn message(
        &mut self,
        dice: &mut Dice<'_>,
        from: PeerId,
        into: &mut Vec<u8>,
        parcels: &mut VecDeque<OwnedFd>,
    ) {
        let to = match address(dice) {
            Address::Exchange => Address::Director,
            to => to,
        };
        let style = dice.u8();
        let kind = if style % 8 == 7 && to.is_one() { Kind::Ask } else { Kind::Message };
        let mut head = Head::system(kind, from.into(), to);
        self.last_message += 1;
        head.correlation = self.last_message;
        if kind == Kind::Message && to.is_one() {
            self.sent.insert(self.last_message);
        }
        let name = self.last_message.to_string();
        let len = if style > 250 { 30_000 } else { usize::from(style) };
        if style % 8 == 6 {
            head.parcel = true;
            parcels.push_back(File::open("/dev/null").expect("it is there").into());
            frame::write(into, &head, name.as_bytes(), &1_u64.to_le_bytes());
        } else {
            frame::write(into, &head, name.as_bytes(), &vec![style; len]);
        }
    }

    /// Takes no more messages.
    fn say_leave(&mut self, dice: &mut Dice<'_>) {
        let Some(peer) = self.someone(dice) else { return };
        self.shared.insert(self.seats[&peer]);
        let mut bytes = Vec::new();
        frame::write(&mut bytes, &Head::system(Kind::Leave, peer.into(), Address::Exchange), b"", b"");
        self.route(peer, &bytes, &mut VecDeque::new());
    }

    fn route(&mut self, from: PeerId, bytes: &[u8], parcels: &mut VecDeque<OwnedFd>) {
        let mut found = Vec::new();
        let routed = self.with_router(|router, sink| router.route(from, bytes, parcels, sink, &mut found));
        assert_eq!(routed, Ok(bytes.len()), "{from} keeps to the protocol");
        assert!(parcels.is_empty());
        let lost = found.into_iter().map(|found| match found {
            Found::Undelivered(what) => what,
            Found::Survey(id) => panic!("nobody asked for a survey: {id}"),
            Found::Word(word) => panic!("nobody said a word: {word:?}"),
        });
        let lost = lost.collect();
        self.tell(lost);
    }

    // ----- what they take

    fn read(&mut self, dice: &mut Dice<'_>) {
        let Some(peer) = self.someone(dice) else { return };
        let mut most = usize::from(dice.u16());
        while most > 0 && self.write(peer, &mut most) {}
        self.sockets.get_mut(&peer).expect("it lives").room = most;
    }

    /// One write from the backlog; answers whether there was something.
    fn write(&mut self, peer: PeerId, most: &mut usize) -> bool {
        let Some((bytes, parcel)) = self.router.front(peer) else { return false };
        assert!(!bytes.is_empty(), "what waits has bytes");
        let len = bytes.len().min(*most);
        self.sockets.get_mut(&peer).expect("it lives").take(&bytes[..len], parcel.is_some());
        self.router.advance(peer, len);
        *most -= len;
        true
    }

    // ----- the end

    fn end(&mut self) {
        let half: Vec<PeerId> = self.living.iter().copied().step_by(2).collect();
        for peer in half {
            while self.write(peer, &mut usize::MAX.clone()) {}
        }
        for peer in self.living.clone() {
            self.leave(peer);
        }
        (0..SLOTS + 3).map(slot).chain([Seat::Director]).for_each(|seat| self.vacate(seat));
        assert_eq!(self.router.waiting(), 0, "nothing waits for nobody");
    }

    fn judge(&self) {
        let mut taken = BTreeSet::new();
        for (peer, socket) in &self.sockets {
            let seat = self.seats[peer];
            let mut newest = BTreeMap::new();
            let mut parcels = BTreeSet::new();
            for (at, head) in whole_frames(&socket.bytes).0 {
                if head.parcel {
                    parcels.insert(at);
                }
                if head.kind != Kind::Message || !head.to.is_one() {
                    continue;
                }
                let number = head.correlation;
                assert!(is_for(head.to, *peer, seat), "{peer} in {seat:?} got what was for {}", head.to);
                assert!(taken.insert(number), "message {number} was delivered twice");
                assert!(!self.told.contains(&number), "message {number} was delivered, and told as lost");
                let before = newest.insert((head.from, head.to), number).unwrap_or(0);
                assert!(before < number || self.shared.contains(&seat), "{before} came before {number}");
            }
            // The last one's frame may be cut.
            assert!(parcels.is_subset(&socket.parcels), "a parcel without its descriptor");
            assert!(socket.parcels.len() <= parcels.len() + 1, "a descriptor without its parcel");
        }
        let lost = self.sent.iter().filter(|number| !taken.contains(number) && !self.told.contains(number));
        let lost: Vec<_> = lost.collect();
        assert!(lost.len() <= self.cut, "{lost:?} are lost without a word, where {} were cut", self.cut);
    }
}

impl Socket {
    fn take(&mut self, bytes: &[u8], parcel: bool) {
        // A descriptor goes with the first byte.
        if parcel && !bytes.is_empty() {
            assert!(self.parcels.insert(self.bytes.len()));
        }
        self.bytes.extend_from_slice(bytes);
    }
}

fn seat(dice: &mut Dice<'_>) -> Seat {
    match u16::from(dice.u8()) % (SLOTS + 1) {
        SLOTS => Seat::Director,
        number => slot(number),
    }
}

fn is_for(to: Address, peer: PeerId, seat: Seat) -> bool {
    match to {
        Address::Worker(id) => peer == PeerId::Worker(id),
        Address::Slot(number) => seat == Seat::Slot(number),
        Address::Director => seat == Seat::Director,
        Address::ThisDirector(number) => peer == PeerId::Director(number),
        Address::Others | Address::Everyone | Address::Exchange => false,
    }
}

/// The heads of whole frames with their positions, and how many bytes come after them.
fn whole_frames(bytes: &[u8]) -> (Vec<(usize, Head)>, usize) {
    let (mut heads, mut at) = (Vec::new(), 0);
    while let Some(frame) = frame::read(&bytes[at..]).expect("what goes out can be read") {
        heads.push((at, frame.head));
        at += frame.bytes.len();
    }
    (heads, bytes.len() - at)
}
