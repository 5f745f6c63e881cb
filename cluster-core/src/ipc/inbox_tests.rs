//! Who hears what, and when: early messages, streams that come and go, and a Deserialize that misbehaves.
use std::cell::RefCell;
use std::io::Read;
use std::os::unix::net::UnixStream;

use futures::{FutureExt, StreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::*;
use crate::id::{PeerId, WorkerId};
use crate::ipc::codec;
use crate::ipc::frame::{self, Kind};
use crate::ipc::message::{Ask, Message};
use crate::ipc::notice::Undelivered;
use crate::ipc::prepare::prepare;
use crate::ipc::stream::MessageStream;
use crate::ipc::{queue, request};

#[path = "stream_tests.rs"]
mod streams;

type Hook = Box<dyn Fn(u8)>;

thread_local! {
    /// What the Deserialize of [`Hooked`] does.
    static HOOK: RefCell<Option<Arc<Hook>>> = const { RefCell::new(None) };
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
struct Hooked(u8);

impl From<u8> for Hooked {
    fn from(number: u8) -> Self {
        let hook = HOOK.with_borrow(Clone::clone);
        if let Some(hook) = hook {
            hook(number);
        }
        Hooked(number)
    }
}

impl From<Hooked> for u8 {
    fn from(hooked: Hooked) -> Self {
        hooked.0
    }
}

fn set_hook(hook: impl Fn(u8) + 'static) {
    HOOK.set(Some(Arc::new(Box::new(hook))));
}

fn endpoint() -> (Endpoint, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    let me = PeerId::Worker(WorkerId(9));
    let endpoint = Endpoint::new(me, true, 2, theirs.into(), TaskTracker::new());
    endpoint.start(|| panic!("nothing broken is sent")).unwrap();
    (endpoint, ours)
}

/// A message of this worker's comes.
fn hear<T: Message>(endpoint: &Endpoint, from: u64, message: &T) {
    let from = PeerId::Worker(WorkerId(from)).into();
    let prepared = prepare(Kind::Message, from, endpoint.me().into(), message, &[]).unwrap();
    let frame = frame::read(&prepared.frame).unwrap().unwrap();
    endpoint.inbox().message(endpoint, &frame, Some(frame.body), &mut Row::default());
}

/// What is in a stream now.
fn taken<T: Message>(stream: &mut MessageStream<T>) -> Vec<T> {
    std::iter::from_fn(|| stream.next().now_or_never().flatten()).collect()
}

/// The bodies of what has been said to the primary, of one kind.
async fn said_of<B: DeserializeOwned>(kind: Kind, endpoint: &Endpoint, mut said: &UnixStream) -> Vec<B> {
    endpoint.flush().await;
    let mut bytes = Vec::new();
    let _ = said.read_to_end(&mut bytes);
    let (mut rest, mut bodies) = (&bytes[..], Vec::new());
    while let Some(frame) = frame::read(rest).unwrap() {
        if frame.head.kind == kind {
            bodies.push(codec::decode(frame.body).unwrap());
        }
        rest = &rest[frame.bytes.len()..];
    }
    bodies
}

/// What has been reported: sender, how many, why.
async fn reports(endpoint: &Endpoint, said: &UnixStream) -> Vec<(u64, u64, String)> {
    let reports: Vec<Undelivered> = said_of(Kind::Report, endpoint, said).await;
    reports.into_iter().map(|what| (what.from.map_or(0, |from| from.0), what.count, what.reason)).collect()
}

#[derive(Serialize, Deserialize)]
struct Question(u8);

impl Ask for Question {
    type Answer = u8;
}

/// A question for this worker comes; one that is not whole has a parcel that could not be opened.
fn hear_question<Q: Ask>(endpoint: &Endpoint, question: &Q, whole: bool) {
    let from = PeerId::Worker(WorkerId(1)).into();
    let prepared = prepare(Kind::Ask, from, endpoint.me().into(), question, &[]).unwrap();
    let frame = frame::read(&prepared.frame).unwrap().unwrap();
    endpoint.inbox().question(endpoint, &frame, whole.then_some(frame.body));
}

#[tokio::test]
async fn a_stream_opened_anew_has_what_came_since_the_last_was_dropped() {
    let (endpoint, said) = endpoint();
    for round in 0..3_u32 {
        hear(&endpoint, 1, &round);
        hear(&endpoint, 1, &(round + 100));
        let mut stream = MessageStream::<u32>::open(&endpoint).unwrap();
        hear(&endpoint, 1, &(round + 200));
        assert_eq!(taken(&mut stream), [round, round + 100, round + 200]);
    }
    assert_eq!(reports(&endpoint, &said).await, []);
}

#[tokio::test]
async fn who_is_still_there_hears_what_a_dropped_stream_does_not() {
    let (endpoint, _said) = endpoint();
    let mut stays = MessageStream::<u32>::open(&endpoint).unwrap();
    drop(MessageStream::<u32>::open(&endpoint).unwrap());
    hear(&endpoint, 1, &1_u32);
    assert_eq!(taken(&mut stays), [1]);
    assert!(taken(&mut MessageStream::<u32>::open(&endpoint).unwrap()).is_empty(), "it was taken");
}

/// A handler that writes down what it hears.
fn handle(endpoint: &Endpoint) -> Arc<Mutex<Vec<u8>>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = heard.clone();
    let handler = move |Hooked(number): Hooked| log.lock().unwrap().push(number);
    queue::handle(endpoint, handler, |_| ()).unwrap();
    heard
}

#[tokio::test]
async fn a_kept_message_whose_deserialize_panics_loses_no_other() {
    let (endpoint, said) = endpoint();
    (1..=4).for_each(|number| hear(&endpoint, 1, &Hooked(number)));
    set_hook(|number| assert_ne!(number, 2, "the test panics here, as it should"));
    let heard = handle(&endpoint);
    hear(&endpoint, 1, &Hooked(5));
    endpoint.inbox().handled().await;
    assert_eq!(*heard.lock().unwrap(), [1, 3, 4, 5]);
    assert_eq!(reports(&endpoint, &said).await, [(1, 1, "its Deserialize panicked".to_owned())]);
    HOOK.set(None);
}

#[tokio::test]
async fn a_deserialize_may_use_the_inbox_and_what_comes_meanwhile_comes_after() {
    let (endpoint, said) = endpoint();
    (1..=3).for_each(|number| hear(&endpoint, 1, &Hooked(number)));
    let (inner, second) = (endpoint.clone(), Arc::new(Mutex::new(None)));
    let opened = second.clone();
    let (begun, mut done) = mpsc::unbounded_channel();
    set_hook(move |number| match number {
        1 => {
            hear(&inner, 1, &Hooked(4));
            // Somebody who waits for all that has come hears of it when that is handled.
            begun.send(inner.inbox().handled()).unwrap();
        }
        2 => *opened.lock().unwrap() = Some(MessageStream::<Hooked>::open(&inner).unwrap()),
        3 => hear(&inner, 1, &Hooked(5)),
        _ => {}
    });
    let heard = handle(&endpoint);
    HOOK.set(None);
    done.recv().await.unwrap().await;
    assert_eq!(*heard.lock().unwrap(), [1, 2, 3, 4, 5]);
    let mut second = second.lock().unwrap().take().unwrap();
    assert_eq!(taken(&mut second), [Hooked(5)], "it began to listen before that one came");
    assert_eq!(reports(&endpoint, &said).await, []);
}

#[tokio::test]
async fn what_never_found_a_handler_is_reported_at_the_end() {
    let (endpoint, said) = endpoint();
    (0..3_u32).for_each(|number| hear(&endpoint, 1, &number));
    hear(&endpoint, 2, &0_u32);
    endpoint.inbox().end_early(&endpoint);
    let never = || "nobody listened until the process ended".to_owned();
    assert_eq!(reports(&endpoint, &said).await, [(1, 3, never()), (2, 1, never())]);
    hear(&endpoint, 1, &7_u32);
    assert_eq!(
        reports(&endpoint, &said).await,
        [(1, 1, "nobody listens, and the process is ending".to_owned())]
    );
    endpoint.inbox().end_early(&endpoint);
    assert_eq!(reports(&endpoint, &said).await, [], "it is told once");
}

#[tokio::test]
async fn a_question_whose_parcel_cannot_be_opened_is_refused_as_that() {
    let (endpoint, said) = endpoint();
    hear_question(&endpoint, &Question(1), false);
    let answer = |_: Address, question: Question| async move { Ok::<u8, String>(question.0) };
    request::answer::<_, Question, _, _, _>(&endpoint, answer, |from| from).unwrap();
    hear_question(&endpoint, &Question(2), false);
    let refusals: Vec<Refusal> = said_of(Kind::Refusal, &endpoint, &said).await;
    let unopened = Refusal::Unreadable("its parcel could not be opened".to_owned());
    assert_eq!(refusals, [Refusal::NoHandler, unopened], "nobody answered the first, opened or not");
}

/// Panics wherever it is used.
struct Bad;

impl std::fmt::Display for Bad {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("the test panics here, as it should")
    }
}

