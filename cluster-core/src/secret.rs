//! What all workers of a cluster know and nobody else does: random bytes, for keys that any worker must be able to
//! use, such as those of TLS session tickets.
//!
//! The primary makes them, in a page of memory that others can only read, and makes a new one from time to time: the one
//! before stays known, what is older is erased. Each is made from nothing, so that whoever finds out what a process knows today
//! knows nothing of the day before, and nothing of the day after. Nobody is told when it changes, and workers of all
//! generations agree. They are in no file and in no environment, and end with the primary.
#[cfg(feature = "rustls")]
pub(crate) mod tickets;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use crate::config::bounded;
use crate::sys::page::Mapped;
use crate::sys::random;

/// How long one is the newest, where nobody says otherwise.
pub(crate) const ROTATION: Duration = Duration::from_secs(6 * 60 * 60);
/// A primary that made new ones all the time would do nothing else.
const FASTEST: Duration = Duration::from_millis(100);
/// After the kernel has refused random bytes.
const AGAIN: Duration = Duration::from_secs(10);

const LEN: usize = 32;
const WORDS: usize = LEN / size_of::<u64>();
/// The newest, the one before, and the one that is being written or erased.
const PLACES: usize = 3;

/// The memory.
#[repr(C)]
pub(crate) struct SecretPage {
    /// Of the newest, growing from 1. The one before is the previous, if there was any.
    number: AtomicU64,
    /// How long each is the newest, in milliseconds.
    rotation: AtomicU64,
    kept: [[AtomicU64; WORDS]; PLACES],
}

impl SecretPage {
    /// By the primary alone.
    fn replace(&self, secret: [u8; LEN]) {
        let number = self.number.load(Ordering::Relaxed) + 1;
        let (words, _) = secret.as_chunks::<{ size_of::<u64>() }>();
        for (place, word) in self.place(number).iter().zip(words) {
            place.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
        self.number.store(number, Ordering::Release);
        // BEFORE what is old is erased: who reads a part of that sees that the number is another by now.
        fence(Ordering::Release);
        if let Some(old) = number.checked_sub(2) {
            self.place(old).iter().for_each(|word| word.store(0, Ordering::Relaxed));
        }
    }

    fn read(&self) -> Secret {
        loop {
            let number = self.number.load(Ordering::Acquire);
            let newest = self.copy(number);
            let previous = (number > 1).then(|| self.copy(number - 1));
            fence(Ordering::Acquire);
            if self.number.load(Ordering::Relaxed) == number {
                return Secret { number, newest, previous };
            }
        }
    }

    fn copy(&self, number: u64) -> [u8; LEN] {
        let mut secret = [0; LEN];
        for (bytes, word) in secret.chunks_exact_mut(size_of::<u64>()).zip(self.place(number)) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        secret
    }

    fn place(&self, number: u64) -> &[AtomicU64; WORDS] {
        &self.kept[(number % PLACES as u64) as usize]
    }
}

/// The primary's side: makes them.
pub(crate) struct Keeper {
    page: Mapped<SecretPage>,
    fd: OwnedFd,
    rotation: Duration,
    due: Instant,
}

impl Keeper {
    /// Makes the first.
    pub(crate) fn begin(now: Instant, rotation: Duration) -> io::Result<Self> {
        let (page, fd) = Mapped::<SecretPage>::create_for_readers(c"cluster-secret")?;
        let rotation = bounded(rotation).max(FASTEST);
        page.rotation.store(rotation.as_millis() as u64, Ordering::Relaxed);
        page.replace(random::bytes()?);
        Ok(Self { page, fd, rotation, due: now + rotation })
    }

    /// When the next is to be made.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Makes the next where it is time.
    pub(crate) fn turn(&mut self, now: Instant) {
        if now < self.due {
            return;
        }
        let next = match random::bytes() {
            Ok(secret) => {
                self.page.replace(secret);
                self.rotation
            }
            // What there is stays good for longer; nobody is served worse for that.
            Err(err) => {
                crate::event::warn(&format!("cannot replace the workers' shared secret: {err}"));
                AGAIN
            }
        };
        self.due = now + next;
    }

