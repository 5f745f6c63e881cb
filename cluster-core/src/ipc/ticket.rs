//! What a receiver has taken of each sender, and who is told of it.
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::ipc::endpoint::{Endpoint, Inner};
use crate::ipc::frame::Address;
use crate::ipc::notice::{Credit, Weight};
use crate::ipc::window::Limits;

/// What a process owes to those who sent to it.
pub(crate) struct Ledger {
    endpoint: Weak<Inner>,
    all: HashMap<(Address, Address), Arc<Account>>,
    /// The last one used: most come in rows.
    last: Option<((Address, Address), Arc<Account>)>,
}

/// What has been taken of one sender under one name and has not been told.
pub(crate) struct Account {
    endpoint: Weak<Inner>,
    sender: Address,
    /// What the sender called this process.
    name: Address,
    /// Frames, and bytes in the stream, in one word: every message adds to both.
    stream: AtomicU64,
    parcels: AtomicU64,
}

/// The lower part of `stream` is bytes. What is told is taken out, so that neither comes near its end.
const BYTES: u32 = 40;

/// A message that is not taken yet. Dropped, it is.
#[derive(Default)]
pub(crate) enum Ticket {
    #[default]
    None,
    One(Taking),
    Shared(Arc<Taking>),
}

pub(crate) struct Taking {
    account: Arc<Account>,
    weight: Weight,
}

impl Ledger {
    pub(crate) fn new(endpoint: Weak<Inner>) -> Self {
        Self { endpoint, all: HashMap::new(), last: None }
    }

    /// For messages of `sender`, who called this process `name`. What came to many is on the exchange's account.
    pub(crate) fn account(&mut self, sender: Address, name: Address) -> Arc<Account> {
        let key = if name.is_one() { (sender, name) } else { (Address::Exchange, Address::Exchange) };
        match &self.last {
            Some((last, account)) if *last == key => account.clone(),
            _ => {
                let open = || Arc::new(Account::new(self.endpoint.clone(), key));
                let account = self.all.entry(key).or_insert_with(open).clone();
                self.last = Some((key, account.clone()));
                account
            }
        }
    }

    /// A process is gone, and its account with it.
    pub(crate) fn forget(&mut self, process: Address) {
        self.all.retain(|(sender, _), _| *sender != process);
        self.last = None;
    }
}

impl Ticket {
    /// Of a message that nobody waits for.
    pub(crate) fn none() -> Self {
        Ticket::None
    }

    /// Another of the same, for another receiver: the last of them to be dropped counts.
    pub(crate) fn share(&mut self) -> Self {
        *self = match std::mem::take(self) {
            Ticket::One(taking) => Ticket::Shared(Arc::new(taking)),
            other => other,
        };
        match self {
            Ticket::Shared(taking) => Ticket::Shared(taking.clone()),
            Ticket::None | Ticket::One(_) => Ticket::None,
        }
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.account.take(self.weight);
    }
}

impl Account {
    fn new(endpoint: Weak<Inner>, (sender, name): (Address, Address)) -> Self {
        Self { endpoint, sender, name, stream: AtomicU64::new(0), parcels: AtomicU64::new(0) }
    }

    /// For a message.
    pub(crate) fn ticket(self: Arc<Self>, weight: Weight) -> Ticket {
        Ticket::One(Taking { account: self, weight })
    }

    fn take(&self, weight: Weight) {
        let more = weight.frames << BYTES | weight.bytes;
        let stream = self.stream.fetch_add(more, Ordering::Relaxed) + more;
        // Few have one, and each of those is told at once.
        if weight.parcels > 0 {
            self.parcels.fetch_add(weight.parcels, Ordering::Relaxed);
        }
        if Limits::worth_telling(Self::weight(stream, weight.parcels)) {
            self.tell();
        }
    }

    fn weight(stream: u64, parcels: u64) -> Weight {
        Weight { frames: stream >> BYTES, bytes: stream & ((1 << BYTES) - 1), parcels }
    }

    fn tell(&self) {
        let all = |of: &AtomicU64| of.swap(0, Ordering::Relaxed);
        let weight = Self::weight(all(&self.stream), all(&self.parcels));
        if let Some(inner) = self.endpoint.upgrade()
            && weight != Weight::default()
        {
            Endpoint::of(inner).credit(self.sender, Credit { to: self.name, weight });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_bytes_in_one_word_are_kept_apart() {
        let account = Account::new(Weak::new(), (Address::Exchange, Address::Exchange));
        let mut sum = Weight::default();
        for len in [40, 500, 131_000] {
            let weight = Weight::of(len, None);
            account.stream.fetch_add(weight.frames << BYTES | weight.bytes, Ordering::Relaxed);
            sum.add(weight);
        }
        assert_eq!(Account::weight(account.stream.load(Ordering::Relaxed), 0), sum);
    }

    #[test]
    fn what_is_told_is_taken_out() {
        let account = Account::new(Weak::new(), (Address::Exchange, Address::Exchange));
        let stream = || Account::weight(account.stream.load(Ordering::Relaxed), 0);
        account.take(Weight::of(100, None));
        assert_eq!(stream(), Weight { frames: 1, bytes: 100, parcels: 0 }, "too little to be told");
        account.take(Weight::of(100_000, None));
        assert_eq!(stream(), Weight::default());
        account.take(Weight::of(100, Some(1)));
        assert_eq!(account.parcels.load(Ordering::Relaxed), 0, "a parcel is told at once");
    }
}
