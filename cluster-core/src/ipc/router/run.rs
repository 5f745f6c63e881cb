//! Stretches of frames that go the same way, and go out as one piece.
use crate::id::PeerId;
use crate::ipc::backlog::SharedParcel;
use crate::ipc::frame::{self, Address, Frame, Head, Kind};
use crate::ipc::notice::{self, Receipt, Undelivered, Weight};
use crate::ipc::router::turned_away::{Reason, undelivered};
use crate::ipc::router::{Found, Router, Sink};
use crate::ipc::window::Limits;

/// A stretch of frames that go the same way.
pub(super) struct Run {
    pub(super) way: Way,
    start: usize,
    end: usize,
    /// Of its first frame; none of the others has one.
    parcel: Option<SharedParcel>,
    /// The single frames of a broadcast: each has a receipt of its own.
    each: Vec<Broadcast>,
}

/// Where frames go that need no treatment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    To(PeerId),
    /// To all workers, or all but the sender.
    Many {
        others: bool,
    },
}

/// One frame of a broadcast.
struct Broadcast {
    /// Where it ends in the input.
    end: usize,
    weight: Weight,
    correlation: u64,
    receipt: Receipt,
}

impl Run {
    /// One with nothing in it yet; `parcel` is that of its first frame, which the caller adds.
    pub(super) fn at(start: usize, way: Way, parcel: Option<SharedParcel>) -> Self {
        Self { way, start, end: start, parcel, each: Vec::new() }
    }

    /// The frame that ends at `end` goes the same way.
    pub(super) fn add(&mut self, frame: &Frame<'_>, end: usize) {
        self.end = end;
        if let Way::Many { .. } = self.way {
            let weight = Weight::of_frame(frame);
            let receipt = Receipt { reached: 0, missed: 0 };
            self.each.push(Broadcast { end, weight, correlation: frame.head.correlation, receipt });
        }
    }
}

impl Router {
    /// Lets a stretch go.
    pub(super) fn finish(
        &mut self,
        from: PeerId,
        run: Option<Run>,
        input: &[u8],
        sink: Sink<'_>,
        found: &mut Vec<Found>,
    ) {
        let Some(run) = run else { return };
        match run.way {
            Way::To(peer) => self.deliver(peer, &input[run.start..run.end], run.parcel.as_ref(), sink),
            Way::Many { others } => {
                let start = run.start;
                let each = self.broadcast(from, others.then_some(from), run, input, sink);
                // Whether the sender looks at its receipts is not known here.
                found.extend(missed(&input[start..], start, &each).map(Found::Undelivered));
            }
        }
    }

    /// Gives frames to all workers that have room for them, and tells the sender how many those were. To each
    /// go as many as it has room for, as one piece. Answers with what became of each frame.
    fn broadcast(
        &mut self,
        from: PeerId,
        except: Option<PeerId>,
        run: Run,
        input: &[u8],
        sink: Sink<'_>,
    ) -> Vec<Broadcast> {
        let Run { start, parcel, mut each, .. } = run;
        let limits = Limits::of(self.slots);
        let receivers: Vec<PeerId> = self
            .ports
            .iter()
            .filter(|(peer, port)| matches!(peer, PeerId::Worker(_)) && port.open && Some(**peer) != except)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in receivers {
            let room = self.room_for(peer, parcel.is_some());
            let Some(port) = self.ports.get_mut(&peer) else { continue };
            let mut end = start;
            let mut has_room = true;
            for frame in &mut each {
                has_room = has_room && frame.end - start <= room;
                // Once it has missed one it misses the rest of this piece, which has no gaps.
                has_room = has_room && limits.admit(port.broadcasts, frame.weight);
                if has_room {
                    port.broadcasts.add(frame.weight);
                    frame.receipt.reached += 1;
                    end = frame.end;
                } else {
                    frame.receipt.missed += 1;
                }
            }
            if end > start {
                self.deliver(peer, &input[start..end], parcel.as_ref(), sink);
            }
        }
        let mut receipts = Vec::new();
        for Broadcast { correlation, receipt, .. } in &each {
            let head = Head {
                correlation: *correlation,
                ..Head::system(Kind::Receipt, Address::Exchange, from.into())
            };
            notice::write(&mut receipts, &head, receipt);
        }
        self.deliver(from, &receipts, None, sink);
        each
    }
}

/// What there is to say of frames that some have missed: one word for a row of one type. `input` begins at `start`.
fn missed(input: &[u8], start: usize, each: &[Broadcast]) -> impl Iterator<Item = Undelivered> + use<> {
    let mut told: Vec<Undelivered> = Vec::new();
    let mut at = 0;
    for Broadcast { end, receipt, .. } in each {
        let frame = frame::read(&input[at..]);
        at = end - start;
        if receipt.missed == 0 {
            continue;
        }
        let Ok(Some(frame)) = frame else { break };
        let Some(what) = undelivered(&frame, Reason::Missed) else { continue };
        let what = Undelivered { count: u64::from(receipt.missed), ..what };
        match told.last_mut().filter(|last| last.type_name == what.type_name) {
            Some(last) => *last = Undelivered { count: last.count + what.count, ..what },
            None => told.push(what),
        }
    }
    told.into_iter()
}
