//! Wakes an acceptor by way of its runtime's scheduler.
//!
//! In a multi-thread runtime the future that `main` waits for has a thread of its own: an acceptor in it would accept
//! connections, and become ready for more, while all the threads that are to serve them are stuck in handlers. So what
//! wakes it passes through a task on those threads first. A current-thread runtime needs none of that.
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;
use tokio::runtime::{Handle, RuntimeFlavor};

/// The way to one acceptor.
pub(crate) struct Relay {
    way: Arc<Way>,
    waker: Waker,
}

#[derive(Default)]
struct Way {
    /// It is to be woken.
    called: AtomicBool,
    closed: AtomicBool,
    task: AtomicWaker,
    acceptor: AtomicWaker,
}

impl Relay {
    /// For the current runtime; `None` where it has one thread.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub(crate) fn of_this_runtime() -> Option<Self> {
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            return None;
        }
        let way = Arc::new(Way::default());
        let passed = way.clone();
        tokio::spawn(poll_fn(move |cx| passed.pass_on(cx)));
        let waker = Waker::from(way.clone());
        Some(Self { way, waker })
    }

    /// What wakes, by way of the scheduler, the task of `cx`.
    pub(crate) fn waker(&self, cx: &Context<'_>) -> &Waker {
        self.way.acceptor.register(cx.waker());
        &self.waker
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.way.closed.store(true, Ordering::Release);
        self.way.task.wake();
    }
}

impl Way {
    fn pass_on(&self, cx: &Context<'_>) -> Poll<()> {
        // BEFORE it looks: a call after the look wakes it again.
        self.task.register(cx.waker());
        if self.called.swap(false, Ordering::AcqRel) {
            self.acceptor.wake();
        }
        if self.closed.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Wake for Way {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.called.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_runtime_of_one_thread_needs_none() {
        assert!(Relay::of_this_runtime().is_none());
    }

    /// Tells of each time that it is woken.
    struct Woken(mpsc::Sender<()>);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.send(()).unwrap();
        }
    }

    #[test]
    fn nobody_is_woken_while_all_threads_are_stuck() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let _inside = runtime.enter();
        let relay = Relay::of_this_runtime().unwrap();
        let (woken, wakes) = mpsc::channel();
        let acceptor = Waker::from(Arc::new(Woken(woken)));
        let (release, stuck) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        runtime.spawn(async move {
            begun.send(()).unwrap();
            stuck.recv().unwrap();
        });
        begins.recv().unwrap();
        relay.waker(&Context::from_waker(&acceptor)).wake_by_ref();
        assert!(wakes.recv_timeout(Duration::from_millis(50)).is_err(), "woken although nobody could serve");
        release.send(()).unwrap();
        wakes.recv_timeout(Duration::from_secs(60)).unwrap();
    }
}
