//! What stands in for a descriptor that was lost.
use std::os::fd::OwnedFd;

use nix::errno::Errno;

use crate::sys::parcel;

/// Takes the place of a parcel whose descriptor was lost because this process may open no more: its receiver
/// cannot open it, and reports the message. Kept ready, because then it could not be made.
pub(super) struct StandIn(pub(super) Option<OwnedFd>);

impl StandIn {
    pub(super) fn new() -> Self {
        let mut it = Self(None);
        it.renew();
        it
    }

    /// Makes another where the last one is used. Answers whether there is reason to wait for it: none where
    /// there can be none at all.
    pub(super) fn renew(&mut self) -> bool {
        if self.0.is_some() {
            return true;
        }
        match parcel::create() {
            // Never sealed: nobody takes it for a parcel.
            Ok(file) => self.0 = Some(file.into()),
            Err(err) => {
                let full = [Errno::EMFILE, Errno::ENFILE].map(|errno| Some(errno as i32));
                return !full.contains(&err.raw_os_error());
            }
        }
        true
    }
}
