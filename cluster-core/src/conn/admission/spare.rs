//! A descriptor for each connection that is to be handed to a worker, kept until it comes: one that came where there is
//! none would be lost, for nobody else can have it then.
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// The descriptors that are kept.
#[derive(Debug, Default)]
pub(crate) struct Spare(Vec<OwnedFd>);

impl Spare {
    /// Keeps so many, or as many more than `needed` as there are; answers with how many it has. `any` is a descriptor, of
    /// whatever.
    ///
    /// # Errors
    /// There are none but those that are needed.
    pub(crate) fn keep(&mut self, count: usize, needed: usize, any: BorrowedFd<'_>) -> io::Result<usize> {
        while self.0.len() < count {
            match any.try_clone_to_owned() {
                Ok(spare) => self.0.push(spare),
                Err(err) if self.0.len() <= needed => return Err(err),
                Err(_) => break,
            }
        }
        Ok(self.0.len())
    }

    /// How many are kept.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// BEFORE it receives: what comes takes their place.
    pub(crate) fn make_room(&mut self) {
        self.0.clear();
    }
}
