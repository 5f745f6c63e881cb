//! What a fake worker has sent, and what it is to hear.
use std::os::fd::AsFd;

use crate::ipc::codec;
use crate::ipc::frame::{self, Address, Frame, Kind};
use crate::ipc::message::Message;
use crate::ipc::prepare::prepare;
use crate::ipc::row::Row;
use crate::ipc::shape;
use crate::peer::To;
use crate::sys::parcel::Parcel;
use crate::worker::Worker;

/// The messages of one type that a fake was asked to send so far, in order, and to whom. Questions are none.
///
/// A message to nobody is sent all the same: `send` is `Ok`, a broadcast reaches nobody, and a question has no
/// answer ([`AskError::PeerGone`](crate::AskError::PeerGone)).
///
/// # Panics
/// Where the type cannot be carried as it is.
///
/// # Example
/// ```
/// use cluster_core::{Slot, To, testing};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), cluster_core::SendError> {
/// let fake = testing::worker();
/// // ... what a handler does:
/// cluster_core::worker().send(&"hello".to_string()).await?;
/// cluster_core::worker().send_to(Slot(0), &7_u32).await?;
///
/// assert_eq!(testing::sent::<String>(&fake), [(To::Primary, "hello".to_string())]);
/// assert_eq!(testing::sent::<u32>(&fake), [(To::Slot(Slot(0)), 7)]);
/// # Ok(()) }
/// ```
pub fn sent<T: Message>(worker: &Worker) -> Vec<(To, T)> {
    let key = shape::key_of::<T>().unwrap_or_else(|err| panic!("sent: {err}"));
    worker.endpoint().remembered(|all| {
        let of_type = all.iter().filter_map(|prepared| {
            let frame = whole(&prepared.frame);
            let is_it = frame.head.kind == Kind::Message
                && frame.head.fingerprint == key.fingerprint
                && frame.name == key.name.as_bytes();
            let to = receiver(prepared.to).filter(|_| is_it)?;
            let message = body(&frame, prepared.parcel.as_deref(), |bytes| codec::decode_message(bytes));
            Some((to, message.expect("its own type has encoded it")))
        });
        of_type.collect()
    })
}

/// Has a fake hear a message, as from the primary's side, and waits until its handlers have done with it. Where
/// it has none for the type, the message waits for the first.
///
/// # Panics
/// Where the message cannot be carried; outside a Tokio runtime.
///
/// # Example
/// ```
/// use cluster_core::{Peer, testing};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let fake = testing::worker();
/// fake.on_message(|from: Peer, text: String| async move { from.send(&text.len()).await });
/// testing::deliver(&fake, &"hello".to_string()).await;
/// assert_eq!(testing::sent::<usize>(&fake).len(), 1);
/// # }
/// ```
pub async fn deliver<T: Message>(worker: &Worker, message: &T) {
    let endpoint = worker.endpoint();
    endpoint.inbox().start(tokio::runtime::Handle::current());
    let prepared = prepare(Kind::Message, Address::Director, endpoint.me().into(), message, &[])
        .unwrap_or_else(|err| panic!("deliver: {err}"));
    let frame = whole(&prepared.frame);
    body(&frame, prepared.parcel.as_deref(), |bytes| {
        endpoint.inbox().message(endpoint, &frame, Some(bytes), &mut Row::default());
    });
    endpoint.inbox().handled().await;
}

fn whole(bytes: &[u8]) -> Frame<'_> {
    frame::read(bytes).ok().flatten().expect("it was written as a whole frame")
}

fn body<R>(frame: &Frame<'_>, parcel: Option<&std::os::fd::OwnedFd>, take: impl FnOnce(&[u8]) -> R) -> R {
    match parcel {
        None => take(frame.body),
        Some(fd) => {
            let parcel = Parcel::open(fd.as_fd(), frame.parcel_len().unwrap_or(0));
            take(parcel.expect("it was made by this process").bytes())
        }
    }
}

/// A receiver as who sent to it called it.
fn receiver(to: Address) -> Option<To> {
    match to {
        Address::Director => Some(To::Primary),
        Address::Slot(slot) => Some(To::Slot(slot)),
        Address::Worker(worker) => Some(To::Worker(worker)),
        Address::Others => Some(To::Others),
        Address::Everyone => Some(To::Everyone),
        Address::ThisDirector(_) | Address::Exchange => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::worker;

    #[tokio::test]
    async fn a_fake_remembers_to_whom_and_what_also_where_it_is_large() {
        let fake = worker();
        let large = "x".repeat(1 << 20);
        fake.send_to(To::Others, &large).await.unwrap();
        fake.broadcast(&"short".to_owned()).await.unwrap();
        fake.try_send(&5_u8).unwrap();
        let texts = sent::<String>(&fake);
        assert_eq!(texts.len(), 2);
        assert_eq!((texts[0].0, &texts[0].1), (To::Others, &large));
        assert_eq!(texts[1], (To::Others, "short".to_owned()));
        assert_eq!(sent::<u8>(&fake), [(To::Primary, 5)]);
    }

    #[tokio::test]
    async fn what_is_delivered_to_a_fake_is_handled_in_order() {
        let fake = worker();
        deliver(&fake, &"early ".repeat(100_000)).await;
        fake.on_message(|from: crate::Peer, text: String| async move {
            tokio::task::yield_now().await;
            from.send(&text.len()).await
        });
        deliver(&fake, &"late".to_owned()).await;
        let lengths: Vec<usize> = sent(&fake).into_iter().map(|(_, len)| len).collect();
        assert_eq!(lengths, [600_000, 4]);
    }
}
