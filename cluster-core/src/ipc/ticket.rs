//! What a receiver has taken of each sender, and who is told of it.
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::ipc::endpoint::{Endpoint, Inner};
use crate::ipc::frame::Address;
use crate::ipc::notice::{Credit, Weight};
use crate::ipc::window::Limits;

/// What a process owes to those who sent to it.
pub(crate) struct Ledger {
    endpoint: Weak<Inner>,
    accounts: Mutex<Accounts>,
}

#[derive(Default)]
struct Accounts {
    all: HashMap<(Address, Address), Arc<Account>>,
    /// The last one used: most come in rows.
    last: Option<((Address, Address), Arc<Account>)>,
}

/// What has been taken of one sender under one name and has not been told.
struct Account {
    endpoint: Weak<Inner>,
    sender: Address,
    /// What the sender called this process.
    name: Address,
    frames: AtomicU64,
    bytes: AtomicU64,
    parcels: AtomicU64,
}

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
        Self { endpoint, accounts: Mutex::default() }
    }

    /// For a message of `sender`, who called this process `name`. What came to many is on the exchange's
    /// account.
    pub(crate) fn ticket(&self, sender: Address, name: Address, weight: Weight) -> Ticket {
        let key = if name.is_one() { (sender, name) } else { (Address::Exchange, Address::Exchange) };
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let account = match &accounts.last {
            Some((last, account)) if *last == key => account.clone(),
            _ => {
                let open = || Arc::new(Account::new(self.endpoint.clone(), key));
                let account = accounts.all.entry(key).or_insert_with(open).clone();
                accounts.last = Some((key, account.clone()));
                account
            }
        };
        Ticket::One(Taking { account, weight })
    }

    /// A process is gone, and its account with it.
    pub(crate) fn forget(&self, process: Address) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.all.retain(|(sender, _), _| *sender != process);
        accounts.last = None;
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
        let none = || AtomicU64::new(0);
        Self { endpoint, sender, name, frames: none(), bytes: none(), parcels: none() }
    }

    fn take(&self, weight: Weight) {
        let add = |to: &AtomicU64, more: u64| to.fetch_add(more, Ordering::Relaxed) + more;
        let taken = Weight {
            frames: add(&self.frames, weight.frames),
            bytes: add(&self.bytes, weight.bytes),
            parcels: add(&self.parcels, weight.parcels),
        };
        if Limits::worth_telling(taken) {
            self.tell();
        }
    }

    fn tell(&self) {
        let all = |of: &AtomicU64| of.swap(0, Ordering::Relaxed);
        let weight =
            Weight { frames: all(&self.frames), bytes: all(&self.bytes), parcels: all(&self.parcels) };
        if let Some(inner) = self.endpoint.upgrade()
            && weight != Weight::default()
        {
            Endpoint::of(inner).credit(self.sender, Credit { to: self.name, weight });
        }
    }
}
