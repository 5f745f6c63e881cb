//! A worker that is stopped hears of its primary's end by the signal that it has asked the kernel for.
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use cluster_tests::changeling::{Changeling, is_root};
use cluster_tests::{METHODS, eventually, is_stopped, signal};

const PROGRAM: &str = env!("CARGO_BIN_EXE_changeling");

#[test]
fn invariant_4_a_stopped_worker_is_continued_when_its_primary_dies_whoever_it_is() {
    // Whom its primary leaves becomes a child of this process, in the same session. With a parent elsewhere the group
    // would be an orphaned one, and the kernel continues those that are stopped anyway (setpgid(2)).
    set_child_subreaper(true).unwrap();
    let users: &[&[&str]] = if is_root("another user") { &[&[], &["user=nobody"]] } else { &[&[]] };
    for method in METHODS {
        for user in users {
            let knobs = [&["workers=2"], *user].concat();
            let mut changeling = Changeling::start(PROGRAM, &[], method, "127.0.0.1:0", &knobs);
            let stopped = changeling.app.workers()[0].pid;
            signal(stopped, Signal::SIGSTOP).unwrap();
            eventually("it stands still", || is_stopped(stopped));
            changeling.app.signal(Signal::SIGKILL as i32).unwrap();
            changeling.app.wait_for_primary().unwrap();
            let left = changeling.app.wait_for_no_process();
            assert!(left.is_ok(), "{method} {user:?}: {left:?}");
            while waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG))
                .is_ok_and(|status| status.pid().is_some())
            {}
        }
    }
}
