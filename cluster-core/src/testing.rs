//! For tests of programs that run as a cluster: [`Process`] runs one, [`worker()`] stands in for a worker.
mod heard;
#[doc(hidden)]
pub mod lines;
mod process;
mod said;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

pub use heard::WorkerProcess;
pub use process::Process;
pub use said::{deliver, sent};
use tokio_util::task::TaskTracker;

use crate::birth::hooks::WorkerHooks;
use crate::counter::Counters;
use crate::id::{PeerId, Slot, WorkerId};
use crate::ipc::endpoint::Endpoint;
use crate::life::Life;
use crate::worker::{Parts, Worker};

thread_local! {
    static FAKE: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// A worker for tests of one's own handlers: number 1, slot 0, of 1, and ready. It has counters of its own. It remembers
/// what it sends ([`sent`]) and hears what a test delivers ([`deliver`]). It is what `worker()` and the extractor find on
/// this thread from now on, so it serves `Router::oneshot` and `actix_web::test`.
///
/// # Panics
/// Where the process is out of descriptors.
///
/// # Example
/// ```
/// let fake = cluster_core::testing::worker();
/// assert_eq!(fake.id().0, 1);
/// assert_eq!(cluster_core::worker().slot().0, 0);
/// ```
pub fn worker() -> Worker {
    let worker = Worker::new(Parts {
        id: WorkerId(1),
        slot: Slot(0),
        slots: 1,
        generation: 1,
        life: Arc::new(Life::new().expect("a test has descriptors left")),
        lame_duck: Duration::ZERO,
        wait_for_ready: false,
        listeners: Vec::new(),
        heart: None,
        page: None,
        counters: Counters::fake().expect("a test has descriptors left"),
        reception: None,
        control: None,
        secrets: None,
        endpoint: Endpoint::fake(PeerId::Worker(WorkerId(1)), TaskTracker::new()),
        hooks: WorkerHooks::default(),
    });
    worker.ready();
    FAKE.with(|fake| fake.replace(Some(worker.clone())));
    worker
}

/// Tells the fake of this thread to leave: its [`draining`](crate::Worker::draining) resolves. For tests of handlers that
/// end their streams then.
///
/// # Panics
/// Where [`worker()`] has made none.
///
/// # Example
/// ```
/// let fake = cluster_core::testing::worker();
/// assert!(!fake.is_draining());
/// cluster_core::testing::drain();
/// assert!(fake.is_draining());
/// ```
pub fn drain() {
    fake_of_this_thread().expect("testing::worker() comes first").begin_drain();
}

/// The fake of this thread, if a test has asked for one.
pub(crate) fn fake_of_this_thread() -> Option<Worker> {
    FAKE.with(|fake| fake.borrow().clone())
}
