use std::io::Write as _;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicU32;
use std::task::Context;

use futures::FutureExt;
use nix::errno::Errno;

use super::hearing::Hearing;
use super::writing::Written;
use super::*;
use crate::id::WorkerId;
use crate::ipc::codec;
use crate::ipc::sending::Sending;
use crate::sys::stream::{self, Reader};
use crate::sys::{channel, parcel};

const ME: PeerId = PeerId::Worker(WorkerId(1));

/// An endpoint, its reading side, and the primary's end of its socket.
fn connected() -> (Endpoint, Arc<OwnedFd>, Hearing, OwnedFd) {
    let (mine, primary) = channel::stream_pair().unwrap();
    let endpoint = Endpoint::new(ME, true, 1, mine, TaskTracker::new());
    let Way::Socket(socket) = &endpoint.inner.way else { unreachable!("it was made with one") };
    let socket = socket.clone();
    (endpoint, socket, Hearing::new(), primary)
}

/// A frame of type `name` with a parcel of `len` bytes.
fn send_parcel(socket: &OwnedFd, name: &str, len: usize) {
    let mut file = parcel::create().unwrap();
    file.write_all(&vec![1; len]).unwrap();
    let fd = parcel::seal(file).unwrap();
    let mut head = Head::system(Kind::Message, Address::Director, ME.into());
    head.parcel = true;
    let mut bytes = Vec::new();
    frame::write(&mut bytes, &head, name.as_bytes(), &(len as u64).to_le_bytes());
    assert_eq!(stream::write(socket.as_fd(), &bytes, Some(fd.as_fd())), Ok(bytes.len()));
}

/// More than a socket takes.
fn send_much(endpoint: &Endpoint) {
    for _ in 0..20_000 {
        endpoint.refuse(Address::Director, 1, Refusal::NoHandler);
    }
}

/// What the primary is told of messages that came to nothing: their types and why.
fn reported(primary: &OwnedFd) -> Vec<(String, String)> {
    let (mut buf, mut fds) = (vec![0; 1 << 16], Vec::new());
    let len = Reader::new().read(primary.as_fd(), &mut buf, &mut fds).map_or(0, |received| received.len);
    let (mut at, mut told) = (0, Vec::new());
    while let Some(frame) = frame::read(&buf[at..len]).unwrap() {
        at += frame.bytes.len();
        if frame.head.kind == Kind::Report {
            let what: Undelivered = codec::decode(frame.body).unwrap();
            told.push((what.type_name, what.reason));
        }
    }
    told
}

#[test]
fn a_parcel_that_is_lost_costs_its_own_message_and_no_other() {
    let (endpoint, socket, mut hearing, primary) = connected();
    send_parcel(&primary, "First", 10);
    send_parcel(&primary, "Lost", 20);
    send_parcel(&primary, "Last", 30);
    for reader in [Reader::new(), Reader::without_room(), Reader::new()] {
        hearing.reader = reader;
        let read = hearing.read(&endpoint, socket.as_fd());
        assert!(matches!(read, Ok(Some((_, true)))), "there may be more behind a descriptor");
    }
    endpoint.inner.write(&mut endpoint.outbox());
    // Those that are whole wait for a handler.
    let lost = ("Lost".to_owned(), "its parcel could not be opened".to_owned());
    assert_eq!(reported(&primary), [lost]);
    assert!(hearing.parcels.is_empty() && hearing.collector.bytes().is_empty());
}

#[test]
fn writing_ends_as_the_socket_says() {
    let (endpoint, _socket, _hearing, primary) = connected();
    send_much(&endpoint);
    assert_eq!(endpoint.inner.write(&mut endpoint.outbox()), Written::Full);
    drop(primary);
    assert_eq!(endpoint.inner.write(&mut endpoint.outbox()), Written::Gone);
    assert_eq!(Written::after(Errno::ETOOMANYREFS), Written::Refused);
    assert_eq!(Written::after(Errno::ENOBUFS), Written::Refused);
}

#[tokio::test]
async fn what_waits_goes_when_there_is_room_and_ends_with_the_primary() {
    let (endpoint, _socket, _hearing, primary) = connected();
    endpoint.start(|| unreachable!("nothing is garbled")).unwrap();
    send_much(&endpoint);
    assert!(!endpoint.outbox().is_flushed());
    let (mut buf, mut fds) = (vec![0; 1 << 16], Vec::new());
    let patience = std::time::Duration::from_secs(20);
    let all = async {
        while !endpoint.outbox().is_flushed() {
            let _ = Reader::new().read(primary.as_fd(), &mut buf, &mut fds);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(patience, all).await.expect("what is read makes room for more");
    send_much(&endpoint);
    drop(primary);
    tokio::time::timeout(patience, endpoint.flush()).await.expect("nobody waits for who is gone");
}

#[test]
fn who_does_not_wait_any_more_is_not_remembered() {
    struct Nobody;
    impl std::task::Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }
    let (endpoint, ..) = connected();
    let long = "x".repeat(100_000);
    let say = || Sending::send(&endpoint, Address::Director, &long);
    while let Some(Ok(())) = say().now_or_never() {}
    let nobody = Arc::new(Nobody);
    let waker = Waker::from(nobody.clone());
    for _ in 0..1000 {
        assert!(say().poll_unpin(&mut Context::from_waker(&waker)).is_pending());
    }
    drop(waker);
    assert_eq!(Arc::strong_count(&nobody), 1, "a waker is kept");
}

/// The primary takes all, and says nothing.
fn takes_all(primary: OwnedFd) {
    let primary = std::os::unix::net::UnixStream::from(primary);
    primary.set_nonblocking(true).unwrap();
    let mut primary = tokio::net::UnixStream::from_std(primary).unwrap();
    tokio::spawn(async move { tokio::io::copy(&mut primary, &mut tokio::io::sink()).await });
}

#[tokio::test]
async fn who_waits_for_room_does_not_look_for_it_again_and_again() {
    let (endpoint, _socket, _hearing, primary) = connected();
    endpoint.start(|| {}).unwrap();
    takes_all(primary);
    let long = "x".repeat(100_000);
    let say = || Sending::send(&endpoint, Address::Director, &long);
    for _ in 0..10 {
        say().await.unwrap();
    }
    let (mut waits, polls) = (say(), Arc::new(AtomicU32::new(0)));
    let count = polls.clone();
    let waiting = tokio::spawn(std::future::poll_fn(move |cx| {
        count.fetch_add(1, Ordering::Relaxed);
        waits.poll_unpin(cx)
    }));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    endpoint.flush().await;
    assert_eq!(polls.load(Ordering::Relaxed), 1, "it was woken for nothing");
    // What has been taken makes room for it.
    let to = Address::Director;
    endpoint.outbox().credit(to, crate::ipc::notice::Weight { frames: 1, bytes: 100_000, parcels: 0 });
    waiting.await.unwrap().unwrap();
    assert_eq!(polls.load(Ordering::Relaxed), 2);
}
