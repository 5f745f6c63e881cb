//! How much a worker takes at a time: one connection where others are idle, several where all are busy.
//!
//! Going back into the wait set after each connection makes idle workers take turns exactly, and costs each
//! connection a turn of the doorbell. Where the queue is never empty there are no turns to take: then a worker
//! takes what is there, as often as its loop comes round.

/// So many times in a row, nearly, the queue was not empty: the cluster is saturated. More than each of two
/// workers takes of a burst of 64, which is to be shared evenly.
const SATURATED: u32 = 40;
/// Pressure rises no further, so that it falls soon: two empty queues in a row end the saturation.
const MOST: u32 = 2 * SATURATED - 1;
/// So many connections are taken before the loop's other tasks have a turn.
const MOUTHFUL: u32 = 4;

/// The appetite of one acceptor.
#[derive(Debug, Default)]
pub(crate) struct Appetite {
    /// How long the queue has not been empty, in looks.
    pressure: u32,
    /// Taken since the loop came round.
    taken: u32,
}

impl Appetite {
    /// The queue was looked at: whether somebody waits in it.
    pub(crate) fn saw(&mut self, somebody_waits: bool) {
        self.pressure = if somebody_waits { (self.pressure + 1).min(MOST) } else { self.pressure / 2 };
    }

    /// A connection was taken.
    pub(crate) fn took(&mut self) {
        self.taken += 1;
    }

    /// The loop's other tasks have had a turn.
    pub(crate) fn come_round(&mut self) {
        self.taken = 0;
    }

    /// Whether to take the next one without going back into the wait set.
    pub(crate) fn is_saturated(&self) -> bool {
        self.pressure >= SATURATED
    }

    /// Whether to take it even before the loop's other tasks have had a turn.
    pub(crate) fn takes_another(&self) -> bool {
        self.is_saturated() && self.taken < MOUTHFUL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An acceptor that has seen the queue like this.
    fn after(looks: impl IntoIterator<Item = bool>) -> Appetite {
        let mut appetite = Appetite::default();
        looks.into_iter().for_each(|waits| appetite.saw(waits));
        appetite
    }

    #[test]
    fn a_burst_of_64_is_shared_one_by_one_also_by_two() {
        assert!(!after([true; 32]).is_saturated());
    }

    #[test]
    fn a_queue_that_is_never_empty_is_saturation() {
        assert!(after([true; 40]).is_saturated());
        assert!(after((0..400).map(|look| look % 50 != 0)).is_saturated(), "now and then it is empty");
    }

    #[test]
    fn clients_that_come_one_after_the_other_are_none() {
        assert!(!after((0..1000).map(|look| look % 2 == 0)).is_saturated());
    }

    #[test]
    fn two_empty_queues_in_a_row_end_it() {
        let mut appetite = after([true; 1000]);
        appetite.saw(false);
        assert!(
            !appetite.is_saturated() || {
                appetite.saw(false);
                !appetite.is_saturated()
            }
        );
    }

    #[test]
    fn the_loops_other_tasks_have_their_turn() {
        let mut appetite = after([true; 40]);
        let mut taken = 0;
        while appetite.takes_another() {
            appetite.took();
            taken += 1;
        }
        assert_eq!(taken, MOUTHFUL);
        appetite.come_round();
        assert!(appetite.takes_another());
    }
}
