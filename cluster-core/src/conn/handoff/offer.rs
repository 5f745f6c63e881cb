//! Claim before descriptor: how a connection that the primary has accepted changes hands.
//!
//! The primary writes an offer into the worker's page; the worker claims it by compare-and-swap; only then is the
//! descriptor sent. An offer that nobody has claimed is taken back by compare-and-swap as well, so that exactly one of
//! both has it. A descriptor that had been sent early to a worker that is stopped could not be closed by anybody: its
//! client would never see the end.
use std::sync::atomic::{AtomicU64, Ordering};

/// The most offers that wait for one worker.
pub(crate) const MOST: usize = 32;

/// The lowest bit says that it is claimed, the next fifteen which listener; the rest is the offer's number.
const CLAIMED: u64 = 1;
const LISTENER: u64 = 0xfffe;

/// An offer: of a connection that came to this listener. Numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Offer(u64);

/// The offers to one worker, in its page.
#[repr(C)]
pub(crate) struct Offers {
    words: [AtomicU64; MOST],
}

/// What has become of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It waits.
    Open,
    /// The worker wants its descriptor.
    Claimed,
    /// The worker has written what is no answer.
    Garbled,
}

impl Offer {
    /// The `number`th, from 1 on.
    pub(crate) fn new(number: u64, listener: u16) -> Self {
        Self(number << 16 | u64::from(listener) << 1 & LISTENER)
    }

    /// Which one it is: later ones have larger numbers.
    pub(crate) fn number(self) -> u64 {
        self.0 >> 16
    }

    fn listener(word: u64) -> u16 {
        ((word & LISTENER) >> 1) as u16
    }
}

impl Offers {
    /// The primary offers. The place must be free.
    pub(crate) fn put(&self, at: usize, offer: Offer) {
        // BEFORE the worker is rung; what else it must know is in the word itself.
        self.words[at].store(offer.0, Ordering::Release);
    }

    /// The primary asks what has become of its offer.
    pub(crate) fn fate(&self, at: usize, offer: Offer) -> Fate {
        match self.words[at].load(Ordering::Acquire) {
            word if word == offer.0 => Fate::Open,
            word if word == offer.0 | CLAIMED => Fate::Claimed,
            _ => Fate::Garbled,
        }
    }

    /// The primary takes its offer back. `Open` says that it has: the worker will not claim it any more.
    pub(crate) fn revoke(&self, at: usize, offer: Offer) -> Fate {
        match self.words[at].compare_exchange(offer.0, 0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Fate::Open,
            Err(word) if word == offer.0 | CLAIMED => Fate::Claimed,
            Err(_) => Fate::Garbled,
        }
    }

    /// The place is free again.
    pub(crate) fn clear(&self, at: usize) {
        self.words[at].store(0, Ordering::Release);
    }

    /// The worker claims up to `most` offers of these listeners, the oldest first: in the order of places, or of
    /// listeners, some would wait for as long as others come. Answers with how many it got.
    pub(crate) fn claim(&self, listeners: &[u16], most: usize) -> usize {
        if most == 0 {
            return 0;
        }
        let mut open = [(0, 0); MOST];
        let mut count = 0;
        for (at, place) in self.words.iter().enumerate() {
            let word = place.load(Ordering::Acquire);
            if word != 0 && word & CLAIMED == 0 && listeners.contains(&Offer::listener(word)) {
                open[count] = (word, at);
                count += 1;
            }
        }
        // Their numbers are the upper bits.
        open[..count].sort_unstable();
        let claimed = open[..count].iter().filter(|(word, at)| {
            let (claim, place) = (word | CLAIMED, &self.words[*at]);
            place.compare_exchange(*word, claim, Ordering::AcqRel, Ordering::Acquire).is_ok()
        });
        claimed.take(most).count()
    }

    /// Whether an offer of these listeners waits for the worker.
    pub(crate) fn waits(&self, listeners: &[u16]) -> bool {
        let open = |word: u64| word != 0 && word & CLAIMED == 0 && listeners.contains(&Offer::listener(word));
        self.words.iter().any(|place| open(place.load(Ordering::Acquire)))
    }
}

