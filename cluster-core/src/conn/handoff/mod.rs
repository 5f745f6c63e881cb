//! The primary accepts, and hands connections out: claim before descriptor.
//!
//! In the primary `desk.rs` accepts, offers and sends, in a thread that `front.rs` begins; whom it offers what,
//! `dispatch.rs` decides, and when to tell it, `ringing.rs`. An offer is a word in the worker's page (`offer.rs`). In the worker `intake.rs` claims and
//! receives, and `handed.rs` is what an acceptor sees. What both say to each other is in `passing.rs`.
mod desk;
mod dispatch;
mod front;
pub(crate) mod handed;
pub(crate) mod intake;
pub(crate) mod offer;
pub(crate) mod passing;
mod ringing;

pub(crate) use front::Handoff;
pub(crate) use offer::Offers;