#[derive(Deserialize)]
struct BadAnswer;

impl Serialize for BadAnswer {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("the test panics here, as it should")
    }
}

#[derive(Serialize, Deserialize)]
struct BadQuestion;

impl Ask for BadQuestion {
    type Answer = BadAnswer;
}

#[tokio::test]
async fn an_answerer_whose_error_or_answer_panics_refuses_its_question() {
    let (endpoint, said) = endpoint();
    let fails = |_: Address, _: Question| async { Err::<u8, _>(Bad) };
    request::answer::<_, Question, _, _, _>(&endpoint, fails, |from| from).unwrap();
    let answers = |_: Address, _: BadQuestion| async { Ok::<_, String>(BadAnswer) };
    request::answer::<_, BadQuestion, _, _, _>(&endpoint, answers, |from| from).unwrap();
    hear_question(&endpoint, &Question(1), true);
    hear_question(&endpoint, &BadQuestion, true);
    endpoint.inbox().tasks().close();
    endpoint.inbox().tasks().wait().await;
    let refusals: Vec<Refusal> = said_of(Kind::Refusal, &endpoint, &said).await;
    let panicked = || Refusal::Failed("panicked: the test panics here, as it should".to_owned());
    assert_eq!(refusals, [panicked(), panicked()], "they have somebody who waits");
}
