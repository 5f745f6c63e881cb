//! How many handshakes of TLS a thread has under way, where there is a limit to that.
use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

thread_local! {
    static UNDER_WAY: Cell<usize> = const { Cell::new(0) };
    /// Who waits for one to end.
    static WAITING: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
}

/// A handshake, until it is dropped.
pub(crate) struct Handshake(());

/// One begins.
pub(crate) fn begin() -> Handshake {
    UNDER_WAY.set(UNDER_WAY.get() + 1);
    Handshake(())
}

/// Ready when fewer than `most` are under way.
pub(crate) fn poll_room(most: Option<usize>, cx: &mut Context<'_>) -> Poll<()> {
    if most.is_none_or(|most| UNDER_WAY.get() < most) {
        return Poll::Ready(());
    }
    WAITING.with_borrow_mut(|waiting| {
        // One task accepts on all listeners, and is woken by each of them.
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
    });
    Poll::Pending
}

impl Drop for Handshake {
    fn drop(&mut self) {
        UNDER_WAY.set(UNDER_WAY.get() - 1);
        for waiting in WAITING.take() {
            waiting.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn room(most: usize) -> impl Future<Output = ()> {
        std::future::poll_fn(move |cx| poll_room(Some(most), cx))
    }

    #[actix_web::test]
    async fn there_is_room_again_when_a_handshake_has_ended() {
        let (one, two) = (begin(), begin());
        assert_eq!(room(3).now_or_never(), Some(()));
        assert_eq!(room(2).now_or_never(), None);
        assert_eq!(room(2).now_or_never(), None);
        assert_eq!(WAITING.with_borrow(Vec::len), 1, "who asks again waits once");
        let waits = actix_rt::spawn(room(2));
        tokio::task::yield_now().await;
        drop(one);
        waits.await.unwrap();
        drop(two);
    }
}
