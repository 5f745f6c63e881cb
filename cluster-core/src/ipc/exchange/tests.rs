use std::io::Write as _;
use std::os::fd::AsFd;

use super::hub::{Read, Written};
use super::*;
use crate::id::{Slot, WorkerId};
use crate::ipc::frame::{self, Head, Kind};
use crate::sys::channel::stream_pair;
use crate::sys::parcel::{self, Parcel};
use crate::sys::stream::{self, Reader};

const FROM: PeerId = PeerId::Worker(WorkerId(1));
const TO: PeerId = PeerId::Worker(WorkerId(2));

/// Sends a message with a parcel of `len` bytes.
fn send_parcel(socket: &OwnedFd, len: u64) {
    let mut file = parcel::create().unwrap();
    file.write_all(&vec![1; len as usize]).unwrap();
    let fd = parcel::seal(file).unwrap();
    let mut bytes = Vec::new();
    let head = Head { parcel: true, ..Head::system(Kind::Message, FROM.into(), TO.into()) };
    frame::write(&mut bytes, &head, b"Large", &len.to_le_bytes());
    assert_eq!(stream::write(socket.as_fd(), &bytes, Some(fd.as_fd())), Ok(bytes.len()));
}

/// Which of the parcels that have come can be opened.
fn opened(socket: &OwnedFd) -> Vec<bool> {
    let (mut buf, mut fds, mut bytes) = (vec![0; 1 << 16], Vec::new(), Vec::new());
    while let Ok(received) = Reader::new().read(socket.as_fd(), &mut buf, &mut fds) {
        bytes.extend_from_slice(&buf[..received.len]);
    }
    let (mut at, mut opened, mut fds) = (0, Vec::new(), fds.into_iter());
    while let Some(frame) = frame::read(&bytes[at..]).unwrap() {
        at += frame.bytes.len();
        if frame.head.parcel {
            let (fd, len) = (fds.next().unwrap(), frame.parcel_len().unwrap());
            opened.push(Parcel::open(fd.as_fd(), len).is_ok());
        }
    }
    opened
}

#[tokio::test]
async fn a_parcel_that_is_lost_is_no_fault_of_its_sender() {
    let (words, _told) = mpsc::channel(8);
    let exchange = Exchange::new(false, 2, words);
    let (from, to) = (stream_pair().unwrap(), stream_pair().unwrap());
    exchange.join(FROM, Seat::Slot(Slot(0)), from.0).unwrap();
    exchange.join(TO, Seat::Slot(Slot(1)), to.0).unwrap();
    for len in [10, 20, 30] {
        send_parcel(&from.1, len);
    }
    // No task has its turn: this one does not wait.
    let mut hub = exchange.lock();
    for reader in [Reader::new(), Reader::without_room(), Reader::new()] {
        hub.reader = reader;
        let Read::Some(words, _) = hub.read_prepared(FROM) else { panic!("there was nothing") };
        assert!(words.is_empty(), "{words:?}");
    }
    assert!(matches!(hub.write(TO), Written::All));
    assert_eq!(opened(&to.1), [true, false, true]);
}

#[tokio::test]
async fn what_a_process_left_behind_is_told_however_little_room_there_is() {
    let (words, mut told) = mpsc::channel(1);
    let exchange = Exchange::new(false, 1, words);
    let (ours, theirs) = stream_pair().unwrap();
    exchange.join(FROM, Seat::Slot(Slot(0)), ours).unwrap();
    let mut bytes = Vec::new();
    let names = ["First", "Second", "Third", "Fourth"];
    for name in names {
        frame::write(&mut bytes, &Head::system(Kind::Message, FROM.into(), TO.into()), name.as_bytes(), b"");
    }
    assert_eq!(stream::write(theirs.as_fd(), &bytes, None), Ok(bytes.len()));
    exchange.leave(FROM);
    for name in names {
        let Some(Word::Undelivered(what)) = told.recv().await else { panic!("{name} is not told") };
        assert_eq!(what.type_name, name);
    }
}

#[tokio::test]
async fn the_socket_of_a_process_that_is_gone_is_closed_though_a_grandchild_has_its_other_end() {
    let (words, _told) = mpsc::channel(1);
    let exchange = Exchange::new(false, 1, words);
    let (ours, grandchilds) = stream_pair().unwrap();
    exchange.join(FROM, Seat::Slot(Slot(0)), ours).unwrap();
    let socket = Arc::downgrade(&exchange.lock().lines[&FROM].socket);
    // Both tasks wait: there is nothing to read, and nothing to write.
    tokio::task::yield_now().await;
    exchange.leave(FROM);
    let closed = async {
        while socket.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), closed).await.expect("no task has it any more");
    drop(grandchilds);
}