    /// What every worker gets, to read.
    pub(crate) fn page(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A worker's side: reads what the primary has made. For the adapters.
#[derive(Clone)]
pub struct Secrets(Arc<Mapped<SecretPage>>);

/// What all workers know at a time. Derive keys from it, for one purpose each; never use it as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Grows with each that is made.
    pub number: u64,
    /// For what is made now.
    pub newest: [u8; LEN],
    /// For what was made before; none where there was none.
    pub previous: Option<[u8; LEN]>,
}

impl Secrets {
    pub(crate) fn new(page: Mapped<SecretPage>) -> Self {
        Self(Arc::new(page))
    }

    /// The number of the newest: one load, to see whether what was derived is still good.
    pub fn number(&self) -> u64 {
        self.0.number.load(Ordering::Acquire)
    }

    /// What is known now.
    pub fn read(&self) -> Secret {
        self.0.read()
    }

    /// How long each is the newest. What was made with one can be read for as long after that, at least.
    pub fn rotation(&self) -> Duration {
        Duration::from_millis(self.0.rotation.load(Ordering::Relaxed))
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets(number {})", self.number())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret(number {})", self.number)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::errno::Errno;

    use super::*;

    fn keeper(now: Instant) -> (Keeper, Secrets) {
        let keeper = Keeper::begin(now, ROTATION).unwrap();
        let secrets = Secrets::new(Mapped::map_to_read(keeper.page()).unwrap());
        (keeper, secrets)
    }

    #[test]
    fn the_next_is_made_when_its_time_has_come_and_not_before() {
        let now = Instant::now();
        let (mut keeper, secrets) = keeper(now);
        let first = secrets.read();
        assert_eq!((first.number, first.previous, secrets.rotation()), (1, None, ROTATION));
        assert_ne!(first.newest, [0; LEN]);
        keeper.turn(now + ROTATION - Duration::from_millis(1));
        assert_eq!(secrets.read(), first);
        keeper.turn(now + ROTATION);
        let second = secrets.read();
        assert_eq!((second.number, second.previous), (2, Some(first.newest)));
        assert_eq!(keeper.due(), now + 2 * ROTATION);
        // Suspended for a day: one is due, and not four.
        keeper.turn(now + 4 * ROTATION);
        assert_eq!((secrets.number(), secrets.read().previous), (3, Some(second.newest)));
        assert_eq!(keeper.due(), now + 5 * ROTATION);
    }

    #[test]
    fn what_is_older_than_the_previous_is_nowhere_any_more() {
        let now = Instant::now();
        let (mut keeper, secrets) = keeper(now);
        let first = secrets.read().newest;
        for turns in 1..=7 {
            keeper.turn(now + ROTATION * turns);
            let all: Vec<_> = (0..PLACES as u64).map(|place| secrets.0.copy(place)).collect();
            assert_eq!(all.contains(&first), turns < 2, "after {turns}");
            assert_eq!(all.iter().filter(|secret| **secret == [0; LEN]).count(), 1, "after {turns}");
        }
    }

    #[test]
    fn only_the_primary_can_write() {
        let (keeper, _) = keeper(Instant::now());
        assert_eq!(Mapped::<SecretPage>::map(keeper.page()).err(), Some(Errno::EPERM));
        assert_eq!(nix::unistd::write(keeper.page(), b"mine"), Err(Errno::EPERM));
    }

    #[test]
    fn what_is_read_is_whole_while_it_is_replaced() {
        let (page, fd) = Mapped::<SecretPage>::create_for_readers(c"test").unwrap();
        let secrets = Secrets::new(Mapped::map_to_read(fd.as_fd()).unwrap());
        let of = |number: u64| [number as u8; LEN];
        page.replace(of(1));
        let reader = thread::spawn(move || {
            let mut seen = 0;
            while seen < 20_000 {
                let secret = secrets.read();
                assert_eq!(secret.newest, of(secret.number));
                assert_eq!(secret.previous, (secret.number > 1).then(|| of(secret.number - 1)));
                seen = secret.number;
            }
        });
        (2..=20_000).for_each(|number| page.replace(of(number)));
        reader.join().unwrap();
    }
}
