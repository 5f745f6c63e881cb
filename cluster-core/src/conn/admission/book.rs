//! The ledger as the primary keeps it: places for workers, and a count of what it has in its own hands.
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use crate::conn::admission::ledger::{Attempt, Ledger, PRIMARY, Waiting};
use crate::conn::shared::Bell;
use crate::sys::page::Mapped;

/// What the whole cluster has open, where that is limited.
pub(crate) struct Book {
    ledger: Mapped<Ledger>,
    fd: OwnedFd,
    bell: Arc<Bell>,
    places: Mutex<Places>,
}

struct Places {
    free: Vec<usize>,
    /// The first that was never used.
    next: usize,
}

/// A worker's place. Dropped, by all who have it, when its process has ended, or will never be: what it had is free again.
pub(crate) struct Entry {
    book: Arc<Book>,
    place: usize,
}

/// One connection that the primary has. Dropped when it has it no more.
pub(crate) struct Counted(Arc<Book>);

impl Book {
    /// For a cluster that may have so many connections open.
    pub(crate) fn begin(limit: u64, bell: Arc<Bell>) -> io::Result<Arc<Self>> {
        let (ledger, fd) = Mapped::<Ledger>::create(c"cluster-ledger")?;
        ledger.begin(limit);
        let places = Mutex::new(Places { free: Vec::new(), next: PRIMARY + 1 });
        Ok(Arc::new(Self { ledger, fd, bell, places }))
    }

    /// A place for a worker that is about to be born.
    pub(crate) fn enter(this: &Arc<Self>) -> Entry {
        let mut places = this.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.free.pop().unwrap_or_else(|| {
            places.next += 1;
            places.next - 1
        });
        this.ledger.use_place(place);
        Entry { book: this.clone(), place }
    }

    /// The primary has one that is counted for another place still.
    pub(crate) fn take_over(this: &Arc<Self>) -> Counted {
        this.ledger.add(PRIMARY, 1);
        Counted(this.clone())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.ledger.is_full()
    }

    /// The primary waits for room: whether it still must. Workers tell it when there is some.
    pub(crate) fn must_wait(&self) -> bool {
        self.ledger.is_full() && self.ledger.must_wait(Waiting::PRIMARY)
    }

    /// The primary accepts one more, if there is room.
    pub(crate) fn try_take(this: &Arc<Self>) -> Option<Counted> {
        match this.ledger.try_take(PRIMARY) {
            Attempt::Granted => Some(Counted(this.clone())),
            Attempt::Refused(waiting) => {
                this.tell(waiting);
                None
            }
        }
    }

    /// The primary itself looks again whenever something has happened.
    fn tell(&self, waiting: Waiting) {
        if waiting.includes(Waiting::WORKERS) {
            self.bell.ring();
        }
    }
}

impl AsFd for Book {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Entry {
    /// Its number, for the worker.
    pub(crate) fn place(&self) -> usize {
        self.place
    }

    /// What the primary had is the worker's now.
    pub(crate) fn hand_over(&self, counted: Counted) {
        self.book.ledger.add(self.place, 1);
        drop(counted);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let waiting = self.book.ledger.forget(self.place);
        self.book.places.lock().unwrap_or_else(PoisonError::into_inner).free.push(self.place);
        self.book.tell(waiting);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.tell(self.0.ledger.give_back(PRIMARY));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(limit: u64) -> Arc<Book> {
        Book::begin(limit, Arc::new(Bell::new().unwrap())).unwrap()
    }

    /// A worker's view of the same memory.
    fn worker(book: &Arc<Book>) -> Mapped<Ledger> {
        Mapped::map(book.as_fd()).unwrap()
    }

    #[test]
    fn the_share_of_a_worker_that_has_ended_is_free_and_so_is_its_place() {
        let book = book(3);
        let (first, second) = (Book::enter(&book), Book::enter(&book));
        let ledger = worker(&book);
        assert!((0..3).all(|_| ledger.try_take(first.place()) == Attempt::Granted));
        assert!(book.is_full() && Book::try_take(&book).is_none());
        let place = first.place();
        drop(first);
        assert!(!book.is_full());
        assert_eq!(Book::enter(&book).place(), place);
        assert_ne!(second.place(), place);
    }

    #[test]
    fn what_the_primary_has_counts_until_it_is_handed_over() {
        let book = book(2);
        let entry = Book::enter(&book);
        let (one, two) = (Book::try_take(&book).unwrap(), Book::try_take(&book).unwrap());
        assert!(Book::try_take(&book).is_none() && book.must_wait());
        entry.hand_over(one);
        assert!(book.is_full(), "it is the worker's now");
        drop(two);
        assert!(!book.is_full() && !book.must_wait());
        // The worker has claimed it and ended, and was not sent it.
        let back = Book::take_over(&book);
        drop(entry);
        assert!(Book::try_take(&book).is_some());
        drop(back);
        assert!(!book.is_full());
    }
}
