//! Any bytes where the system's own words are expected.
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::{Event, Status};
use crate::ipc::codec::{self, MAX_ENCODED};
use crate::ipc::control::{
    FromDirector, FromForkServer, Surveyed, ToDirector, ToForkServer, ToPrimary, ToWorker, Welcome,
};
use crate::ipc::notice::{Credit, Notice, Receipt, Refusal, Undelivered};

/// Bytes as every type of the control protocol and of the system's own frames: what is one stays the same
/// through encoding and decoding.
///
/// # Panics
/// Where a promise is broken.
pub fn control_frames(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first().filter(|(_, bytes)| bytes.len() < MAX_ENCODED - 64) else {
        return;
    };
    let check = match which % 15 {
        0 => stays_the_same::<Welcome>,
        1 => stays_the_same::<ToWorker>,
        2 => stays_the_same::<ToPrimary>,
        3 => stays_the_same::<ToForkServer>,
        4 => stays_the_same::<FromForkServer>,
        5 => stays_the_same::<ToDirector>,
        6 => stays_the_same::<FromDirector>,
        7 => stays_the_same::<Notice>,
        8 => stays_the_same::<Credit>,
        9 => stays_the_same::<Receipt>,
        10 => stays_the_same::<Refusal>,
        11 => stays_the_same::<Undelivered>,
        12 => stays_the_same::<Event>,
        13 => stays_the_same::<Surveyed>,
        _ => stays_the_same::<Status>,
    };
    check(bytes);
}

fn stays_the_same<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(value) = codec::decode::<T>(bytes) else { return };
    let (mut once, mut twice) = ([0; MAX_ENCODED], [0; MAX_ENCODED]);
    // A duration's nanoseconds may have been carried into its seconds: the form may be longer by a few bytes.
    let once = codec::encode(&value, &mut once).expect("what was decoded can be encoded");
    let again = codec::decode::<T>(once).expect("what was encoded can be decoded");
    let twice = codec::encode(&again, &mut twice).expect("and encoded again");
    assert_eq!(once, twice, "{}", std::any::type_name::<T>());
}
