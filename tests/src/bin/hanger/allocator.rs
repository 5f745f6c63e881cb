//! An allocator whose lock a thread can take and keep.
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

static TAKEN: AtomicBool = AtomicBool::new(false);

/// From now on whoever allocates or frees waits for ever, in any thread.
pub(crate) fn take_lock() {
    TAKEN.store(true, Ordering::SeqCst);
}

pub(crate) struct Lockable;

// SAFETY: what it gives out is the system's, unchanged.
unsafe impl GlobalAlloc for Lockable {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        wait_for_lock();
        // SAFETY: the caller keeps the promises of this function, which are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        wait_for_lock();
        // SAFETY: as above; what comes here came from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }
}

fn wait_for_lock() {
    while TAKEN.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
}
