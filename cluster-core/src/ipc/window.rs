//! How much may be on the way to somebody who has not taken it.
use crate::ipc::notice::Weight;

/// So much may a sender have on the way to one receiver, and the exchange of broadcasts to one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    frames: u64,
    bytes: u64,
    parcels: u64,
}

impl Limits {
    const FRAMES: u64 = 8 * 1024;
    const MOST: u64 = 1 << 20;
    const LEAST: u64 = 256 << 10;
    /// All senders' windows to one receiver together: the primary keeps no more for one that is stopped.
    const ALL: u64 = 24 << 20;
    const PARCELS: u64 = 16 << 20;
    /// All senders' parcels to one receiver: the primary has a descriptor for each.
    const ALL_PARCELS: u64 = 64 * Weight::PARCEL;

    /// For a cluster with so many slots.
    pub(crate) fn of(slots: u16) -> Self {
        let senders = u64::from(slots) + 1;
        let bytes = (Self::ALL / senders).clamp(Self::LEAST, Self::MOST);
        let parcels = (Self::ALL_PARCELS / senders).clamp(Weight::PARCEL, Self::PARCELS);
        Self { frames: Self::FRAMES, bytes, parcels }
    }

    /// Whether `more` may join what is on the way. One frame always may, however large.
    pub(crate) fn admit(&self, on_the_way: Weight, more: Weight) -> bool {
        let fits = |now: u64, more: u64, limit: u64| now == 0 || now.saturating_add(more) <= limit;
        fits(on_the_way.frames, more.frames, self.frames)
            && fits(on_the_way.bytes, more.bytes, self.bytes)
            && (more.parcels == 0 || fits(on_the_way.parcels, more.parcels, self.parcels))
    }

    /// Whether so much taken is worth a word to the sender: often enough that it never waits for nothing,
    /// whatever its limits (they change with the number of slots), seldom enough that words are few.
    pub(crate) fn worth_telling(taken: Weight) -> bool {
        taken.frames >= Self::FRAMES / 4 || taken.bytes >= Self::LEAST / 4 || taken.parcels > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_admits_to_its_limits_and_one_frame_always() {
        let limits = Limits::of(4);
        let none = Weight::default();
        let small = Weight::of(100, None);
        let huge = Weight::of(100, Some(64 << 20));
        assert!(limits.admit(none, small) && limits.admit(none, huge));
        assert!(limits.admit(small, huge), "parcels have a window of their own");
        assert!(!limits.admit(huge, huge) && limits.admit(huge, small));
        assert!(!limits.admit(Weight { frames: Limits::FRAMES, bytes: 1, parcels: 0 }, small));
        assert!(!limits.admit(Weight { frames: 1, bytes: 1 << 20, parcels: 0 }, small));
    }

    #[test]
    fn all_senders_together_keep_to_what_a_primary_has_descriptors_for() {
        for slots in [1, 7, 31, 63] {
            let (limits, parcel) = (Limits::of(slots), Weight::of(100, Some(200_000)));
            let (mut on_the_way, mut count) = (Weight::default(), 0);
            while limits.admit(on_the_way, parcel) {
                on_the_way.add(parcel);
                count += 1;
            }
            assert!(count >= 1 && count * (u32::from(slots) + 1) <= 64, "{slots} slots: {count} each");
        }
    }

    #[test]
    fn who_waits_for_room_is_always_told_of_it() {
        // Whatever was admitted, and then all of it taken: a sender that was refused hears of it.
        for slots in [1, 8, 64, 5000] {
            let limits = Limits::of(slots);
            for frame in [40, 400, 4000, crate::ipc::frame::MAX_FRAME] {
                let weight = Weight::of(frame, None);
                let mut on_the_way = Weight::default();
                while limits.admit(on_the_way, weight) {
                    on_the_way.add(weight);
                }
                assert!(Limits::worth_telling(on_the_way), "{slots} slots, frames of {frame} bytes");
            }
        }
    }
}
