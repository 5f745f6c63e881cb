//! Messages in a row, from one sender and of one type: what was found for the first holds for the rest.
use std::sync::Arc;

use crate::ipc::frame::{Address, Frame};
use crate::ipc::listeners::Receivers;
use crate::ipc::ticket::Account;

/// A row of messages within what one read has brought. No longer: who listens may change, and what is read after that
/// is for those who listen then.
#[derive(Default)]
pub(crate) struct Row(Option<Alike>);

/// What the messages of a row have in common.
pub(crate) struct Alike {
    from: Address,
    to: Address,
    fingerprint: u64,
    name: Vec<u8>,
    pub(crate) account: Arc<Account>,
    /// Those who were open when the row began.
    pub(crate) receivers: Receivers,
}

impl Row {
    /// What is known of a message of this row.
    pub(crate) fn like(&self, frame: &Frame<'_>) -> Option<&Alike> {
        let head = &frame.head;
        self.0.as_ref().filter(|alike| {
            (alike.from, alike.to, alike.fingerprint) == (head.from, head.to, head.fingerprint)
                && alike.name == frame.name
        })
    }

    /// A row begins with this message.
    pub(crate) fn begin(&mut self, frame: &Frame<'_>, account: Arc<Account>, receivers: Receivers) {
        let (from, to, fingerprint) = (frame.head.from, frame.head.to, frame.head.fingerprint);
        self.0 = Some(Alike { from, to, fingerprint, name: frame.name.to_vec(), account, receivers });
    }

    /// What comes next has to be looked up.
    pub(crate) fn end(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Slot, WorkerId};
    use crate::ipc::frame::{self, Head, Kind};
    use crate::ipc::ticket::Ledger;

    fn frame(head: &Head, name: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::write(&mut bytes, head, name, b"body");
        bytes
    }

    #[test]
    fn a_row_is_of_one_sender_one_receivers_name_and_one_type() {
        let first = Head {
            fingerprint: 7,
            ..Head::system(Kind::Message, Address::Worker(WorkerId(1)), Address::Slot(Slot(0)))
        };
        let bytes = frame(&first, b"Said");
        let said = frame::read(&bytes).unwrap().unwrap();
        let mut row = Row::default();
        assert!(row.like(&said).is_none());
        let account = Ledger::new(std::sync::Weak::new()).account(first.from, first.to);
        row.begin(&said, account, Receivers::default());
        let is_like = |row: &Row, head: Head, name: &[u8]| {
            let bytes = frame(&head, name);
            row.like(&frame::read(&bytes).unwrap().unwrap()).is_some()
        };
        assert!(is_like(&row, first, b"Said"));
        assert!(
            is_like(&row, Head { correlation: 9, ..first }, b"Said"),
            "each broadcast has one of its own"
        );
        assert!(!is_like(&row, first, b"Sold"));
        assert!(!is_like(&row, Head { fingerprint: 8, ..first }, b"Said"));
        assert!(!is_like(&row, Head { from: Address::Worker(WorkerId(2)), ..first }, b"Said"));
        assert!(!is_like(&row, Head { to: Address::Worker(WorkerId(3)), ..first }, b"Said"));
        row.end();
        assert!(!is_like(&row, first, b"Said"));
    }
}
