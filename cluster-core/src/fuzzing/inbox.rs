//! Any frames at a process that receives them.
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio_util::task::TaskTracker;

use crate::fuzzing::{Dice, address, compose, worker};
use crate::ipc::codec::{decode_message, encode_message};
use crate::ipc::endpoint::Endpoint;
use crate::ipc::frame::{self, Address, Head, Kind};
use crate::ipc::message::{Ask, Json, Message};
use crate::ipc::prepare::prepare;
use crate::ipc::queue::handle;
use crate::ipc::request::{Asking, answer};
use crate::ipc::sending::Sending;
use crate::ipc::shape::key_of;
use crate::ipc::stream::MessageStream;

/// A type with something of everything, and itself in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Named { name: String, tags: BTreeMap<String, Option<u32>> },
    Pair(Box<Tree>, Box<Tree>),
    Many(Vec<Tree>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Doubled(u64);

impl Ask for Doubled {
    type Answer = u64;
}

/// Bytes as messages of several types: what is one stays the same through encoding and decoding.
///
/// # Panics
/// Where a promise is broken.
pub fn messages(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let check = match which % 10 {
        0 => stays_the_same::<String>,
        1 => stays_the_same::<Vec<u8>>,
        2 => stays_the_same::<Vec<(u64, String)>>,
        3 => stays_the_same::<BTreeMap<String, Vec<Option<i128>>>>,
        4 => stays_the_same::<Tree>,
        5 => stays_the_same::<Json<BTreeMap<String, u64>>>,
        6 => stays_the_same::<Vec<()>>,
        7 => stays_the_same::<(char, bool, Duration, Option<Box<Tree>>)>,
        8 => stays_the_same::<Result<Tree, std::net::SocketAddr>>,
        _ => stays_the_same::<std::ffi::CString>,
    };
    check(bytes);
}

fn stays_the_same<T: Message>(bytes: &[u8]) {
    let Ok(value) = decode_message::<T>(bytes) else { return };
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    encode_message(&value, &mut once).expect("what was decoded can be encoded");
    let again = decode_message::<T>(&once).expect("what was encoded can be decoded");
    encode_message(&again, &mut twice).expect("and encoded again");
    assert_eq!(once, twice, "{}", std::any::type_name::<T>());
}

/// A process with handlers, streams and questions of its own hears any frames and then the end of its socket.
/// It ends its part, whatever they were; what it says meanwhile is in its own name.
///
/// # Panics
/// Where a promise is broken.
pub fn inbox_frames(bytes: &[u8]) {
    let mut dice = Dice { bytes };
    let input = said_to_a_process(&mut dice);
    // What it says of such a primary is nobody's business here.
    let _silence = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::new());
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets can be made");
    for socket in [&ours, &theirs] {
        socket.set_nonblocking(true).expect("it is a socket");
    }
    let mut said = ours.try_clone().expect("it can be doubled");
    // One of its own, which ends the process's tasks.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be built").block_on(hear(&input, ours, theirs));
    let mut answers = Vec::new();
    let _ = said.read_to_end(&mut answers);
    let mut rest = &answers[..];
    while let Some(frame) = frame::read(rest).expect("what it says can be read") {
        assert_eq!(frame.head.from, Address::from(worker(1)));
        rest = &rest[frame.bytes.len()..];
    }
}

async fn hear(input: &[u8], ours: UnixStream, theirs: UnixStream) {
    let tasks = TaskTracker::new();
    let endpoint = Endpoint::new(worker(1), true, 2, theirs.into(), tasks.clone());
    let strings = endpoint.clone();
    let on_string = move |text: String| {
        drop(Sending::of(&strings, prepare(Kind::Message, worker(1).into(), Address::Director, &text, &[])));
    };
    handle(&endpoint, on_string, |_| ()).expect("it is a message");
    handle(&endpoint, |_: (), _: Tree| {}, |_| ()).expect("it is a message");
    let stream = MessageStream::<Vec<u8>>::open(&endpoint).expect("it is a message");
    let double = |_: (), Doubled(number)| async move { Ok::<_, String>(number.wrapping_mul(2)) };
    answer(&endpoint, double, |_| ()).expect("it is a question");
    endpoint.start(|| {}).expect("the socket can be watched");
    let asked = Asking::ask(&endpoint, Address::Director, &Doubled(1));
    let mut ours = tokio::net::UnixStream::from_std(ours).expect("it is a socket");
    // It may stop reading in the midst of it.
    let _ = ours.write_all(input).await;
    let _ = ours.shutdown().await;
    // It reads to the end, or to what it cannot understand; then nothing is waited for any more.
    let _ = asked.await;
    endpoint.let_go().await;
    drop(stream);
}

/// Mostly what a primary says: frames with types that are known.
fn said_to_a_process(dice: &mut Dice<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    while !dice.is_empty() && stream.len() < 100_000 {
        let from = address(dice);
        match dice.u8() {
            255 => {
                let len = usize::from(dice.u8());
                stream.extend_from_slice(dice.take(len));
            }
            160.. => compose(dice, from, &mut stream),
            _ => compose_known(dice, from, &mut stream),
        }
    }
    stream
}

/// Appends a frame with a type that has a handler, or of which early messages are kept.
fn compose_known(dice: &mut Dice<'_>, from: Address, into: &mut Vec<u8>) {
    let (key, kind) = match dice.u8() % 6 {
        0 => (key_of::<String>(), Kind::Message),
        1 => (key_of::<Tree>(), Kind::Message),
        2 => (key_of::<Vec<u8>>(), Kind::Message),
        3 => (key_of::<Vec<Tree>>(), Kind::Message),
        4 => (key_of::<Doubled>(), Kind::Ask),
        _ => (key_of::<u64>(), Kind::Answer),
    };
    let key = key.expect("all are messages");
    let mut head = Head::system(kind, from, worker(1).into());
    (head.correlation, head.fingerprint) = (u64::from(dice.u8() % 4), key.fingerprint);
    let len = usize::from(dice.u8());
    frame::write(into, &head, key.name.as_bytes(), dice.take(len));
}
