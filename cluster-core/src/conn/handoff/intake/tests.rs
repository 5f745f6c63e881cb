//! A worker claims and takes in, and the primary is a socket.
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;
use crate::conn::admission::Limits;
use crate::conn::handoff::offer::{Fate, Offer};
use crate::conn::handoff::passing;

const LISTENER: u16 = 3;

/// A worker's intake, and what the primary has of it.
fn intake() -> (Arc<Intake>, Arc<Mapped<Page>>, OwnedFd) {
    let (primary, worker) = passing::pair().unwrap();
    let page = Arc::new(Mapped::<Page>::create(c"test").unwrap().0);
    let admission = Arc::new(Admission::new(page.clone(), &Limits::default(), None, None));
    (Intake::open(Arc::new(worker), page.clone(), admission).unwrap(), page, primary)
}

/// The acceptor at this desk claims one, and is dropped BEFORE it has come; answers with the client.
async fn drop_with_one_on_its_way(
    intake: &Intake,
    page: &Page,
    primary: &OwnedFd,
    desk: usize,
) -> UnixStream {
    page.offers.put(0, Offer::new(1, LISTENER));
    assert!(!intake.wait(desk, 1, Waker::noop()).unwrap());
    assert_eq!(page.connections_open(), 1);
    intake.rise(desk);
    let (client, connection) = UnixStream::pair().unwrap();
    ToWorker::send_connections(primary.as_fd(), &[(connection, LISTENER)]).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client
}

#[tokio::test]
async fn a_word_that_brings_nothing_costs_no_connection_its_descriptor() {
    let (intake, page, primary) = intake();
    let desk = intake.sit(vec![LISTENER]);
    page.offers.put(0, Offer::new(1, LISTENER));
    assert!(!intake.wait(desk, 1, Waker::noop()).unwrap());
    assert_eq!(intake.lock().spare.count(), 1, "for the one that was claimed");
    ToWorker::ring(primary.as_fd()).unwrap();
    while !intake.lock().owes_answer {
        tokio::task::yield_now().await;
    }
    assert_eq!(intake.lock().spare.count(), 1);
    let (_client, connection) = UnixStream::pair().unwrap();
    ToWorker::send_connections(primary.as_fd(), &[(connection, LISTENER)]).unwrap();
    while !intake.has_arrived(desk) {
        tokio::task::yield_now().await;
    }
    assert_eq!(intake.lock().spare.count(), 0, "it has its own now");
}

#[tokio::test]
async fn of_several_listeners_none_waits_for_as_long_as_others_have_clients() {
    let (intake, page, _primary) = intake();
    let desk = intake.sit(vec![LISTENER, LISTENER + 1]);
    let oldest = Offer::new(1, LISTENER + 1);
    page.offers.put(5, oldest);
    (0..5).for_each(|at| page.offers.put(at, Offer::new(at as u64 + 2, LISTENER)));
    assert!(!intake.wait(desk, 1, Waker::noop()).unwrap());
    assert_eq!(page.offers.fate(5, oldest), Fate::Claimed);
}

#[tokio::test]
async fn a_primary_that_has_not_read_for_long_hears_an_answer_all_the_same() {
    for offered in [false, true] {
        let (intake, page, primary) = intake();
        let desk = intake.sit(vec![LISTENER]);
        while ToPrimary::Room.send(intake.socket.as_fd()).is_ok() {}
        if offered {
            page.offers.put(0, Offer::new(1, LISTENER));
        }
        assert!(!intake.wait(desk, 1, Waker::noop()).unwrap());
        let hears = async {
            loop {
                match ToPrimary::receive(primary.as_fd()) {
                    Heard::Said(ToPrimary::Here) => break,
                    Heard::Said(ToPrimary::Room | ToPrimary::Claims) | Heard::Nothing => {
                        tokio::task::yield_now().await;
                    }
                    Heard::End => panic!("it is there"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), hears).await.unwrap();
    }
}

#[tokio::test]
async fn what_comes_for_an_acceptor_that_was_dropped_another_has() {
    let (intake, page, primary) = intake();
    let (first, second) = (intake.sit(vec![LISTENER]), intake.sit(vec![LISTENER]));
    let _client = drop_with_one_on_its_way(&intake, &page, &primary, first).await;
    let taken = std::future::poll_fn(|cx| {
        let _ = intake.wait(second, 1, cx.waker()).unwrap();
        intake.take(second).map_or(std::task::Poll::Pending, std::task::Poll::Ready)
    });
    drop(tokio::time::timeout(Duration::from_secs(60), taken).await.unwrap());
}

#[tokio::test]
async fn where_there_is_no_other_the_client_sees_the_end() {
    let (intake, page, primary) = intake();
    let desk = intake.sit(vec![LISTENER]);
    let mut client = drop_with_one_on_its_way(&intake, &page, &primary, desk).await;
    let end = tokio::task::spawn_blocking(move || client.read(&mut [0]));
    assert_eq!(end.await.unwrap().unwrap(), 0);
    assert_eq!(page.connections_open(), 0);
}
