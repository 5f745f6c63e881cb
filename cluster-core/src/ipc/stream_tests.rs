//! Nothing that stands in a stream is lost with it, and nobody hears it twice.
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::ipc::notice::Credit;

const LATER: &str = "its stream was dropped, and who else listens began later";
const TOO_MANY: &str = "nobody listens, and as many as may wait for a first handler do";

fn open(endpoint: &Endpoint) -> MessageStream<u32> {
    MessageStream::open(endpoint).unwrap()
}

fn hear_all(endpoint: &Endpoint, numbers: impl IntoIterator<Item = u32>) {
    numbers.into_iter().for_each(|number| hear(endpoint, 1, &number));
}

async fn take(stream: &mut MessageStream<u32>, count: usize) -> Vec<u32> {
    stream.take(count).collect().await
}

/// How many messages the senders were told of.
async fn credited(endpoint: &Endpoint, said: &UnixStream) -> Vec<u64> {
    let credits: Vec<Credit> = said_of(Kind::Credit, endpoint, said).await;
    credits.into_iter().map(|credit| credit.weight.frames).collect()
}

#[tokio::test]
async fn what_stands_in_a_dropped_stream_is_the_next_ones() {
    let (endpoint, said) = endpoint();
    let mut first = open(&endpoint);
    hear_all(&endpoint, 1..=4);
    assert_eq!(take(&mut first, 1).await, [1]);
    drop(first);
    hear_all(&endpoint, 5..=6);
    // One that is never read, and one that comes after.
    drop(open(&endpoint).with_sender());
    hear_all(&endpoint, 7..=7);
    assert_eq!(taken(&mut open(&endpoint)), [2, 3, 4, 5, 6, 7]);
    assert!(taken(&mut open(&endpoint)).is_empty(), "it was taken");
    assert_eq!(reports(&endpoint, &said).await, []);
}

#[tokio::test]
async fn a_handler_hears_what_a_dropped_stream_has_left() {
    let (endpoint, said) = endpoint();
    let stream = open(&endpoint);
    hear_all(&endpoint, 1..=3);
    drop(stream);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = heard.clone();
    queue::handle(&endpoint, move |number: u32| log.lock().unwrap().push(number), |_| ()).unwrap();
    endpoint.inbox().handled().await;
    assert_eq!(*heard.lock().unwrap(), [1, 2, 3]);
    // It hears what a stream beside it does not.
    let beside = open(&endpoint);
    hear_all(&endpoint, 4..=4);
    drop(beside);
    endpoint.inbox().handled().await;
    assert_eq!(*heard.lock().unwrap(), [1, 2, 3, 4]);
    assert_eq!(reports(&endpoint, &said).await, []);
}

#[tokio::test]
async fn of_several_streams_the_last_gives_back_what_none_has_taken() {
    let (endpoint, said) = endpoint();
    let (mut one, two) = (open(&endpoint), open(&endpoint));
    hear_all(&endpoint, 1..=3);
    assert_eq!(take(&mut one, 1).await, [1]);
    drop(one);
    drop(two);
    assert_eq!(taken(&mut open(&endpoint)), [2, 3]);
    assert_eq!(reports(&endpoint, &said).await, []);
}

#[tokio::test]
async fn a_stream_that_began_later_has_what_is_left_if_it_has_given_nothing() {
    let (endpoint, said) = endpoint();
    let first = open(&endpoint);
    hear_all(&endpoint, 1..=2);
    let second = open(&endpoint);
    hear_all(&endpoint, 3..=3);
    let mut third = open(&endpoint);
    hear_all(&endpoint, 4..=4);
    drop(first);
    drop(second);
    assert_eq!(take(&mut third, 4).await, [1, 2, 3, 4]);
    assert_eq!(reports(&endpoint, &said).await, []);
}

#[tokio::test]
async fn what_would_come_after_younger_ones_is_reported() {
    let (endpoint, said) = endpoint();
    let first = open(&endpoint);
    hear_all(&endpoint, 1..=2);
    let mut second = open(&endpoint);
    hear_all(&endpoint, 3..=4);
    assert_eq!(take(&mut second, 1).await, [3]);
    drop(first);
    assert_eq!(taken(&mut second), [4]);
    drop(second);
    assert!(taken(&mut open(&endpoint)).is_empty());
    // The first and the tenth are told.
    assert_eq!(reports(&endpoint, &said).await, [(1, 1, LATER.to_owned())]);
}

