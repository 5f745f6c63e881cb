//! The key of a message type: what a frame carries so that it is decoded only where the type is the same.
use std::any::TypeId;
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{PoisonError, RwLock};

use crate::ipc::fnv::Fnv;
use crate::ipc::message::Message;
use crate::ipc::probe::{AsksWhatComesNext, layout_of};

/// No name in a key is longer, in bytes.
pub(crate) const MAX_NAME: usize = 200;

/// A type as sender and receiver know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// serde's name of the type, for people too; cut where it is longer than [`MAX_NAME`].
    pub(crate) name: String,
    /// Of the names and types of its fields and variants, to any depth.
    pub(crate) fingerprint: u64,
    /// Of both, for tables.
    pub(crate) hash: u64,
}

impl Key {
    pub(crate) fn new(name: &str, fingerprint: u64) -> Self {
        let name = cut(name);
        let mut hash = Fnv::default();
        hash.text(&name);
        hash.number(fingerprint);
        Self { name, fingerprint, hash: hash.value() }
    }
}

/// A type that the codec cannot carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{type_name} cannot be carried as it is ({why}): send it as Json<T>")]
pub(crate) struct Unsupported {
    pub(crate) type_name: &'static str,
    pub(crate) why: &'static str,
}

/// The key of `T`, found once per process.
pub(crate) fn key_of<T: Message>() -> Result<&'static Key, Unsupported> {
    let id = TypeId::of::<T>();
    // Without a lock, because every send asks. A thread that is ending has no table any more.
    let mine = MINE.try_with(|mine| mine.borrow().get(&id).copied()).ok().flatten();
    mine.unwrap_or_else(|| look_up::<T>(id))
}

type Found = Result<&'static Key, Unsupported>;
type Table = HashMap<TypeId, Found, BuildHasherDefault<AsItIs>>;

static ALL: RwLock<Table> = RwLock::new(Table::with_hasher(BuildHasherDefault::new()));

thread_local! {
    static MINE: RefCell<Table> = const { RefCell::new(Table::with_hasher(BuildHasherDefault::new())) };
}

#[cold]
fn look_up<T: Message>(id: TypeId) -> Found {
    let known = ALL.read().unwrap_or_else(PoisonError::into_inner).get(&id).copied();
    // Not under the lock: this runs code of the user's.
    let found = known.unwrap_or_else(|| {
        let found = find::<T>();
        *ALL.write().unwrap_or_else(PoisonError::into_inner).entry(id).or_insert(found)
    });
    let _ = MINE.try_with(|mine| mine.borrow_mut().insert(id, found));
    found
}

/// There are as many keys as the program has types of messages: they may stay.
fn find<T: Message>() -> Found {
    match layout_of::<T>() {
        Ok(layout) => Ok(Box::leak(Box::new(Key::new(&layout.name, layout.fingerprint)))),
        Err(AsksWhatComesNext) => Err(Unsupported {
            type_name: std::any::type_name::<T>(),
            why: "it asks what comes next, as serde_json::Value, `flatten`, `tag` and `untagged` do",
        }),
    }
}

/// A name of at most [`MAX_NAME`] bytes; where two long ones begin alike their ends differ.
fn cut(name: &str) -> String {
    if name.len() <= MAX_NAME {
        return name.to_owned();
    }
    let mut hash = Fnv::default();
    hash.text(name);
    let suffix = format!("..{:016x}", hash.value());
    let end = (0..=MAX_NAME - suffix.len()).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    format!("{}{suffix}", &name[..end])
}

/// A `TypeId` is a hash already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
