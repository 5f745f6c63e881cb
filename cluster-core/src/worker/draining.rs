//! Moments of a drain, and who waits for them. Servers ask about them with each request, so asking is one load: a
//! cancellation token alone takes a lock to be looked at, and two to be waited for once more.
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A moment that comes once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moment(Arc<State>);

#[derive(Debug, Default)]
struct State {
    has_come: AtomicBool,
    token: CancellationToken,
}

impl Moment {
    /// It comes.
    pub(crate) fn come(&self) {
        // BEFORE those who wait are woken, because that is where they look.
        self.0.has_come.store(true, Ordering::Release);
        self.0.token.cancel();
    }

    pub(crate) fn has_come(&self) -> bool {
        self.0.has_come.load(Ordering::Acquire)
    }

    pub(crate) fn wait(&self) -> Draining {
        let cancelled = Box::pin(self.0.token.clone().cancelled_owned());
        Draining { moment: self.clone(), cancelled, woken: None }
    }
}

/// Resolves when the worker is to leave; see [`Worker::draining`](crate::Worker::draining).
///
/// # Example
/// ```no_run
/// # async fn stream(mut draining: cluster_core::Draining) {
/// (&mut draining).await;
/// # }
/// ```
#[must_use = "futures do nothing unless awaited"]
pub struct Draining {
    moment: Moment,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Who is woken when the moment comes.
    woken: Option<Waker>,
}

impl Future for Draining {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.moment.has_come() {
            return Poll::Ready(());
        }
        // The same task asks again and again.
        if self.woken.as_ref().is_some_and(|woken| woken.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        let cancelled = self.cancelled.as_mut().poll(cx);
        if cancelled.is_pending() {
            self.woken = Some(cx.waker().clone());
        }
        cancelled
    }
}

impl std::fmt::Debug for Draining {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Draining")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use futures::FutureExt as _;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Counter {
        fn woken(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn who_waits_is_woken_once_however_often_it_asked() {
        let (moment, counter) = (Moment::default(), Arc::<Counter>::default());
        let waker = Waker::from(counter.clone());
        let mut waiting = moment.wait();
        for _ in 0..3 {
            assert!(waiting.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        }
        assert!(!moment.has_come());
        moment.come();
        assert_eq!(counter.woken(), 1);
        assert!(moment.has_come());
        for _ in 0..2 {
            assert!(waiting.poll_unpin(&mut Context::from_waker(&waker)).is_ready());
        }
    }

    #[test]
    fn the_task_that_asked_last_is_woken() {
        let (moment, counters) = (Moment::default(), [(); 2].map(|()| Arc::<Counter>::default()));
        let mut waiting = moment.wait();
        for counter in &counters {
            let waker = Waker::from(counter.clone());
            assert!(waiting.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        }
        moment.come();
        assert_eq!(counters.map(|counter| counter.woken()), [0, 1]);
    }

    #[test]
    fn who_comes_late_does_not_wait() {
        let moment = Moment::default();
        moment.come();
        assert!(moment.wait().now_or_never().is_some());
    }
}