#[cfg(test)]
impl Offers {
    pub(crate) fn empty() -> Self {
        Self { words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// What a worker may do to its page, whatever it is.
    pub(crate) fn scribble(&self, at: usize, change: impl Fn(u64) -> u64) {
        self.words[at].store(change(self.words[at].load(Ordering::Relaxed)), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    #[test]
    fn an_offer_is_claimed_once_and_only_by_its_listener() {
        let offers = Offers::empty();
        let offer = Offer::new(1, 7);
        offers.put(3, offer);
        assert!(offers.waits(&[7]) && !offers.waits(&[6]));
        assert_eq!(offers.claim(&[6], 9), 0);
        assert_eq!(offers.fate(3, offer), Fate::Open);
        assert_eq!(offers.claim(&[7], 9), 1);
        assert_eq!(offers.claim(&[7], 9), 0);
        assert_eq!(offers.fate(3, offer), Fate::Claimed);
        assert_eq!(offers.revoke(3, offer), Fate::Claimed);
    }

    #[test]
    fn what_is_taken_back_cannot_be_claimed() {
        let offers = Offers::empty();
        let offer = Offer::new(1, 0);
        offers.put(0, offer);
        assert_eq!(offers.revoke(0, offer), Fate::Open);
        assert_eq!(offers.claim(&[0], 9), 0);
        // The next one in that place is another.
        let next = Offer::new(2, 0);
        offers.put(0, next);
        assert_eq!(offers.fate(0, offer), Fate::Garbled);
        assert_eq!(offers.fate(0, next), Fate::Open);
    }

    #[test]
    fn the_oldest_is_claimed_first_wherever_it_is() {
        let offers = Offers::empty();
        let (older, newer) = (Offer::new(7, 0), Offer::new(8, 0));
        offers.put(9, older);
        offers.put(2, newer);
        assert_eq!(offers.claim(&[0], 1), 1);
        assert_eq!((offers.fate(9, older), offers.fate(2, newer)), (Fate::Claimed, Fate::Open));
    }

    #[test]
    fn no_more_are_claimed_than_were_asked_for() {
        let offers = Offers::empty();
        (0..10).for_each(|at| offers.put(at, Offer::new(at as u64 + 1, 0)));
        assert_eq!(offers.claim(&[0], 4), 4);
        assert_eq!(offers.claim(&[0], 100), 6);
    }

    #[test]
    fn the_largest_listener_and_a_large_number_stay_apart() {
        let offers = Offers::empty();
        let offer = Offer::new((1 << 48) - 1, 0x7fff);
        offers.put(0, offer);
        assert!(offers.waits(&[0x7fff]));
        assert_eq!(offers.claim(&[0x7fff], 1), 1);
        assert_eq!(offers.fate(0, offer), Fate::Claimed);
    }

    #[test]
    fn exactly_one_side_has_it_however_both_are_interleaved() {
        const ROUNDS: u64 = 20_000;
        let offers = Arc::new(Offers::empty());
        let done = Arc::new(AtomicBool::new(false));
        let worker = {
            let (offers, done) = (offers.clone(), done.clone());
            thread::spawn(move || {
                let mut claimed = 0;
                while !done.load(Ordering::Acquire) {
                    claimed += offers.claim(&[0], 1) as u64;
                }
                claimed + offers.claim(&[0], MOST) as u64
            })
        };
        let (mut revoked, mut sent) = (0, 0);
        for round in 0..ROUNDS {
            let (at, offer) = (round as usize % MOST, Offer::new(round + 1, 0));
            offers.put(at, offer);
            if fastrand::bool() {
                thread::yield_now();
            }
            match offers.revoke(at, offer) {
                Fate::Open => revoked += 1,
                Fate::Claimed => {
                    sent += 1;
                    offers.clear(at);
                }
                Fate::Garbled => panic!("the worker writes nothing else"),
            }
        }
        done.store(true, Ordering::Release);
        assert_eq!(worker.join().unwrap(), sent, "each claim is one descriptor");
        assert_eq!(revoked + sent, ROUNDS);
    }
}