#[tokio::test]
async fn of_too_many_that_are_left_the_oldest_wait() {
    let (endpoint, said) = endpoint();
    let stream = open(&endpoint);
    hear_all(&endpoint, 0..2000);
    drop(stream);
    hear_all(&endpoint, 2000..2010);
    let expected: Vec<u32> = (0..1024).collect();
    assert_eq!(take(&mut open(&endpoint), 1024).await, expected);
    let told = reports(&endpoint, &said).await;
    assert!(told.iter().all(|(from, _, reason)| (*from, reason.as_str()) == (1, TOO_MANY)), "{told:?}");
    assert_eq!(told.iter().map(|(_, count, _)| count).sum::<u64>(), 100, "the last power of ten of 986");
}

#[tokio::test]
async fn what_is_given_back_is_credited_once() {
    let (endpoint, said) = endpoint();
    for _ in 0..10 {
        let stream = open(&endpoint);
        hear_all(&endpoint, 0..1000);
        drop(stream);
        assert_eq!(take(&mut open(&endpoint), 1000).await.len(), 1000);
    }
    let all: u64 = credited(&endpoint, &said).await.into_iter().sum();
    assert!((7_952..=10_000).contains(&all), "{all} of 10,000, of which the last are not worth a word");
}

#[tokio::test]
async fn what_a_stream_cannot_read_is_reported_once_and_skipped() {
    let (endpoint, said) = endpoint();
    set_hook(|number| assert_ne!(number, 2, "the test panics here, as it should"));
    let mut streams = [(); 2].map(|()| MessageStream::<Hooked>::open(&endpoint).unwrap());
    (1..=3).for_each(|number| hear(&endpoint, 1, &Hooked(number)));
    assert_eq!(reports(&endpoint, &said).await, [], "nobody has tried");
    for stream in &mut streams {
        assert_eq!(taken(stream), [1, 3].map(Hooked));
    }
    assert_eq!(reports(&endpoint, &said).await, [(1, 1, "its Deserialize panicked".to_owned())]);
    HOOK.set(None);
}

#[tokio::test]
async fn in_a_drain_a_stream_has_what_is_left_and_ends() {
    let (endpoint, said) = endpoint();
    let mut stream = open(&endpoint);
    hear_all(&endpoint, 1..=3);
    endpoint.inbox().close_streams();
    assert_eq!(take(&mut stream, 1).await, [1]);
    drop(stream);
    let mut stream = open(&endpoint);
    assert_eq!(take(&mut stream, 1).await, [2]);
    drop(stream);
    assert_eq!(open(&endpoint).collect::<Vec<_>>().await, [3]);
    assert!(open(&endpoint).next().await.is_none());
    // One that is dropped so late that nobody can hear it any more.
    hear_all(&endpoint, 4..=4);
    let stream = open(&endpoint);
    endpoint.inbox().end_early(&endpoint);
    drop(stream);
    let why = "nobody listens, and the process is ending".to_owned();
    assert_eq!(reports(&endpoint, &said).await, [(1, 1, why)]);
}

/// A reader that makes a stream for a few messages each while they come loses none and mixes none up.
#[test]
fn streams_that_come_and_go_while_messages_come_have_each_in_its_order() {
    const ALL: u32 = 4_000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let (endpoint, said) = endpoint();
    let (inner, read) = (endpoint.clone(), Arc::new(AtomicU32::new(0)));
    let progress = read.clone();
    let speaker = std::thread::spawn(move || {
        for number in 0..ALL {
            // No more than may wait for a listener are ahead of the reader.
            while number - progress.load(Ordering::Acquire) >= 300 {
                std::thread::yield_now();
            }
            hear(&inner, 1, &number);
        }
    });
    let mut dice = fastrand::Rng::with_seed(7);
    while read.load(Ordering::Relaxed) < ALL {
        let mut stream = open(&endpoint);
        for _ in 0..dice.u32(0..5) {
            if let Some(next) = stream.next().now_or_never() {
                assert_eq!(next, Some(read.fetch_add(1, Ordering::Release)));
            }
        }
    }
    speaker.join().unwrap();
    assert_eq!(runtime.block_on(reports(&endpoint, &said)), []);
}
